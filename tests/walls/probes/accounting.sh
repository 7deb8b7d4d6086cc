#? host: true
#? control: no: it would change the accounting of this machine
touch /tmp/acct; sys 163 /tmp/acct && escaped; sys 163 0 && escaped
