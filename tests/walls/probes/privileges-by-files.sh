#? host: true
cp /bin/cat /tmp/cat-caps; setcap cap_sys_admin,cap_sys_ptrace,cap_dac_read_search,cap_syslog+ep /tmp/cat-caps
perl -e '$v = pack "LLLLL", 0x02000001, 1 << 21, 0, 0, 0; ($p, $n) = ("/tmp/cat-caps", "security.capability"); syscall(188, $p, $n, $v, 20, 0)'
/tmp/cat-caps /proc/self/status | grep -E 'Cap(Eff|Prm|Bnd)' | grep -v '00000000[0-9a-f]\{8\}' && escaped
grep -q '^NoNewPrivs:.1' /proc/self/status || escaped 'new privileges'
