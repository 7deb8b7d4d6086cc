#? host: true
sys 165 /etc /mnt none 4096 '' && escaped
