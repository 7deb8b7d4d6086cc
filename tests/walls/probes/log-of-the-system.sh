#? host: datagrams /run/devlog; rm -f /dev/shm/log; true
#? control: no: /dev of the node is this machine's
#? escaped: grep -q disco-probe /run/received
logger disco-probe; logger -u /run/devlog disco-probe; [ -S /dev/log ] && escaped
