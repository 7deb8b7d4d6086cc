#? host: stat -c '%a %U' /dev/null > /run/null.stat
#? control: no: /dev of the node is this machine's
#? escaped: [ "$(stat -c '%a %U' /dev/null)" != "$(cat /run/null.stat)" ] || [ "$(stat -c %Y /dev/null)" -lt 1000000000 ]
chmod 600 /dev/null; chown 1000 /dev/zero; touch -d 2001-01-01 /dev/null; rm -f /dev/null; mv /dev/zero /dev/null; setfattr -n user.x -v y /dev/null
