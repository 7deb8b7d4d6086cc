#? host: true
#? control: no: the client is the victim
head -c 3000000 /dev/zero | tr '\0' 'x'; echo; printf '\e]0;title\a\e[2J\e[31m\x9b31m\r\b\n'
