#? host: listener @host-abstract
#? escaped: grep -q to-abstract /run/received
say_to_socket @host-abstract to-abstract
