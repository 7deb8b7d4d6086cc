#? host: true
#? control: no: the client is the victim
mkdir -p /srv/special; cd /srv/special; mkfifo pipe; mknod zero c 1 5; mknod disk b 7 0; mknod tty c 5 0
perl -MSocket -e 'socket S, AF_UNIX, SOCK_STREAM, 0; bind S, pack_sockaddr_un("/srv/special/socket")'
ln -s /dev/zero link; ln -s /proc/self/fd/0 fd; mkfifo '/srv/special/a
b'; touch $'/srv/special/\e[2J\xff'
