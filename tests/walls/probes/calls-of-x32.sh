#? host: true
#? control: no: most kernels are built without these calls
# With the x32 bit set a number means the same call and misses every rule of a filter that compares numbers.
perl -e 'exit(syscall(0x40000000 + 39) == -1 && $! != 1 && $! != 38 ? 2 : 0)'
for call in 165 272 170; do perl -e 'exit(syscall(0x40000000 + $ARGV[0], 0x20000 + 0, 0, 0, 0, 0) == -1 ? 1 : 0)' "$call" && escaped "$call"; done
