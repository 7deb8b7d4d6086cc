#? host: rm -f /etc/reached-2; victim
#? escaped: test -e /etc/reached-2
for cwd in /proc/1/cwd /proc/"$(cat /run/victim.pid)"/cwd /proc/"$(cat /run/victim.pid)"/root; do echo x > "$cwd/etc/reached-2"; done
