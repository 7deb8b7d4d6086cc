#? host: true
for at in /proc/kcore /proc/keys /proc/key-users /proc/timer_list /proc/kmsg /proc/vmallocinfo; do
  [ -e "$at" ] && [ "$(head -c 1 "$at" 2> /dev/null | wc -c)" = 1 ] && escaped "$at"
done
