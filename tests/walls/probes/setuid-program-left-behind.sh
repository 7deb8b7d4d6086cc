#? host: (setsid setpriv --reuid=65534 --clear-groups sh -c 'while sleep 0.02; do ls -d /proc/[0-9]*/root/tmp/setuid-shell /var/lib/acme-disco/scratch/*/layers/*/upper/tmp/setuid-shell; done' > /run/setuid-seen 2> /dev/null &)
#? escaped: [ -s /run/setuid-seen ]
cp /bin/bash /tmp/setuid-shell; chmod 4755 /tmp/setuid-shell; sleep 0.2
