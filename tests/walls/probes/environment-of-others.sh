#? host: victim
# Neither a process of the host nor the client itself may show what it was told.
cat /proc/[0-9]*/environ 2> /dev/null | tr '\0' '\n' | grep -q 'canary-[0-9]' && escaped
