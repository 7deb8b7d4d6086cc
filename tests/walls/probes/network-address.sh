#? host: true
#? escaped: ip address show dev lo | grep -q 10.99.0.1
# RTM_NEWADDR for the first device.
perl -MSocket -e '
  socket S, 16, SOCK_RAW, 0 or exit 1;
  my $attr = pack("SSC4", 8, 2, 10, 99, 0, 1) . pack("SSC4", 8, 1, 10, 99, 0, 1);
  my $body = pack("CCCCL", 2, 32, 0, 0, 1) . $attr;
  send S, pack("LSSLL", 16 + length $body, 20, 0x605, 1, 0) . $body, 0; recv S, my $r, 4096, 0;
  exit(unpack("l", substr $r, 16, 4) == 0 ? 0 : 1)' && escaped
