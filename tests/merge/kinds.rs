//! One change of every kind that an overlay can hold, as Python: how the trees are before, and what a module does.

/// What the scripts need; flags and attributes by the system's own calls.
pub(crate) const PRELUDE: &str = r#"#!/usr/bin/python3
import fcntl, os, stat, struct
os.umask(0o022)
IMMUTABLE, APPEND = 0x10, 0x20
def write(path, text, mode=None):
    with open(path, 'w') as file: file.write(text)
    if mode is not None: os.chmod(path, mode)
def rmtree(top):
    for where, directories, files in os.walk(top, topdown=False):
        for name in files: os.remove(where + '/' + name)
        for name in directories:
            path = where + '/' + name
            os.remove(path) if os.path.islink(path) else os.rmdir(path)
    os.rmdir(top)
def equal_copy(path, copy):
    found = os.stat(path)
    with open(path) as file: write(copy, file.read(), found.st_mode & 0o7777)
    os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))
def flags(path, value):
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    now = struct.unpack('i', fcntl.ioctl(descriptor, 0x80086601, b'    ')[:4])[0]
    fcntl.ioctl(descriptor, 0x40086602, struct.pack('l', now & ~(IMMUTABLE | APPEND) | value))
    os.close(descriptor)
def acl(named_uid, rights):
    none = 0xffffffff
    entries = [(1, 6, none), (2, rights, named_uid), (4, 4, none), (0x10, 7, none), (0x20, 4, none)]
    return struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *entry) for entry in entries)
CAPABILITY = struct.pack('<IIIII', 0x02000001, 1 << 10, 0, 0, 0)
"#;

/// How `/srv/a` is before; made anew each time.
pub(crate) const BEFORE: &str = r#"
def unprotect(top):
    for where, directories, files in os.walk(top):
        for name in directories + files:
            path = where + '/' + name
            if stat.S_ISREG(os.lstat(path).st_mode) or stat.S_ISDIR(os.lstat(path).st_mode):
                try: flags(path, 0)
                except OSError: pass
def old(top):
    for where, directories, files in os.walk(top, topdown=False):
        for name in directories + files:
            os.utime(where + '/' + name, (1000000000, 1000000000), follow_symlinks=False)
    os.utime(top, (1000000000, 1000000000))
if os.path.exists('/srv/a'):
    unprotect('/srv/a')
    rmtree('/srv/a')
os.mkdir('/srv/a')
os.chdir('/srv/a')
for name in ['plain', 'gone', 'grown', 'mode', 'owner', 'replaced-by-rename', 'becomes-link', 'becomes-directory',
             'becomes-fifo', 'attribute', 'attribute-removed', 'acl', 'capability', 'touched-only', 'mode-and-back', 'opened-only',
             'equal-copy', 'moved', 'protect', 'append', 'truncate', 'hollowed']:
    write(name, name + ' before\n')
os.setxattr('attribute', 'user.changed', b'old')
os.setxattr('attribute-removed', 'user.gone', b'x')
os.setxattr('attribute-removed', 'trusted.gone', b'x')
os.mkdir('gone-directory'); os.mkdir('gone-directory/deep'); write('gone-directory/deep/file', 'x', 0o600)
os.mkdir('gone-directory/deep/closed', 0o700); os.symlink('nowhere', 'gone-directory/link'); os.chown('gone-directory', 3, 4)
os.mkdir('opaque'); write('opaque/stays', 's'); write('opaque/goes', 'g'); os.mkdir('opaque/below'); write('opaque/below/f', 'f')
os.mkdir('renamed'); os.mkdir('renamed/sub'); write('renamed/sub/file', 'r'); write('renamed/top', 't')
os.mkdir('rename-away-and-back'); write('rename-away-and-back/f', 'f')
os.mkdir('exchange-1'); write('exchange-1/one', '1'); os.mkdir('exchange-2'); write('exchange-2/two', '2')
os.mkdir('becomes-file'); write('becomes-file/f', 'f'); os.mkdir('becomes-file/d')
os.mkdir('directory-mode'); write('directory-mode/untouched', 'u')
os.mkdir('of-a-group'); os.mkdir('of-a-group/old'); os.chown('of-a-group', 0, 7); os.chmod('of-a-group', 0o2775)
os.mkdir('times'); write('times/untouched', 'u')
os.symlink('old-target', 'link'); os.symlink('was-a-link', 'link-becomes-file')
os.mkfifo('fifo-gone'); os.mknod('device-gone', stat.S_IFCHR | 0o600, os.makedev(1, 3))
write('several-1', 'several before\n'); os.link('several-1', 'several-2'); os.link('several-1', 'several-3')
write('apart-1', 'apart\n'); os.link('apart-1', 'apart-2')
write('one-name-goes-1', 'o\n'); os.link('one-name-goes-1', 'one-name-goes-2')
write('all-names-go-1', 'o\n'); os.link('all-names-go-1', 'all-names-go-2')
write('gets-a-name', 'g\n')
write('mode-of-several-1', 'm\n'); os.link('mode-of-several-1', 'mode-of-several-2')
write(b'odd \n name \\ \xff \x1b[31m', 'odd'); write('-rf', 'dash')
old('/srv/a')
"#;

/// What the module does to it.
pub(crate) const AFTER: &str = r#"
os.chdir('/srv/a')
write('plain', 'after\n'); write('created', 'created\n', 0o640); write('empty', '')
os.remove('gone')
with open('grown', 'a') as file: file.write('more\n')
os.chmod('mode', 0o4711); os.chown('owner', 12, 34)
write('t', 'replaced\n', 0o600); os.rename('t', 'replaced-by-rename')
os.remove('becomes-link'); os.symlink('target', 'becomes-link')
os.remove('becomes-directory'); os.mkdir('becomes-directory', 0o750); write('becomes-directory/inside', 'i')
os.remove('becomes-fifo'); os.mkfifo('becomes-fifo', 0o600)
os.setxattr('attribute', 'user.changed', b'new\x00bytes'); os.setxattr('attribute', 'trusted.added', b'a')
os.setxattr('attribute', 'user.empty', b'')
os.removexattr('attribute-removed', 'user.gone'); os.removexattr('attribute-removed', 'trusted.gone')
os.setxattr('acl', 'system.posix_acl_access', acl(1234, 6))
os.setxattr('capability', 'security.capability', CAPABILITY)
os.utime('touched-only'); os.chmod('mode-and-back', 0o600); os.chmod('mode-and-back', 0o644); open('opened-only', 'r+').close()
equal_copy('equal-copy', 't'); os.rename('t', 'equal-copy')
os.rename('moved', 'moved-here'); os.truncate('truncate', 3)
rmtree('gone-directory')
rmtree('opaque'); os.mkdir('opaque'); write('opaque/stays', 's'); write('opaque/new', 'n')
os.rename('renamed', 'renamed-now'); write('renamed-now/sub/added', 'a'); os.rename('renamed-now/sub', 'renamed-now/sub2')
os.rename('rename-away-and-back', 'away'); os.rename('away', 'rename-away-and-back')
os.rename('exchange-1', 'x'); os.rename('exchange-2', 'exchange-1'); os.rename('x', 'exchange-2')
rmtree('becomes-file'); write('becomes-file', 'file now\n')
os.chmod('directory-mode', 0o2770); os.chown('directory-mode', 5, 6)
os.setxattr('directory-mode', 'system.posix_acl_default', acl(77, 5)); os.setxattr('directory-mode', 'user.of-directory', b'd')
os.rmdir('of-a-group/old'); os.makedirs('of-a-group/new/below'); write('of-a-group/new/file', 'f')
write('times/added', 'a')
os.remove('link'); os.symlink('new-target', 'link'); os.lchown('link', 9, 9)
os.remove('link-becomes-file'); write('link-becomes-file', 'file\n')
os.remove('fifo-gone'); os.remove('device-gone')
os.mknod('device', stat.S_IFBLK | 0o640, os.makedev(7, 200)); os.mkfifo('fifo', 0o622)
with open('several-1', 'a') as file: file.write('and after\n')
equal_copy('apart-1', 't'); os.rename('t', 'apart-1')
os.remove('one-name-goes-1'); os.remove('all-names-go-1'); os.remove('all-names-go-2')
os.link('gets-a-name', 'another-name')
os.chmod('mode-of-several-1', 0o611)
write('new-names-1', 'n\n'); os.mkdir('new'); os.link('new-names-1', 'new/new-names-2'); os.mkdir('new/nested', 0o711)
write(b'new \n odd \xfe', 'new odd'); os.remove('-rf'); os.rename(b'odd \n name \\ \xff \x1b[31m', b'odd \xf0')
with open('hollowed', 'r+b') as file: file.truncate(400000); file.seek(239774); file.write(b'end')
os.utime('hollowed', (1500000000, 1500000000))
with open('sparse', 'wb') as file: file.seek(64 << 20); file.write(b'end'); file.truncate(100 << 20)
os.mkdir('closed', 0o500); write('closed/file', 'c', 0o400)
"#;

/// The same for a file system of its own, and what only a live script may do.
pub(crate) const OTHER_BEFORE: &str = r#"
for name in os.listdir('/srv/b'):
    path = '/srv/b/' + name
    if os.path.isdir(path): rmtree(path)
    else: os.remove(path)
os.chdir('/srv/b')
write('changed', 'before\n'); write('gone', 'g\n'); os.mkdir('directory'); write('directory/f', 'f')
old('/srv/b')
os.utime('/srv', (1000000000, 1000000000))
"#;

/// See [`OTHER_BEFORE`].
pub(crate) const OTHER_AFTER: &str = r#"
os.chdir('/srv/b')
write('changed', 'after\n'); os.remove('gone'); rmtree('directory'); write('created', 'c')
flags('/srv/a/protect', IMMUTABLE); flags('/srv/a/append', APPEND)
"#;
