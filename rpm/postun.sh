# After removal ($1 = 0), or after the old version went in an upgrade ($1 = 1): what runs continues as the new version.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    if [ "$1" -ge 1 ]; then
        systemctl try-restart {{restart_units}} || :
    fi
fi
