#!/bin/sh
# An upgrade keeps what runs.
set -e
case "$1" in
remove | deconfigure)
    if [ -d /run/systemd/system ]; then
        systemctl --no-reload disable --now {{units}} || :
    fi
    ;;
esac
