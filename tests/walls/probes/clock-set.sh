#? host: true
#? control: no: it would set the clock of this machine
#? escaped: [ "$(date +%Y)" -lt 2020 ]
# To the time that it is: nothing is lost where a wall is missing.
perl -MTime::HiRes -e '$t = Time::HiRes::time; $b = pack "qq", int $t, ($t - int $t) * 1e9; exit(syscall(227, 0, $b) == 0 ? 0 : 1)' && escaped clock_settime
perl -MTime::HiRes -e '$t = Time::HiRes::time; $b = pack "qq", int $t, ($t - int $t) * 1e6; exit(syscall(164, $b, 0) == 0 ? 0 : 1)' && escaped settimeofday
