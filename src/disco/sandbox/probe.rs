//! What this kernel and this user can do, in words that say what to do about what is missing.

use std::fs;
use std::path::{Path, PathBuf};

/// Why no sandbox can be made here.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Namespaces and overlays need rights that only root has.
    #[error("a dance needs root: it mounts overlays and makes namespaces")]
    NotRoot,
    /// The kernel has no overlayfs, built in or as a module.
    #[error("this kernel has no overlayfs, and without it there is no sandbox to run in")]
    NoOverlay,
}

impl ProbeError {
    /// What to do about it.
    pub fn cure(&self) -> &'static str {
        match self {
            ProbeError::NotRoot => "run it again as root, for example with sudo",
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
pub fn check() -> Result<(), ProbeError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(ProbeError::NotRoot);
    }
    check_overlay()
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
