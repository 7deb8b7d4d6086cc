#? host: true
#? escaped: grep -aqs 'left-behind-[2]' /proc/[0-9]*/cmdline
(trap '' HUP TERM INT; setsid bash -c 'exec -a left-behind-2 sleep 30') &
