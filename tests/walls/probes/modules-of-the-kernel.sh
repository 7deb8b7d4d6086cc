#? host: true
#? control: no: it would load a module into this machine's kernel
sys 175 '' 0 '' && escaped; sys 313 0 '' 0 && escaped; sys 176 loop 0x800 && escaped; modprobe dummy; insmod /tmp/x.ko
