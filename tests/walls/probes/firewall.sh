#? host: true
# iptables and nft begin with one of these.
perl -MSocket -e 'socket S, AF_INET, SOCK_RAW, 255 or exit 1' && escaped iptables
perl -MSocket -e '
  socket S, 16, SOCK_RAW, 12 or exit 1;
  my $begin = pack("LSSLLCCS", 20, 16, 1, 1, 0, 0, 0, 10 << 8);
  my $table = pack("LSSLLCCS", 36, 10 << 8, 0x405, 2, 0, 2, 0, 0) . pack("SSA12", 14, 1, "probe-table\0");
  my $end = pack("LSSLLCCS", 20, 17, 1, 3, 0, 0, 0, 10 << 8);
  send S, $begin . $table . $end, 0; recv S, my $r, 4096, 0; exit(unpack("l", substr $r, 16, 4) == 0 ? 0 : 1)' && escaped nft
