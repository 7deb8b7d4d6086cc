#? host: victim
perl -e 'my $fd = syscall(434, $$ + 0, 0); exit 1 if $fd == -1; exit(syscall(438, $fd, 0, 0) == -1 ? 1 : 0)' && escaped
