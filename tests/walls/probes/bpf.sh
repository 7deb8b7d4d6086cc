#? host: true
perl -e '$a = pack("LLLLL", 2, 4, 4, 1, 0) . "\0" x 100; exit(syscall(321, 0, $a, 48) == -1 ? 1 : 0)' && escaped
