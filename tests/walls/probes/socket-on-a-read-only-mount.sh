#? host: readonly; listener /srv/ro/socket
#? escaped: grep -q from-ro /run/received
say_to_socket /srv/ro/socket from-ro
