#? host: true
for at in / /proc /proc/sys /sys /dev /mnt; do sys 165 none "$at" none 4128 '' && escaped "$at"; done
