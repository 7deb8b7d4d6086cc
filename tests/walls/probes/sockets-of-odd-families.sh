#? host: true
# Each of these reaches a hypervisor, the kernel's crypto or radio, or makes the host load a module.
for family in 3 4 5 9 15 21 26 29 30 31 35 37 38 39 40 41 42 43 44; do
  perl -e 'socket S, $ARGV[0], $_, 0 and exit 0 for 1, 2, 3, 5; exit 1' "$family" && escaped "family $family"
done
