#? host: true
#? control: no: nobody is logged in on a node
echo hello | wall; echo hello | /usr/bin/wall; write root < /dev/null
