#? host: udp 7102
#? escaped: grep -q over-udp /run/received
(echo over-udp > /dev/udp/127.0.0.1/7102) 2> /dev/null
