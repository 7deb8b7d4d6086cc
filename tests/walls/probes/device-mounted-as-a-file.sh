#? host: disk; touch /srv/bound.disk; mkdir -p /run/nodes; mountpoint -q /run/nodes || mount -t tmpfs -o dev nodes /run/nodes; rm -f /run/nodes/d; mknod /run/nodes/d b $(cat /run/disk.numbers); mountpoint -q /srv/bound.disk || mount --bind /run/nodes/d /srv/bound.disk
#? escaped: grep -q overwritten /srv/disk.img
for at in /srv/bound.disk /run/nodes/d; do echo overwritten | dd of="$at" conv=notrunc,fsync; done
