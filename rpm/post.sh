# After install ($1 = 1) and upgrade ($1 = 2). Nothing is started: the administrator decides what a new node runs.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
fi
