//! Executes a mount plan. The only file that mounts; it runs in the sandbox's own mount namespace, whose end undoes
//! everything.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

use crate::disco::Mode;
use crate::disco::changes::{is_of_a_file_system, is_of_an_overlay};
use crate::disco::sandbox::mountinfo::{self, Mount};
use crate::disco::sandbox::plan::{
    DEVICES, Extra, Found, Layer, MountPlan, PROC_HIDDEN, PROC_READ_ONLY, RUNTIME_DIR, RunDirs, Step,
};
use crate::disco::sandbox::probe::Rights;
use crate::disco::sandbox::user;

/// An overlay of a user keeps its books in attributes that users may set, and can follow no directory that was moved.
const USER_ATTRIBUTES: &str = "userxattr";

/// Why the sandbox could not be put together: what was being done, to which path, and the kernel's word.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {errno}", path.display())]
pub struct MountError {
    action: &'static str,
    path: PathBuf,
    errno: Errno,
}

impl From<MountError> for io::Error {
    fn from(error: MountError) -> Self {
        error.errno.into()
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(Errno) -> MountError {
    let path = path.to_owned();
    move |errno| MountError { action, path, errno }
}

fn io_failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MountError {
    let path = path.to_owned();
    move |error| MountError {
        action,
        path,
        errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
    }
}

/// The mounts that can be seen: one that lies under a later mount is left out.
///
/// Numbers of mounts change with the namespace, so this is asked after the namespace is entered.
pub(crate) fn visible_mounts() -> io::Result<Vec<Mount>> {
    let all = mountinfo::parse(&fs::read("/proc/self/mountinfo")?);
    Ok(all
        .into_iter()
        .filter(|mount| {
            let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW | rustix::fs::AtFlags::NO_AUTOMOUNT;
            rustix::fs::statx(rustix::fs::CWD, &mount.point, flags, rustix::fs::StatxFlags::MNT_ID)
                .is_ok_and(|found| found.stx_mnt_id == mount.id)
        })
        .collect())
}

/// Keeps this process's mounts to itself, and its namespace's end from touching the host's.
pub(crate) fn make_private() -> Result<(), MountError> {
    let root = Path::new("/");
    mount(None::<&str>, root, None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(failed("make private the mounts below", root))
}

/// Puts a memory file system on a scratch directory whose own file system cannot hold an upper layer.
pub(crate) fn mount_scratch(at: &Path) -> Result<(), MountError> {
    tmpfs(at, MsFlags::MS_NODEV | MsFlags::MS_NOSUID, "mode=0700")
}

/// Builds the sandbox below `scratch/root`, makes it the root of this process and lets go of the old one.
///
/// # Errors
/// Says which mount failed. The caller's namespace is then half built and must end.
pub(crate) fn enter(
    mode: Mode,
    rights: Rights,
    plan: &MountPlan,
    dirs: &RunDirs,
    client: &Path,
) -> Result<(), MountError> {
    let root = dirs.scratch.join("root");
    make_directory(&root, 0o755)?;
    for step in &plan.steps {
        execute(mode, rights, step, &root, client)?;
    }
    chdir(&root).map_err(failed("enter", &root))?;
    pivot_root(".", ".").map_err(failed("make the new root", &root))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(failed("let go of the old root of", &root))?;
    chdir("/").map_err(failed("enter", Path::new("/")))
}

fn execute(mode: Mode, rights: Rights, step: &Step, root: &Path, client: &Path) -> Result<(), MountError> {
    match step {
        Step::Overlay(layer) => mount_overlay(mode, rights, layer, root, client),
        Step::OverlayReadOnly { at, options } => mount_overlay_read_only(rights, at, options, root),
        Step::BindReadOnly { from, at } => {
            // Writing to a device needs no right to write to the file system that it lies on.
            let devices = match mode {
                Mode::Noop => MsFlags::MS_NODEV,
                Mode::Live => MsFlags::empty(),
            };
            bind_read_only(from, &inside(root, at), devices)
        }
        Step::SameFiles { from, at, read_only, options } => {
            let write = if *read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
            bind(&inside(root, from), &inside(root, at), restrictions(options) | write)
        }
        Step::BindTree { at } => {
            let target = inside(root, at);
            mount(Some(at), &target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
                .map_err(failed("bind", at))
        }
        Step::Hide { at } => {
            let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
            tmpfs(&inside(root, at), flags, "mode=0,size=4k")
        }
        Step::Proc => mount_proc(root),
        Step::Sys => {
            let at = root.join("sys");
            let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
            mount(Some("sysfs"), &at, Some("sysfs"), flags, None::<&str>)
                .map_err(failed("mount sysfs on", &at))
        }
        Step::Dev => mount_dev(root),
        Step::Runtime { at, real } => mount_runtime(&inside(root, at), client, real),
    }
}

/// A path of the sandbox as seen before it is the root.
fn inside(root: &Path, at: &Path) -> PathBuf {
    root.join(at.strip_prefix("/").unwrap_or(at))
}

fn mount_overlay(
    mode: Mode,
    rights: Rights,
    layer: &Layer,
    root: &Path,
    client: &Path,
) -> Result<(), MountError> {
    make_directory(&layer.upper(), 0o755)?;
    make_directory(&layer.work(), 0o700)?;
    let live = fs::symlink_metadata(&layer.at).map_err(io_failed("look at", &layer.at))?;
    copy_attributes(&live, &layer.upper())?;
    let mut lowers = Vec::new();
    if !layer.extras.is_empty() {
        fill_extra(layer, client)?;
        lowers.push(open_path(&layer.extra())?);
    }
    if !layer.is_bare {
        lowers.push(open_path(&layer.at)?);
    }
    user::fill_upper(layer)?;
    // Last: what is made in a directory inherits from its list of access.
    copy_labels(&layer.at, &layer.upper())?;
    copy_time(&live, &layer.upper())?;
    let upper = open_path(&layer.upper())?;
    let work = open_path(&layer.work())?;
    // Descriptors instead of paths: a mount point may hold the characters that separate options.
    let by_descriptor = |file: &File| format!("/proc/self/fd/{}", file.as_raw_fd());
    let lowerdir = lowers.iter().map(by_descriptor).collect::<Vec<_>>().join(":");
    let options = format!(
        "lowerdir={lowerdir},upperdir={},workdir={},{},index=on,xino=on,volatile",
        by_descriptor(&upper),
        by_descriptor(&work),
        match rights {
            Rights::Root => "redirect_dir=on,metacopy=off",
            Rights::User => USER_ATTRIBUTES,
        }
    );
    // A device file made inside is kept as a change, but cannot be opened there.
    let flags = restrictions(&layer.options)
        | match mode {
            Mode::Noop => MsFlags::MS_NODEV,
            Mode::Live => MsFlags::empty(),
        };
    let target = inside(root, &layer.at);
    mount(Some("overlay"), &target, Some("overlay"), flags, Some(options.as_str()))
        .map_err(failed("put an overlay over", &layer.at))
}

/// Only a noop asks for this one.
fn mount_overlay_read_only(
    rights: Rights,
    at: &Path,
    options: &[String],
    root: &Path,
) -> Result<(), MountError> {
    // Without an upper layer the kernel wants two lower ones.
    let empty = root.with_file_name("empty");
    make_directory(&empty, 0o755)?;
    let (live, empty) = (open_path(at)?, open_path(&empty)?);
    let mut lowers =
        format!("lowerdir=/proc/self/fd/{}:/proc/self/fd/{},xino=on", live.as_raw_fd(), empty.as_raw_fd());
    if rights == Rights::User {
        lowers = format!("{lowers},{USER_ATTRIBUTES}");
    }
    let flags = restrictions(options) | MsFlags::MS_RDONLY | MsFlags::MS_NODEV;
    mount(Some("overlay"), &inside(root, at), Some("overlay"), flags, Some(lowers.as_str()))
        .map_err(failed("put a read-only overlay over", at))
}

fn restrictions(options: &[String]) -> MsFlags {
    let flag = |option: &String| match option.as_str() {
        "nosuid" => MsFlags::MS_NOSUID,
        "nodev" => MsFlags::MS_NODEV,
        "noexec" => MsFlags::MS_NOEXEC,
        _ => MsFlags::empty(),
    };
    options.iter().map(flag).collect()
}

/// What lies at a path of the host, where an overlay may be mounted.
pub(crate) fn found_at(path: &Path, is_overlay: bool) -> Found {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() && is_overlay && is_stacked(path) => Found::Stacked,
        Ok(found) if found.is_dir() => Found::Directory,
        Ok(found) if found.is_file() => Found::File(found.len()),
        _ => Found::Special,
    }
}

/// Whether a directory lies on an overlay that no other one can be put over, because it lies over one itself. Nothing is
/// mounted: the kernel is only asked to make the file system.
pub(crate) fn is_stacked(at: &Path) -> bool {
    use rustix::fd::AsFd;
    use rustix::io::Errno;
    use rustix::mount::{FsOpenFlags, fsconfig_create, fsconfig_set_string, fsopen};
    let Ok(live) = open_path(at) else { return false };
    // Two lower layers, for want of an upper one; any directory of another file system will do.
    let lowers = format!("/proc/self/fd/{}:/sys", live.as_raw_fd());
    let made = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).and_then(|context| {
        fsconfig_set_string(context.as_fd(), "lowerdir", &lowers)?;
        fsconfig_create(context.as_fd())
    });
    made == Err(Errno::INVAL)
}

fn open_path(path: &Path) -> Result<File, MountError> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC)
        .open(path)
        .map_err(io_failed("open", path))
}

/// Makes the extra lower layer: directories look like the live ones, shadows lead to the shadow program, the original's
/// commands to the client, and files that are mounted by themselves are copied.
fn fill_extra(layer: &Layer, client: &Path) -> Result<(), MountError> {
    let extra = layer.extra();
    make_directory(&extra, 0o755)?;
    tmpfs(&extra, MsFlags::MS_NODEV | MsFlags::MS_NOSUID, "mode=0755,size=64m")?;
    let root = fs::symlink_metadata(&layer.at).map_err(io_failed("look at", &layer.at))?;
    copy_attributes(&root, &extra)?;
    for item in &layer.extras {
        match item {
            Extra::Directory(path) => make_like_live(layer, path)?,
            Extra::Shadow(path) => {
                make_like_live(layer, path.parent().unwrap_or(Path::new("")))?;
                let at = extra.join(path);
                symlink(Path::new(RUNTIME_DIR).join("shadow"), &at).map_err(io_failed("shadow", &at))?;
            }
            Extra::Command(path) => {
                make_like_live(layer, path.parent().unwrap_or(Path::new("")))?;
                let at = extra.join(path);
                symlink(client, &at).map_err(io_failed("link", &at))?;
            }
            Extra::File(path) => {
                make_like_live(layer, path.parent().unwrap_or(Path::new("")))?;
                copy_file(&layer.at.join(path), &extra.join(path))?;
            }
            Extra::Link(path, to) => {
                make_like_live(layer, path.parent().unwrap_or(Path::new("")))?;
                let at = extra.join(path);
                symlink(to, &at).map_err(io_failed("link", &at))?;
            }
        }
    }
    copy_labels(&layer.at, &extra)?;
    // What was made in them gave them another time.
    let leading = layer.extras.iter().flat_map(|item| item.path().ancestors().skip(1));
    for directory in leading.collect::<BTreeSet<_>>() {
        if let Ok(live) = layer.at.join(directory).symlink_metadata() {
            copy_time(&live, &extra.join(directory))?;
        }
    }
    Ok(())
}

/// Makes a directory and its parents in the extra layer. They carry the attributes of the live ones, because the
/// merged view takes a directory's attributes from its topmost layer.
fn make_like_live(layer: &Layer, directory: &Path) -> Result<(), MountError> {
    let mut relative = PathBuf::new();
    for part in directory.components() {
        relative.push(part);
        let made = layer.extra().join(&relative);
        if made.symlink_metadata().is_ok() {
            continue;
        }
        let live = layer.at.join(&relative);
        match live.symlink_metadata() {
            Ok(attributes) => make_like(&live, &attributes, &made)?,
            Err(_) => make_directory(&made, 0o755)?,
        }
    }
    Ok(())
}

/// Makes one directory like a live one.
pub(super) fn make_like(live: &Path, attributes: &fs::Metadata, at: &Path) -> Result<(), MountError> {
    make_directory(at, 0o755)?;
    copy_attributes(attributes, at)?;
    copy_labels(live, at)
}

pub(super) fn copy_file(live: &Path, copy: &Path) -> Result<(), MountError> {
    let content = fs::read(live).map_err(io_failed("read", live))?;
    let attributes = live.symlink_metadata().map_err(io_failed("look at", live))?;
    fs::write(copy, content).map_err(io_failed("copy", live))?;
    copy_attributes(&attributes, copy)?;
    copy_labels(live, copy)?;
    copy_time(&attributes, copy)
}

/// Gives a copy the time of modification of what it is a copy of.
fn copy_time(from: &fs::Metadata, to: &Path) -> Result<(), MountError> {
    let copied = from.modified().and_then(|time| File::open(to)?.set_modified(time));
    copied.map_err(io_failed("set the time of", to))
}

/// Gives a copy the attributes of a live path, and none but those: it may have inherited a list of access.
fn copy_labels(from: &Path, to: &Path) -> Result<(), MountError> {
    let is_own = |name: &OsString| !is_of_an_overlay(name) && !is_of_a_file_system(name);
    let wanted: Vec<_> = xattr::list(from).into_iter().flatten().filter(is_own).collect();
    let inherited = xattr::list(to).into_iter().flatten().filter(|name| !wanted.contains(name));
    for name in inherited.filter(|name| name.as_bytes().starts_with(b"system.posix_acl_")) {
        xattr::remove(to, &name).map_err(io_failed("take an inherited list of access from", to))?;
    }
    for name in wanted {
        if let Ok(Some(value)) = xattr::get(from, &name) {
            match xattr::set(to, &name, &value) {
                // A layer on another type of file system holds less, and what is copied to it later loses the same; but
                // who may do what is not to be lost.
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) && !decides_on_access(&name) => {
                }
                set if has_all_ids() => set.map_err(io_failed("label", to))?,
                _ => {}
            }
        }
    }
    Ok(())
}

fn decides_on_access(name: &OsStr) -> bool {
    ["security.", "system."].iter().any(|start| name.as_bytes().starts_with(start.as_bytes()))
}

fn copy_attributes(from: &fs::Metadata, to: &Path) -> Result<(), MountError> {
    if has_all_ids() {
        chown(to, Some(from.uid()), Some(from.gid())).map_err(io_failed("give an owner to", to))?;
    }
    fs::set_permissions(to, fs::Permissions::from_mode(from.mode() & 0o7777))
        .map_err(io_failed("give a mode to", to))
}

/// Whether every owner that a file of the host has exists here: not so in the namespace of a user's noop.
fn has_all_ids() -> bool {
    static ALL: OnceLock<bool> = OnceLock::new();
    *ALL.get_or_init(|| {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        map.split_whitespace().last().is_none_or(|count| count != "1")
    })
}

/// Mounts `/proc` of the new pid namespace. Its `sys` and friends belong to uid 0 without any capability, so only a
/// read-only mount protects the host's kernel settings.
fn mount_proc(root: &Path) -> Result<(), MountError> {
    let at = root.join("proc");
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &at, Some("proc"), flags, None::<&str>).map_err(failed("mount proc on", &at))?;
    if pid_max_is_of_the_namespace() {
        let ceiling = at.join("sys/kernel/pid_max");
        std::fs::write(&ceiling, MOST_PROCESSES).map_err(io_failed("write", &ceiling))?;
    }
    // A setting of the ipc namespace, and so the sandbox's own. Before Linux 6.2 a user cannot change it.
    let _ = std::fs::write(at.join("sys/kernel/shmall"), MOST_SHARED_PAGES);
    for part in PROC_READ_ONLY.iter().map(|part| at.join(part)).filter(|part| part.exists()) {
        bind_read_only(&part, &part, MsFlags::MS_NODEV)?;
    }
    for part in PROC_HIDDEN.iter().map(|part| at.join(part)).filter(|part| part.exists()) {
        if part.is_dir() {
            let flags = flags | MsFlags::MS_RDONLY;
            tmpfs(&part, flags, "mode=0555,size=4k")?;
        } else {
            bind_read_only(Path::new("/dev/null"), &part, MsFlags::empty())?;
        }
    }
    Ok(())
}

/// Pages of shared memory of System V, a quarter of a GiB: no process holds them, so ending processes frees none.
const MOST_SHARED_PAGES: &str = "65536";

/// Process numbers of a noop, beyond which the kernel starts no process: whatever a script does before the client's watch
/// sees it, most of the machine's numbers are left to the machine.
const MOST_PROCESSES: &str = "16384";

/// Whether `pid_max` is a setting of each pid namespace, as since Linux 6.14; before, it was the machine's.
fn pid_max_is_of_the_namespace() -> bool {
    let release = rustix::system::uname();
    let mut numbers = release.release().to_str().unwrap_or_default().split(['.', '-']).map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (6, 14))
}

/// Makes a `/dev` of harmless devices, private terminals and shared memory.
fn mount_dev(root: &Path) -> Result<(), MountError> {
    let dev = root.join("dev");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    tmpfs(&dev, flags | MsFlags::MS_NODEV, "mode=0755,size=1m")?;
    for name in DEVICES {
        let at = dev.join(name);
        File::create(&at).map_err(io_failed("make", &at))?;
        // Read-only keeps mode, owner and times of the host's device; reading and writing it still work.
        bind_read_only(&Path::new("/dev").join(name), &at, MsFlags::empty())?;
    }
    for (name, target) in
        [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1")]
            .into_iter()
            .chain([("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx")])
    {
        let at = dev.join(name);
        symlink(target, &at).map_err(io_failed("make", &at))?;
    }
    let pts = dev.join("pts");
    make_directory(&pts, 0o755)?;
    mount(Some("devpts"), &pts, Some("devpts"), flags, Some("newinstance,ptmxmode=0666,mode=0620"))
        .map_err(failed("mount devpts on", &pts))?;
    let shm = dev.join("shm");
    make_directory(&shm, 0o755)?;
    tmpfs(&shm, flags | MsFlags::MS_NODEV, "mode=1777")?;
    let mqueue = dev.join("mqueue");
    make_directory(&mqueue, 0o755)?;
    match mount(Some("mqueue"), &mqueue, Some("mqueue"), flags | MsFlags::MS_NODEV, None::<&str>) {
        // A kernel without POSIX message queues has none that a script could miss.
        Ok(()) | Err(Errno::ENODEV) => Ok(()),
        Err(errno) => Err(failed("mount mqueue on", &mqueue)(errno)),
    }
}

/// Makes the runtime directory with the shadow program and the real programs behind shadows.
fn mount_runtime(runtime: &Path, client: &Path, real: &[(String, PathBuf)]) -> Result<(), MountError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    tmpfs(runtime, flags, "mode=0755,size=64k")?;
    let behind = runtime.join("real");
    make_directory(&behind, 0o755)?;
    let programs = real.iter().map(|(name, path)| (behind.join(name), path.as_path()));
    for (at, program) in programs.chain([(runtime.join("shadow"), client)]) {
        File::create(&at).map_err(io_failed("make", &at))?;
        bind_read_only(program, &at, MsFlags::MS_NODEV)?;
    }
    Ok(())
}

/// Takes the right to write from the runtime directory, once everything is in it: no script can take the shadows' ways
/// to work and to report from them. Connecting to a socket needs no right to write to its file system.
pub(crate) fn seal_runtime() -> Result<(), MountError> {
    let at = Path::new(RUNTIME_DIR);
    let flags = MsFlags::MS_REMOUNT
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NOEXEC
        | MsFlags::MS_NODEV;
    mount(None::<&str>, at, None::<&str>, flags, None::<&str>).map_err(failed("seal", at))
}

/// Binds one mount, without what is mounted below it, and takes the right to write from it.
fn bind_read_only(from: &Path, at: &Path, restricted: MsFlags) -> Result<(), MountError> {
    bind(from, at, restricted | MsFlags::MS_RDONLY)
}

/// Binds one mount, without what is mounted below it. The restrictions that the mount already has stay, and `restricted`
/// come to them.
fn bind(from: &Path, at: &Path, restricted: MsFlags) -> Result<(), MountError> {
    mount(Some(from), at, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(failed("bind", from))?;
    let held = rustix::fs::statvfs(at)
        .map_err(|errno| failed("look at", at)(Errno::from_raw(errno.raw_os_error())))?;
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | restricted;
    for (has, repeat) in [
        (rustix::fs::StatVfsMountFlags::NOSUID, MsFlags::MS_NOSUID),
        (rustix::fs::StatVfsMountFlags::NODEV, MsFlags::MS_NODEV),
        (rustix::fs::StatVfsMountFlags::NOEXEC, MsFlags::MS_NOEXEC),
    ] {
        if held.f_flag.contains(has) {
            flags |= repeat;
        }
    }
    mount(None::<&str>, at, None::<&str>, flags, None::<&str>).map_err(failed("restrict", at))
}

fn tmpfs(at: &Path, flags: MsFlags, options: &str) -> Result<(), MountError> {
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options)).map_err(failed("mount a tmpfs on", at))
}

fn make_directory(path: &Path, mode: u32) -> Result<(), MountError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(io_failed("make the directory", path))
}

/// Whether something above this process's root can be reached by climbing out of a chroot inside it. So it is where the
/// client itself runs in a chroot: changing the root of the sandbox leaves what lies around it in the namespace.
///
/// # Errors
/// The root could not be looked at; it may then be another one.
pub(crate) fn can_be_climbed_out_of() -> io::Result<bool> {
    let here = || {
        let flags = rustix::fs::AtFlags::empty();
        rustix::fs::statx(
            rustix::fs::CWD,
            ".",
            flags,
            rustix::fs::StatxFlags::INO | rustix::fs::StatxFlags::MNT_ID,
        )
        .map(|found| (found.stx_mnt_id, found.stx_ino))
    };
    let root = here()?;
    // The working directory stays at the root, which is now above the root of this process.
    nix::unistd::chroot("/proc")?;
    for _ in 0..64 {
        chdir("..")?;
    }
    let top = here()?;
    nix::unistd::chroot(".")?;
    chdir("/")?;
    Ok(top != root)
}

/// Opens the root directory of a process: the merged view of the sandbox whose init it is.
pub(crate) fn open_root_of(pid: nix::unistd::Pid) -> io::Result<OwnedFd> {
    let path = format!("/proc/{pid}/root");
    Ok(OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path)?.into())
}
