#? host: mkdir -p /srv/forge/d; echo kept > /srv/forge/d/f
#? control: no: these attributes mean something only inside an overlay
#? escaped: ! grep -q kept /srv/forge/d/f
perl -e '
  mkdir "/srv/forge/new"; 
  for my $name ("trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy", "trusted.overlay.origin") {
    for my $value ("y", "/etc", "../../../../etc") { my ($p, $n, $v) = ("/srv/forge/new", $name, $value); print "ESCAPED $n\n" if syscall(188, $p, $n, $v, length $v, 0) == 0; }
  }'
mknod /srv/forge/d/white c 0 0 && escaped whiteout
