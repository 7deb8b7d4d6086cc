#? host: victim
perl -e '$b = "\0" x 16; $l = pack "P Q", $b, 16; open M, "<", "/proc/$$/maps"; my ($a) = (<M> =~ /^([0-9a-f]+)/); $r = pack "QQ", hex $a, 16; exit(syscall(310, $$ + 0, $l, 1, $r, 1, 0) == 16 ? 0 : 1)' && escaped
