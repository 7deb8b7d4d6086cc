#? host: mkdir -p /run/tr /run/dbg /run/sec; mountpoint -q /run/tr || mount -t tracefs t /run/tr; mountpoint -q /run/dbg || mount -t debugfs d /run/dbg; mountpoint -q /run/sec || mount -t securityfs s /run/sec
for at in /run/tr/trace_marker /sys/kernel/tracing/trace_marker /sys/kernel/debug/tracing/trace_marker /run/tr/events /run/dbg/bdi /run/sec/lsm; do
  [ -e "$at" ] && escaped "$at"
done
