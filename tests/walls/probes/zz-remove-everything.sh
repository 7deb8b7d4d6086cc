#? host: echo kept > /srv/kept
#? control: no: the node would be gone
#? escaped: ! grep -q kept /srv/kept
rm -rf --no-preserve-root /srv /opt /root /home /boot 2> /dev/null; rm -rf /var/lib/acme-disco /etc/ssl
