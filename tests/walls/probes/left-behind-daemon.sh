#? host: true
#? escaped: grep -aqs 'left-behind-[1]' /proc/[0-9]*/cmdline
perl -MPOSIX -e 'fork and exit; setsid; fork and exit; $0 = "left-behind-1"; open STDOUT, ">/dev/null"; open STDERR, ">/dev/null"; sleep 30'
(nohup setsid bash -c 'exec -a left-behind-1 sleep 30' > /dev/null 2>&1 &)
