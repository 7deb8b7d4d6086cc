#!/bin/sh
# An upgrade keeps what runs.
set -e
case "$1" in
remove | deconfigure)
    if [ -d /run/systemd/system ]; then
        systemctl --no-reload disable --now {{units}} || :
    elif command -v systemctl > /dev/null; then
        # In an image that is being built, what was enabled would stay so for ever.
        systemctl --no-reload disable {{units}} || :
    fi
    ;;
esac
