#? host: true
perl -e '$h = pack("Ll", 128, 0) . "\0" x 128; $m = "\0" x 8; $p = "/etc/passwd"; syscall(303, -100, $p, $h, $m, 0) == 0 or exit 1' && escaped name_to_handle_at
perl -e 'open R, "<", "/"; $h = pack("Ll", 8, 1) . pack("LL", 2, 0); exit(syscall(304, fileno R, $h, 0) == -1 && $! != 116 ? 1 : 0)' && escaped open_by_handle_at
