#? host: disk
#? escaped: grep -q overwritten /srv/disk.img
set -- $(cat /run/disk.numbers)
for at in /tmp/disk /dev/shm/disk /dev/disk /run/disk-node /root/disk /dev/mqueue/disk; do
  rm -f "$at"; mknod "$at" b "$1" "$2" && echo overwritten | dd of="$at" conv=notrunc,fsync
done
