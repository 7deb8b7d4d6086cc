#? host: ipcs -m | grep -q 0x0000d15c || ipcmk -M 4096 > /run/shmid
#? escaped: ! ipcs -m | grep -q 4096
for id in $(seq 0 64); do ipcrm -m "$id"; done 2> /dev/null
ipcs -m | grep -q '4096' && escaped
perl -e '$_ = shmget(0, 8192, 0600 | 01000)' ; true
ipcrm -a
