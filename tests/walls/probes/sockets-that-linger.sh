#? host: true
#? control: no: it means something only to whoever closes the socket
perl -MSocket -e 'socket S, AF_INET, SOCK_STREAM, 0; setsockopt S, SOL_SOCKET, SO_LINGER, pack "ii", 1, 9999; exit((unpack "ii", getsockopt S, SOL_SOCKET, SO_LINGER)[0] ? 0 : 1)' && escaped
