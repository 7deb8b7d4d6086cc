#? host: ipcmk -S 3; ipcmk -Q
#? escaped: [ "$(ipcs -s | grep -c ' 3 ')$(ipcs -q | grep -c '^0x')" = 00 ]
ipcs -s | grep -q ' 3 ' && escaped; ipcs -q | grep -q '^0x' && escaped
ipcrm -a
