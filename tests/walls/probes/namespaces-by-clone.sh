#? host: true
perl -e 'for my $f (0x10000000, 0x20000, 0x40000000) { my $p = syscall(56, $f | 17, 0, 0, 0, 0); if ($p == 0) { require POSIX; POSIX::_exit(0) } if ($p > 0) { print "ESCAPED clone\n" } }'
perl -e '$a = pack("QQQQQQQQ", 0x10000000, 0, 0, 0, 17, 0, 0, 0); my $p = syscall(435, $a, 64); if ($p == 0) { require POSIX; POSIX::_exit(0) } if ($p > 0) { print "ESCAPED clone3\n" }'
