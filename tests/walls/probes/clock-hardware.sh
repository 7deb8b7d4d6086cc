#? host: true
for at in /dev/rtc /dev/rtc0; do perl -e 'open F, "<", $ARGV[0] or exit 1' "$at" && escaped "$at"; done
mknod /tmp/rtc c 252 0 && : < /tmp/rtc && escaped rtc
mknod /tmp/ptp c 248 0 && : < /tmp/ptp && escaped ptp
mknod /tmp/loopctl c 10 237 && : < /tmp/loopctl && escaped node
