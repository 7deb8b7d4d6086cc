#? host: echo 0 > /proc/sys/net/ipv4/ip_forward
#? escaped: [ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ]
echo 1 > /proc/sys/net/ipv4/ip_forward && escaped
