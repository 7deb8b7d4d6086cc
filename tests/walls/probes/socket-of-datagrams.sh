#? host: datagrams /run/log.sock
#? escaped: grep -q to-the-log /run/received
perl -MSocket -e 'socket S, AF_UNIX, SOCK_DGRAM, 0; send S, "to-the-log\n", 0, pack_sockaddr_un("/run/log.sock")'
