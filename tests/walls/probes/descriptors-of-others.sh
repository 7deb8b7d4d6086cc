#? host: holder
#? escaped: grep -q written /run/held
for fd in /proc/[0-9]*/fd/*; do
  case $(readlink "$fd") in /run/held*) echo written >> "$fd"; esac
  case $fd in /proc/1/fd/*) readlink "$fd" > /dev/null && escaped "$fd" ;; esac
done
