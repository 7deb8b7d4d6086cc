#? host: echo kept > /srv/linked
#? escaped: grep -q changed /srv/linked
ln /srv/linked /srv/other-name; echo changed >> /srv/other-name
