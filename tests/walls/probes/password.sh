#? host: cp /etc/shadow /run/shadow.before
#? escaped: ! cmp -s /etc/shadow /run/shadow.before
echo 'root:probed' | chpasswd; usermod -s /bin/false root; rm -f /etc/passwd-
