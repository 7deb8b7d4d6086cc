#? host: echo kept > /dev/shm/of-the-host
#? escaped: ! grep -q kept /dev/shm/of-the-host
grep kept /dev/shm/of-the-host && escaped; echo changed > /dev/shm/of-the-host
