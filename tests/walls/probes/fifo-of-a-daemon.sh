#? host: reader /run/initctl; reader /srv/daemon.fifo
#? escaped: grep -q to-a-fifo /run/received
for at in /run/initctl /srv/daemon.fifo; do perl -MFcntl -e 'sysopen F, $ARGV[0], O_WRONLY | O_NONBLOCK or exit; syswrite F, "to-a-fifo\n"' "$at"; done
