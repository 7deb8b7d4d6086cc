#? host: readonly; mount -o remount,rw /srv/ro; reader /srv/ro/fifo; mount -o remount,ro /srv/ro
#? escaped: grep -q from-ro-fifo /run/received
perl -MFcntl -e 'sysopen F, "/srv/ro/fifo", O_WRONLY | O_NONBLOCK or exit; syswrite F, "from-ro-fifo\n"'
