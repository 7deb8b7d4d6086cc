#? host: true
for at in /dev/loop-control /dev/loop0 /dev/fuse /dev/net/tun /dev/kvm /dev/mapper/control /dev/vda /dev/sda /dev/hwrng /dev/watchdog; do
  perl -MFcntl -e 'sysopen F, $ARGV[0], O_RDONLY | O_NONBLOCK or exit 1' "$at" && escaped "$at"
done
