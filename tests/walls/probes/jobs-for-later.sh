#? host: true
#? escaped: test -e /var/spool/cron/crontabs/root || test -e /etc/cron.d/probe
mkdir -p /var/spool/cron/crontabs /etc/cron.d; echo '* * * * * root true' > /etc/cron.d/probe; echo x > /var/spool/cron/crontabs/root; echo x > /etc/ld.so.preload.probe
