#? host: true
#? control: no: the node's own shell is given pipes
#? escaped: grep -q through /run/inherited
for fd in 0 1 2; do echo through >> /proc/self/fd/$fd; [ -f /proc/self/fd/$fd ] && escaped $fd; done
