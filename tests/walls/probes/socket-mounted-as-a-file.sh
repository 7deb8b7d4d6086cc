#? host: mkdir -p /srv; listener /srv/real.sock; touch /srv/docker.sock; mountpoint -q /srv/docker.sock || mount --bind /srv/real.sock /srv/docker.sock
#? escaped: grep -q to-docker /run/received
say_to_socket /srv/docker.sock to-docker
say_to_socket /srv/real.sock to-docker
