#? host: rm -f /etc/reached-1
#? escaped: test -e /etc/reached-1
echo x > /proc/1/root/etc/reached-1; chroot /proc/1/root /bin/sh -c 'echo x > /etc/reached-1'
ls /proc/1/root/ > /dev/null 2>&1 && escaped
