#? host: true
perl -e '$d = "/dev/vda"; exit(syscall(179, 0x80000100, $d, 0, 0) == -1 && $! == 1 ? 1 : 0)' && escaped
