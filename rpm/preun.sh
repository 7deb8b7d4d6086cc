# Before the last version goes ($1 = 0); an upgrade ($1 = 1) keeps what runs.
if [ "$1" -eq 0 ]; then
    if [ -d /run/systemd/system ]; then
        systemctl --no-reload disable --now {{units}} || :
    elif command -v systemctl > /dev/null; then
        # In an image that is being built, what was enabled would stay so for ever.
        systemctl --no-reload disable {{units}} || :
    fi
fi
