#? host: true
#? control: no: it would load kernel modules on this machine
for protocol in 33 132 136 262; do perl -MSocket -e 'socket(S, AF_INET, $_, $ARGV[0]) and exit 0 for 1, 2, 5; exit 1' "$protocol" && escaped "$protocol"; done
