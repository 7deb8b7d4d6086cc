#? host: tcp 7101
#? escaped: grep -q over-tcp /run/received
for at in 127.0.0.1 127.0.0.2; do (echo over-tcp > "/dev/tcp/$at/7101") 2> /dev/null; done
