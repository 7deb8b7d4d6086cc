#? host: victim
#? escaped: ! kill -0 $(cat /run/victim.pid)
perl -e 'kill 9, $ARGV[0] + 0, 2 .. 5000' "$(cat /run/victim.pid)"
