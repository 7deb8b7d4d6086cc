#? host: true
#? control: no: the node has no layers while nothing runs
# The scratch directory is hidden; what is shown in its place takes no file.
for at in /var/lib/acme-disco/scratch/run-*; do
  [ "$(ls -A "$at" 2> /dev/null)" ] && escaped "$at is seen"
  touch "$at/x" 2> /dev/null && escaped "$at is writable"
  for below in layers/0/upper layers/0/work root; do [ -e "$at/$below" ] && escaped "$below"; done
done
