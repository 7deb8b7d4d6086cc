#? host: true
perl -e '$p = pack "i", 10; exit(syscall(144, 0, 1, $p) == 0 ? 0 : 1)' && escaped realtime
sys 141 0 0 -20 && escaped nice
sys 251 1 0 0x2000 && escaped ioprio
