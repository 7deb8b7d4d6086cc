#? host: true
#? control: no: the client is the victim
mkdir /srv/many; cd /srv/many; perl -e 'for (1 .. 3000) { open F, ">", "file-$_" }'; rm -rf /srv/many
