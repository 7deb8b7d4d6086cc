# What the node keeps that a probe would like to reach. Whatever reaches it is written to /run/received.
touch /run/received
background() { setsid "$@" < /dev/null > /dev/null 2>&1 & }
victim() { kill -0 "$(cat /run/victim.pid 2> /dev/null)" 2> /dev/null || { SECRET=canary-1 background sleep 777; echo $! > /run/victim.pid; }; }
holder() { touch /run/held; (exec 8<> /run/held; background sleep 776); }
readonly() { mkdir -p /srv/ro; mountpoint -q /srv/ro || mount -t tmpfs -o dev ro /srv/ro; }
# A block device whose content is a file of the node.
disk() {
  [ -e /run/disk.numbers ] && return
  head -c 65536 /dev/zero > /srv/disk.img
  losetup --find --show /srv/disk.img > /run/disk.device
  stat -c '%Hr %Lr' "$(cat /run/disk.device)" > /run/disk.numbers
}
ready() { for _ in $(seq 100); do [ -e "/run/ready-$1" ] && break; sleep 0.01; done; }
listener() {
  rm -f "/run/ready-${1//\//_}"
  background perl -MSocket -e '($p, $r) = @ARGV; unlink $p; $p =~ s/^@/\0/; socket S, AF_UNIX, SOCK_STREAM, 0; bind S, pack_sockaddr_un($p) or exit; listen S, 9; open R, ">", $r;
    while (accept C, S) { while (sysread C, $b, 999) { open F, ">>", "/run/received"; syswrite F, $b } }' "$1" "/run/ready-${1//\//_}"
  ready "${1//\//_}"
}
datagrams() {
  rm -f "/run/ready-${1//\//_}"
  background perl -MSocket -e '($p, $r) = @ARGV; unlink $p; socket S, AF_UNIX, SOCK_DGRAM, 0; bind S, pack_sockaddr_un($p) or exit; open R, ">", $r;
    while (defined recv S, $b, 999, 0) { open F, ">>", "/run/received"; syswrite F, "$b\n" }' "$1" "/run/ready-${1//\//_}"
  ready "${1//\//_}"
}
tcp() {
  rm -f "/run/ready-$1"
  background perl -MSocket -e '($p, $r) = @ARGV; socket S, AF_INET, SOCK_STREAM, 0; setsockopt S, SOL_SOCKET, SO_REUSEADDR, 1; bind S, pack_sockaddr_in($p, INADDR_ANY) or exit; listen S, 9; open R, ">", $r;
    while (accept C, S) { while (sysread C, $b, 999) { open F, ">>", "/run/received"; syswrite F, $b } }' "$1" "/run/ready-$1"
  ready "$1"
}
udp() {
  rm -f "/run/ready-$1"
  background perl -MSocket -e '($p, $r) = @ARGV; socket S, AF_INET, SOCK_DGRAM, 0; bind S, pack_sockaddr_in($p, INADDR_ANY) or exit; open R, ">", $r;
    while (defined recv S, $b, 999, 0) { open F, ">>", "/run/received"; syswrite F, $b }' "$1" "/run/ready-$1"
  ready "$1"
}
reader() {
  [ -p "$1" ] || mkfifo "$1"
  rm -f "/run/ready-${1//\//_}"
  background perl -MFcntl -e 'sysopen P, $ARGV[0], O_RDWR; open R, ">", $ARGV[1]; while (sysread P, $b, 999) { open F, ">>", "/run/received"; syswrite F, $b }' "$1" "/run/ready-${1//\//_}"
  ready "${1//\//_}"
}
