#? host: true
#? control: no: only the sandbox has so little of it
perl -e 'for (1 .. 20) { defined shmget(0, 20_000_000, 0600 | 01000) or exit 1 }' && escaped
