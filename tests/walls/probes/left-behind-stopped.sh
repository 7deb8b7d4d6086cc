#? host: true
#? escaped: grep -aqs 'left-behind-[3]' /proc/[0-9]*/cmdline
bash -c 'exec -a left-behind-3 sleep 30' > /dev/null 2>&1 &
sleep 0.1; builtin kill -STOP $!
