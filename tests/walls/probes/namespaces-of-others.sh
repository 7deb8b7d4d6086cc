#? host: victim
for ns in mnt pid net uts ipc user; do
  for p in 1 "$(cat /run/victim.pid)"; do
    perl -e 'open F, "<", "/proc/$ARGV[0]/ns/$ARGV[1]" or exit 1; exit(syscall(308, fileno F, 0) == 0 ? 0 : 1)' "$p" "$ns" && escaped "$ns of $p"
  done
done
nsenter -t 1 -m -u -i -n -p true && escaped nsenter
