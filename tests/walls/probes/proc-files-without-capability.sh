#? host: true
for at in /proc/sysrq-trigger /proc/irq/default_smp_affinity /proc/bus/pci/00/00.0 /proc/scsi/scsi /proc/mtrr /proc/dynamic_debug/control /proc/acpi/wakeup /proc/latency_stats /proc/fs/xfs/stat /proc/asound/version /proc/kpagecount; do
  [ -f "$at" ] && perl -e 'open F, "+<", $ARGV[0] or open F, ">", $ARGV[0] or exit 1' "$at" && escaped "$at"
done
