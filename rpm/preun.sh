# Before the last version goes ($1 = 0); an upgrade ($1 = 1) keeps what runs.
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
    systemctl --no-reload disable --now {{units}} || :
fi
