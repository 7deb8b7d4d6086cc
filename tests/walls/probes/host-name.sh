#? host: true
#? escaped: [ "$(hostname)" = stolen ]
# The program is told of, not run; what it would call is tried below.
hostname stolen; [ "$(hostname)" = stolen ] && escaped
sys 170 stolen 6 && escaped; (echo stolen > /proc/sys/kernel/hostname) && escaped
[ -e /var/disco/run ] || hostname localhost.localdomain
