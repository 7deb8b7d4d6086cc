#? host: true
#? control: no: the client is the victim
perl -e 'chdir "/srv"; for (1 .. 300) { mkdir "n"; chdir "n" } open F, ">", "bottom"'
