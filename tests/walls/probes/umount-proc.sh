#? host: mkdir -p /mnt/u; mountpoint -q /mnt/u || mount -t tmpfs u /mnt/u
#? escaped: ! mountpoint -q /mnt/u
sys 166 /mnt/u 2 && escaped
[ -e /var/disco/run ] && for at in /proc/sys /var/disco/run /dev /proc; do sys 166 "$at" 2 && escaped "$at"; done
