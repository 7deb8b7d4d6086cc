#? host: true
#? control: no: it would replace this machine's kernel
sys 246 0 0 0 0 && escaped; sys 320 0 0 0 '' 0 && escaped
