#? host: sha256sum /opt/acme/sbin/acme-disco > /run/binary.sum
#? control: no: on the node there are no shadows
#? escaped: ! sha256sum --quiet -c /run/binary.sum
for at in /var/disco/run/shadow /usr/sbin/service /opt/acme/sbin/acme-disco; do echo x >> "$at"; dd if=/dev/zero of="$at" bs=1 count=8 conv=notrunc; rm -f "$at"; done
