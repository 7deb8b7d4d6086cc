#? host: mkdir -p /run/cg; mountpoint -q /run/cg || mount -t cgroup2 cg /run/cg; rmdir /run/cg/disco-probe-x 2> /dev/null; true
#? escaped: test -d /run/cg/disco-probe-x && rmdir /run/cg/disco-probe-x
for at in /run/cg /sys/fs/cgroup /sys/fs/cgroup/unified; do
  mkdir "$at/disco-probe-x" && [ -e "$at/disco-probe-x/cgroup.procs" ] && escaped "$at"
  [ -e "$at/release_agent" ] && escaped "$at/release_agent"
done
