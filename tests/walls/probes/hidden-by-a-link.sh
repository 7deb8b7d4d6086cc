#? host: mkdir -p /srv/outside
#? control: no: what matters is the client, which puts a later module's files there
#? escaped: ls -A /srv/outside | grep -q .
rm -rf /srv/target.d; ln -s /proc/1/root/srv/outside /srv/target.d; ln -sfn /proc/self/cwd /srv/target2.d
