#? host: true
#? control: no: it would load kernel modules on this machine
# The kernel itself must not hear of any of these: 93 is what a kernel without the protocol says, 1 is a refusal.
for family in 4 9 29 30 38; do perl -e 'socketpair(A, B, $ARGV[0], 2, 0) and exit 0; exit($! != 93 ? 0 : 1)' "$family" && escaped "pair of family $family"; done
for type in 4 5 6 10; do perl -e 'socket(S, 2, $ARGV[0], 0) and exit 0; exit($! != 93 ? 0 : 1)' "$type" && escaped "type $type"; done
for protocol in 4 16; do perl -e 'socket(S, 16, 3, $ARGV[0]) and exit 0; exit($! != 93 ? 0 : 1)' "$protocol" && escaped "netlink $protocol"; done
for request in 0x8940 0x8982 0x89a0; do perl -e 'socket(S, 2, 2, 0); $b = "x" x 64; exit(!ioctl(S, hex $ARGV[0], $b) && $! == 1 ? 1 : 0)' "$request" && escaped "request $request"; done
perl -e 'open T, "+<", "/dev/ptmx" or exit 1; $d = pack "i", 13; exit(!ioctl(T, 0x5423, $d) && $! == 1 ? 1 : 0)' && escaped "line discipline"
