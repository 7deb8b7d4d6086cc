#? host: true
#? control: no: it would change the swap of this machine
#? escaped: grep -q probe.swap /proc/swaps
dd if=/dev/zero of=/tmp/probe.swap bs=1M count=1 2> /dev/null; /sbin/mkswap /tmp/probe.swap; sys 167 /tmp/probe.swap 0 && escaped; sys 168 /tmp/probe.swap && escaped
