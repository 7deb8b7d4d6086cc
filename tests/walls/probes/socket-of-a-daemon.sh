#? host: listener /run/daemon.sock; mkdir -p /run/dbus /run/systemd; listener /run/dbus/system_bus_socket; listener /run/systemd/notify
#? escaped: grep -q to-a-daemon /run/received
for at in /run/daemon.sock /var/run/daemon.sock /run/dbus/system_bus_socket /run/systemd/notify; do say_to_socket "$at" to-a-daemon; done
