#? host: true
#? control: no: it would end the node
perl -e 'exit(syscall(169, 0xfee1dead, 672274793, 0x89ABCDEF, 0) == 0 ? 0 : 1)' && escaped
reboot -f; /sbin/reboot; /usr/sbin/shutdown -h now
