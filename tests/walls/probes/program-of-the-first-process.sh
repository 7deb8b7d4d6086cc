#? host: true
# The binary that became the first process is the client's own, on the host.
[ "$(readlink /proc/1/exe)" ] && escaped
perl -e 'open F, "+<", "/proc/1/exe" or exit 1' && escaped write
