#? host: true
sys 165 none /mnt tmpfs 0 '' && escaped
