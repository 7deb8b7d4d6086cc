#? host: true
perl -e '$a = pack "QQQQ", 0, 1, 0, 0; $p = "/"; exit(syscall(442, -100, $p, 0x8000, $a, 32) == 0 ? 0 : 1)' && escaped
