//! What a script of a noop may not do even as root: capabilities and system calls cut to what file work needs.
//!
//! The lists follow from trying hostile scripts: without them root inside a sandbox can still set the clock, read the
//! kernel log, load keys, push characters into terminals or enter other namespaces.

use std::collections::BTreeMap;
use std::io;

use caps::{CapSet, Capability, CapsHashSet};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

/// The capabilities that work on files, users and processes of the sandbox needs.
const KEPT: &[Capability] = &[
    Capability::CAP_AUDIT_WRITE,
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_MKNOD,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SYS_CHROOT,
];

/// System calls that act on the kernel, on other namespaces or on other processes' memory: EPERM.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// `clone` with any of these makes a namespace, and with it new rights.
const NAMESPACE_FLAGS: &[libc::c_int] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWCGROUP,
];

/// Terminal requests that type on somebody else's behalf.
const TYPING_IOCTLS: &[u64] = &[libc::TIOCSTI, libc::TIOCLINUX];

/// Socket families that reach hypervisors, kernel crypto and raw links.
const REFUSED_FAMILIES: &[libc::c_int] = &[libc::AF_VSOCK, libc::AF_ALG, libc::AF_PACKET];

/// The compiled confinement; made once for a run, applied by every process that becomes a script.
pub(crate) struct Confinement {
    filters: [BpfProgram; 2],
}

impl Confinement {
    /// Compiles the system call filters for this machine's architecture.
    ///
    /// # Errors
    /// The architecture is one that the filter compiler does not know.
    pub(crate) fn compile() -> io::Result<Self> {
        let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
        let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
            REFUSED.iter().map(|&call| (call, Vec::new())).collect();
        let namespaces = NAMESPACE_FLAGS.iter().map(|&flag| flag as u64);
        refused
            .insert(libc::SYS_clone, rules(0, namespaces.map(|flag| (SeccompCmpOp::MaskedEq(flag), flag)))?);
        let ioctls = TYPING_IOCTLS.iter().map(|&request| (SeccompCmpOp::Eq, request));
        refused.insert(libc::SYS_ioctl, rules(1, ioctls)?);
        let families = REFUSED_FAMILIES.iter().map(|&family| (SeccompCmpOp::Eq, family as u64));
        refused.insert(libc::SYS_socket, rules(0, families)?);
        let refusing = filter(refused, libc::EPERM, arch)?;
        // The flags of clone3 lie behind a pointer; without it the C library falls back to clone.
        let missing = filter(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS, arch)?;
        Ok(Confinement { filters: [refusing, missing] })
    }

    /// Confines the calling process and whatever it executes. There is no way back.
    ///
    /// # Errors
    /// The kernel refuses a filter or a capability set; the process must then not go on.
    pub(crate) fn apply(&self) -> io::Result<()> {
        // Filters first: they come with no-new-privileges, and capabilities are needed for nothing after them.
        for program in &self.filters {
            seccompiler::apply_filter(program).map_err(io::Error::other)?;
        }
        let kept: CapsHashSet = KEPT.iter().copied().collect();
        for capability in caps::runtime::thread_all_supported() {
            if !kept.contains(&capability) {
                caps::drop(None, CapSet::Bounding, capability).map_err(io::Error::other)?;
            }
        }
        let held = caps::read(None, CapSet::Permitted).map_err(io::Error::other)?;
        let kept: CapsHashSet = kept.intersection(&held).copied().collect();
        caps::clear(None, CapSet::Ambient).map_err(io::Error::other)?;
        caps::clear(None, CapSet::Inheritable).map_err(io::Error::other)?;
        caps::set(None, CapSet::Effective, &kept).map_err(io::Error::other)?;
        caps::set(None, CapSet::Permitted, &kept).map_err(io::Error::other)
    }
}

/// One rule per value: the call matches if its argument, 32 bits of it as the kernel reads them, compares to any.
fn rules(argument: u8, values: impl Iterator<Item = (SeccompCmpOp, u64)>) -> io::Result<Vec<SeccompRule>> {
    values
        .map(|(comparison, value)| {
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, comparison, value)
                .and_then(|condition| SeccompRule::new(vec![condition]))
                .map_err(io::Error::other)
        })
        .collect()
}

/// Allows everything but the given calls, which fail with `errno`; a call of a foreign architecture kills.
fn filter(
    calls: BTreeMap<i64, Vec<SeccompRule>>,
    errno: libc::c_int,
    arch: TargetArch,
) -> io::Result<BpfProgram> {
    SeccompFilter::new(calls, SeccompAction::Allow, SeccompAction::Errno(errno as u32), arch)
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)
}
