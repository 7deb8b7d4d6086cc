#? host: true
for key in kernel/randomize_va_space kernel/printk vm/swappiness vm/drop_caches fs/file-max kernel/panic kernel/core_pattern kernel/modprobe kernel/hotplug kernel/pid_max kernel/shmmax kernel/ns_last_pid; do
  [ -e "/proc/sys/$key" ] && perl -e 'open F, "+<", $ARGV[0] or exit 1' "/proc/sys/$key" && escaped "$key"
done
