#!/bin/sh
# Nothing is started on install: the administrator decides what a new node runs. An upgrade continues as the new version.
set -e
case "$1" in
configure)
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload || :
        if [ -n "$2" ]; then
            for unit in {{restart_units}}; do
                systemctl try-restart "$unit" || :
            done
        fi
    fi
    ;;
esac
