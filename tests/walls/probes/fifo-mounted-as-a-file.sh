#? host: reader /srv/real.fifo; touch /srv/bound.fifo; mountpoint -q /srv/bound.fifo || mount --bind /srv/real.fifo /srv/bound.fifo
#? escaped: grep -q to-bound /run/received
perl -MFcntl -e 'sysopen F, "/srv/bound.fifo", O_WRONLY | O_NONBLOCK or exit; syswrite F, "to-bound\n"'
