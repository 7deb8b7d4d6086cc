#? host: true
#? control: no: the client is the victim
touch /tmp/attributes; perl -e 'for (1 .. 500) { my ($n, $v) = ("user.n$_", "v" x 40); my $p = "/tmp/attributes"; syscall(188, $p, $n, $v, 40, 0) }'
