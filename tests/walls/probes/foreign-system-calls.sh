#? host: true
#? control: no: the filter kills by design what uses another architecture's calls
# A 64-bit program of a few bytes that calls by `int 0x80`: sethostname of the 32-bit table, then exit.
perl -e '
  my $code = "\xb8\x4a\x00\x00\x00" . "\x31\xdb\x31\xc9" . "\xcd\x80" . "\x89\xc3\xf7\xdb" . "\xb8\x01\x00\x00\x00" . "\xcd\x80";
  my $base = 0x400000; my $entry = $base + 120;
  my $elf = "\x7fELF\x02\x01\x01" . "\0" x 9 . pack("SSLQQQLSSSSSS", 2, 62, 1, $entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    . pack("LLQQQQQQ", 1, 5, 0, $base, $base, 120 + length $code, 120 + length $code, 4096) . $code;
  open F, ">", "/tmp/int80"; binmode F; print F $elf; close F; chmod 0755, "/tmp/int80"; exec "/tmp/int80"'
[ $? = 0 ] && escaped
