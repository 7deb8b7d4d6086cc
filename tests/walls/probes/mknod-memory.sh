#? host: true
#? control: no: it would open this machine's memory
i=0
for pair in '1 1' '1 2' '1 4' '1 11' '5 1' '4 1' '10 237' '10 200' '10 229'; do
  for at in /tmp /dev/shm /run; do i=$((i + 1)); mknod "$at/n$i" c $pair && : < "$at/n$i" && escaped "$pair in $at"; done
done
