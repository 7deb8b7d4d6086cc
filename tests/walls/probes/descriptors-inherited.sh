#? host: true
#? control: no: the node's own shell is given no descriptor
#? escaped: grep -q through /run/inherited
for fd in /proc/self/fd/*; do case $fd in */[0-2]) ;; *) echo through >> "$fd" ;; esac; done
for fd in 3 4 5 6 7 8 9 10 11 12; do (echo through >&$fd) 2> /dev/null; done
