#? host: true
# ADJ_TICK with the tick that it has.
perl -e '$t = "\0" x 208; syscall(159, $t) == -1 and exit 1; substr($t, 0, 4) = pack "L", 0x4000; exit(syscall(159, $t) == -1 ? 1 : 0)' && escaped adjtimex
perl -e '$t = "\0" x 208; syscall(305, 0, $t) == -1 and exit 1; substr($t, 0, 4) = pack "L", 0x4000; exit(syscall(305, 0, $t) == -1 ? 1 : 0)' && escaped clock_adjtime
