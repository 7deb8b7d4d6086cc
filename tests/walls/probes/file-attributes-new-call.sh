#? host: true
#? control: no: kernels before 6.17 do not have the call
perl -e '$a = "\0" x 24; $p = "/tmp"; exit(syscall(469, -100, $p, $a, 24, 0) == -1 ? 1 : 0)' && escaped
