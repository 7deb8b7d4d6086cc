# After removal ($1 = 0), or after the old version went in an upgrade ($1 = 1): what runs continues as the new version.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    if [ "$1" -ge 1 ]; then
        for unit in {{restart_units}}; do
            systemctl try-restart "$unit" || :
        done
    fi
fi
