#? host: true
for protocol in 9 10 11 18 20 21; do
  perl -e 'socket S, 16, 3, $ARGV[0] or exit 1' "$protocol" && escaped "protocol $protocol"
done
