#? host: true
# add_key to the thread's and the process's own keyring; in the sandbox also to those that outlive it.
rings='-1 -2'; [ -e /var/disco/run ] && rings='-1 -2 -3 -4 -5'
for ring in $rings; do sys 248 user "disco-probe-$$" data 4 "$ring" && escaped "$ring"; done
[ -e /var/disco/run ] && { sys 250 0 -4 1 0 0 && escaped keyctl; sys 249 user disco-probe '' 0 && escaped request_key; }
