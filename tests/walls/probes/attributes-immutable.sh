#? host: echo x > /srv/attributes
#? escaped: lsattr /srv/attributes 2> /dev/null | grep -q -- '^[^ ]*i'
#? control: no: memory file systems know the flag only on newer kernels
chattr +i /srv/attributes && escaped
