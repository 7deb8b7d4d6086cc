#!/bin/bash
# Words that the probes share. They run as scripts of a module; the control runs them on the node itself.
exec 2>&1
escaped() { echo "ESCAPED $*"; }
# A system call of x86_64 by its number. Numbers are numbers, everything else is a string in memory.
sys() {
  perl -e 'my ($n, @a) = map { /^0x/ ? hex : /^-?[0-9]+$/ ? $_ + 0 : $_ . "\0" } @ARGV; exit(syscall($n, @a) == -1 ? 1 : 0)' -- "$@"
}
# A name that begins with @ is abstract.
say_to_socket() {
  perl -MSocket -e '($p, $t) = @ARGV; $p =~ s/^@/\0/; socket S, AF_UNIX, SOCK_STREAM, 0; connect S, pack_sockaddr_un($p) or exit; syswrite S, "$t\n"' "$1" "$2"
}
