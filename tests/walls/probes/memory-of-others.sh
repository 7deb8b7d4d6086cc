#? host: victim
for p in 1 "$(cat /run/victim.pid)"; do
  perl -e 'open F, "+<", "/proc/$ARGV[0]/mem" or exit 1' "$p" && escaped "$p"
  cat "/proc/$p/maps" 2> /dev/null | grep -q . && { [ "$p" = 1 ] || ! [ -e /var/disco/run ]; } && escaped "maps of $p"
done
