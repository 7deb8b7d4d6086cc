#? host: victim
#? escaped: ! kill -0 $(cat /run/victim.pid)
builtin kill -9 "$(cat /run/victim.pid)"
