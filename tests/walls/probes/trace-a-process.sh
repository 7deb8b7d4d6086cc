#? host: victim
perl -e 'for (1, $ARGV[0]) { exit 0 if syscall(101, 0x4206, $_ + 0, 0, 0) == 0 } exit 1' "$(cat /run/victim.pid)" && escaped
perl -e 'exit(syscall(101, 0, 0, 0, 0) == 0 ? 0 : 1)' && escaped traceme
