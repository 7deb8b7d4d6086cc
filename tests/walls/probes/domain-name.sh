#? host: domainname before 2> /dev/null || echo before > /proc/sys/kernel/domainname
#? escaped: [ "$(cat /proc/sys/kernel/domainname)" = stolen ]
sys 171 stolen 6; echo stolen > /proc/sys/kernel/domainname
