#? host: true
#? control: no: many kernels are built without these calls, and nodes without these devices
sys 172 3 && escaped iopl; sys 173 0x80 1 1 && escaped ioperm
for at in /dev/mem /dev/port /dev/kmem; do perl -e 'open F, "+<", $ARGV[0] or exit 1' "$at" && escaped "$at"; done
