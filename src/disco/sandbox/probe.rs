//! What this kernel and this user can do, in words that say what to do about what is missing.

use std::fs;
use std::path::{Path, PathBuf};

use crate::disco::Mode;
use crate::disco::sandbox::child;

/// With whose rights a sandbox is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Root's.
    Root,
    /// Those of a user, who is root only in a user namespace of the sandbox; see `user.rs`.
    User,
}

impl Rights {
    /// Those of this process.
    pub fn own() -> Self {
        if nix::unistd::geteuid().is_root() { Rights::Root } else { Rights::User }
    }
}

/// Why no sandbox can be made here.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Only root may change a host, or mount what others use.
    #[error("this needs root: only a noop works without")]
    NotRoot,
    /// A user is no root, not even in a namespace.
    #[error("a noop without root needs a user namespace, and the kernel refuses one ({0})")]
    NoUserNamespace(std::io::Error),
    /// The kernel has no overlayfs, built in or as a module.
    #[error("this kernel has no overlayfs, and without it there is no sandbox to run in")]
    NoOverlay,
}

impl ProbeError {
    /// What to do about it.
    pub fn cure(&self) -> &'static str {
        match self {
            ProbeError::NotRoot => {
                "run it again as root, for example with sudo; `dance --noop` and `try` work without"
            }
            ProbeError::NoUserNamespace(_) => {
                "run it as root; or see the sysctls user.max_user_namespaces, kernel.unprivileged_userns_clone and \
                 kernel.apparmor_restrict_unprivileged_userns"
            }
            ProbeError::NoOverlay => {
                "load the module with `modprobe overlay`, or boot a kernel built with CONFIG_OVERLAY_FS"
            }
        }
    }
}

/// Checks what every sandbox needs, before anything is fetched or written.
///
/// # Errors
/// The first thing that is missing.
pub fn check(mode: Mode) -> Result<(), ProbeError> {
    match (Rights::own(), mode) {
        (Rights::Root, _) => {}
        (Rights::User, Mode::Live) => return Err(ProbeError::NotRoot),
        (Rights::User, Mode::Noop) => check_user_namespace()?,
    }
    check_overlay()
}

/// Checks that a user can be root in a namespace, by becoming it for a moment.
///
/// # Errors
/// [`ProbeError::NoUserNamespace`].
pub fn check_user_namespace() -> Result<(), ProbeError> {
    child::try_user_namespace().map_err(ProbeError::NoUserNamespace)
}

/// Checks that the kernel has overlays, loading their module if need be.
///
/// # Errors
/// [`ProbeError::NoOverlay`].
pub fn check_overlay() -> Result<(), ProbeError> {
    if !lists_overlay() {
        // Naming the type lets the kernel load its module; the descriptor is not needed.
        let _ = rustix::mount::fsopen("overlay", rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC);
        if !lists_overlay() {
            return Err(ProbeError::NoOverlay);
        }
    }
    Ok(())
}

fn lists_overlay() -> bool {
    fs::read_to_string("/proc/filesystems")
        .is_ok_and(|text| text.lines().any(|line| line.trim_end().ends_with("\toverlay")))
}

/// Whether a directory's file system can hold upper layers. Another overlay cannot, nor can memory without attributes.
pub(crate) fn can_hold_uppers(directory: &Path) -> std::io::Result<bool> {
    const OVERLAYFS: i64 = 0x794c_7630;
    const RAMFS: i64 = 0x8584_58f6;
    const FUSE: i64 = 0x6573_5546;
    const NFS: i64 = 0x6969;
    const VFAT: i64 = 0x4d44;
    let kind = rustix::fs::statfs(directory)?.f_type as i64;
    Ok(![OVERLAYFS, RAMFS, FUSE, NFS, VFAT].contains(&kind))
}

/// The binary that runs, by a path that exists.
pub(crate) fn own_binary() -> std::io::Result<PathBuf> {
    std::env::current_exe()
}
