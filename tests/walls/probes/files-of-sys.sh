#? host: true
#? control: no: /sys of the node is read-only too
for at in /sys/power/state /sys/kernel/mm/transparent_hugepage/enabled /sys/kernel/uevent_helper /sys/block/vda/queue/scheduler /sys/class/block/loop7/uevent /sys/kernel/profiling /sys/module/printk/parameters/time /sys/fs/ext4/features/lazy_itable_init /sys/firmware/efi/efivars; do
  [ -e "$at" ] && perl -e 'open F, "+<", $ARGV[0] or exit 1' "$at" && escaped "$at"
done
find /sys -maxdepth 4 -name efivars -type d -exec touch {}/x \;
