#? host: true
perl -e '$p = "\0" x 120; exit(syscall(425, 4, $p) == -1 ? 1 : 0)' && escaped
