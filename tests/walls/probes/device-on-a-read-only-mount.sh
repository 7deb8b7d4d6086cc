#? host: readonly; disk; mount -o remount,rw /srv/ro; rm -f /srv/ro/disk; mknod /srv/ro/disk b $(cat /run/disk.numbers); mount -o remount,ro /srv/ro
#? escaped: grep -q overwritten /srv/disk.img
echo overwritten | dd of=/srv/ro/disk conv=notrunc,fsync
