#? host: true
#? control: no: it would call this machine's handler
# A dump that goes to a program is taken on the host, whatever the soft limit; only a limit of one byte keeps it.
ulimit -c 0; grep '^Max core file size' /proc/self/limits | grep -q ' 1  *1 ' || escaped
