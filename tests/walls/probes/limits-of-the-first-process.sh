#? host: true
# prlimit64: a hard limit of no processor time ends a process, and sets no capability as a condition.
grep -q '^Max cpu time *unlimited' /proc/1/limits || exit
perl -e '$new = pack "QQ", 3600, 3600; $old = "\0" x 16; exit(syscall(302, 1, 0, $new, $old) == 0 ? 0 : 1)' && escaped
