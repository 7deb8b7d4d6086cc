#? host: true
#? control: no: kernels before 6.15 do not have the call
perl -e '$a = "\0" x 32; $p = "/"; exit(syscall(467, -100, $p, 1, $a, 32) == -1 ? 1 : 0)' && escaped
