#? host: true
perl -MSocket -e 'socket S, 17, SOCK_RAW, 768 or exit 1' && escaped packet
perl -MSocket -e 'socket S, AF_INET, SOCK_RAW, 1 or exit 1' && escaped raw
