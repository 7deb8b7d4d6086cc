#? host: mkdir -p /run/binfmt; mountpoint -q /run/binfmt || mount -t binfmt_misc b /run/binfmt
for at in /run/binfmt/register /proc/sys/fs/binfmt_misc/register; do perl -e 'open F, ">", $ARGV[0] or exit 1' "$at" && [ -z "${at##*/register}" ] && [ "$(stat -f -c %T "$at")" = binfmt_misc ] && escaped "$at"; done
