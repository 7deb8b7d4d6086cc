#? host: mkdir -p /mnt/p; mount -t tmpfs p /mnt/p; mkdir -p /mnt/p/old
#? control: no: the node would lose its root
#? escaped: ! test -e /etc/passwd
cd /mnt/p && sys 155 . old && escaped
