#? host: true
sys 300 0 0 && escaped
