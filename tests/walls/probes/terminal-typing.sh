#? host: true
#? control: no: it depends on the setting of this machine
perl -MFcntl -e 'sysopen M, "/dev/ptmx", O_RDWR or exit 1; $n = "\0" x 4; ioctl M, 0x80045430, $n; $u = pack "i", 0; ioctl M, 0x40045431, $u; sysopen S, "/dev/pts/" . unpack("i", $n), O_RDWR or exit 1; $c = "x"; exit(ioctl(S, 0x5412, $c) ? 0 : 1)' && escaped TIOCSTI
perl -MFcntl -e 'sysopen M, "/dev/ptmx", O_RDWR or exit 1; $c = "\2"; exit(ioctl(M, 0x541c, $c) ? 0 : 1)' && escaped TIOCLINUX
perl -e 'exit(syscall(16, 0, 0x100005412, 0) == -1 ? 1 : 0)' && escaped 'high bits'
