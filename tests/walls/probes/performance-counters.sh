#? host: true
perl -e '$a = pack("LLQ", 1, 120, 0) . "\0" x 104; exit(syscall(298, $a, 0, -1, -1, 0) == -1 ? 1 : 0)' && escaped
