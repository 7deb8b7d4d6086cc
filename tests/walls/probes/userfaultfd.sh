#? host: true
sys 323 0 && escaped
