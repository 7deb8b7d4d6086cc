#!/bin/sh
# Removal keeps configuration and state; purge removes both.
set -e
case "$1" in
remove)
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload || :
    fi
    ;;
purge)
    rm -rf -- "{{vardir}}"
    # What the administrator put here stays.
    if [ -d "{{etcdir}}" ]; then
        rmdir --ignore-fail-on-non-empty -- "{{etcdir}}"
    fi
    ;;
esac
