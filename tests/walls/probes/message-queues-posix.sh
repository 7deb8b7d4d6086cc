#? host: mkdir -p /dev/mqueue; mountpoint -q /dev/mqueue || mount -t mqueue mq /dev/mqueue; touch /dev/mqueue/of-the-host
#? escaped: ! test -e /dev/mqueue/of-the-host
perl -e '$n = "of-the-host"; exit(syscall(241, $n) == 0 ? 0 : 1)' && escaped; rm -f /dev/mqueue/of-the-host
