#? host: true
#? control: no: it would hang up the terminal of whoever runs the test
sys 153 && escaped
