#? host: true
#? control: no: it would write to this machine's audit log
perl -MSocket -e '
  socket S, 16, SOCK_RAW, 9 or exit 1;
  send S, pack("LSSLL", 32, 1107, 5, 1, 0) . "op=disco-probe\0\0", 0 or exit 1; recv S, my $r, 4096, 0;
  exit(unpack("l", substr $r, 16, 4) == 0 ? 0 : 1)' && escaped
