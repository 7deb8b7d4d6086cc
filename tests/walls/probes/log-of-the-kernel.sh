#? host: true
perl -e '$b = "\0" x 4096; exit(syscall(103, 3, $b, 4096) == -1 ? 1 : 0)' && escaped read
sys 103 10 0 0 && escaped size
for at in /dev/kmsg /proc/kmsg; do [ -c "$at" ] && perl -e 'open F, ">", $ARGV[0] or exit 1' "$at" && [ "$(stat -c %t:%T "$at")" = 1:b ] && escaped "$at"; done
