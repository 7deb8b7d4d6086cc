#? host: true
#? control: no: the first process of a node is none that a signal may stop
builtin kill -STOP 1; builtin kill -KILL 1; builtin kill -SEGV 1; builtin kill -TERM 1
