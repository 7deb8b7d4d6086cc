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

/// Since Linux 6.15; not in the C library's list yet. The same number on every architecture.
const SYS_OPEN_TREE_ATTR: libc::c_long = 467;

/// Since Linux 6.17; not in the C library's list yet. The same number on every architecture.
const SYS_FILE_SETATTR: libc::c_long = 469;

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
    SYS_FILE_SETATTR,
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
    libc::SYS_kcmp,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    SYS_OPEN_TREE_ATTR,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
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

/// Requests that type on somebody else's behalf.
const TYPING_IOCTLS: &[u64] = &[libc::TIOCSTI, libc::TIOCLINUX];

/// Requests that make the host load a module: line disciplines, bridges, virtual networks.
const LOADING_IOCTLS: &[u64] = &[libc::TIOCSETD, 0x8940, 0x8941, 0x8982, 0x8983, 0x89a0, 0x89a1];

/// Socket families that stay inside the sandbox's own network. Any other one reaches hypervisors, kernel crypto or raw
/// links, or makes the host load a module.
const FAMILIES: &[libc::c_int] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Netlink protocols that belong to the sandbox's own network. Others, such as audit, speak with the kernel as a whole, or
/// make it load a module for whatever family they name.
const NETLINK_PROTOCOLS: &[libc::c_int] =
    &[libc::NETLINK_ROUTE, libc::NETLINK_NETFILTER, libc::NETLINK_KOBJECT_UEVENT];

/// Types of sockets that no family has of which every kernel knows; asking for one makes the host load a module.
const ODD_TYPES: std::ops::RangeInclusive<u64> = 4..=15;

/// The bits of a socket's type; flags are above.
const TYPE_BITS: u64 = 0xf;

/// Internet protocols that every kernel has; asking for another one makes the host load a module.
const INTERNET_PROTOCOLS: &[libc::c_int] =
    &[0, libc::IPPROTO_ICMP, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_ICMPV6];

/// System calls of the x32 interface carry this bit, mean the same and pass every rule that compares numbers.
#[cfg(target_arch = "x86_64")]
const X32_BIT: u32 = 0x4000_0000;

/// The compiled confinement; made once for a run, applied by every process that becomes a script.
pub(crate) struct Confinement {
    filters: Vec<BpfProgram>,
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
        let ioctls = TYPING_IOCTLS.iter().chain(LOADING_IOCTLS);
        let ioctls = ioctls.map(|&request| (SeccompCmpOp::Eq, request));
        refused.insert(libc::SYS_ioctl, rules(1, ioctls)?);
        // The first process sees that the others end, and needs its own limits for it.
        refused.insert(libc::SYS_prlimit64, vec![rule(&[(0, SeccompCmpOp::Eq, 1)])?]);
        let refusing = filter(refused, libc::EPERM, arch)?;

        let other_than = |argument, allowed: &[libc::c_int]| -> Vec<_> {
            allowed.iter().map(|&value| (argument, SeccompCmpOp::Ne, value as u64)).collect()
        };
        let of_family = |family: libc::c_int, protocols| {
            let mut conditions = vec![(0, SeccompCmpOp::Eq, family as u64)];
            conditions.extend(other_than(2, protocols));
            rule(&conditions)
        };
        let mut sockets = vec![
            rule(&other_than(0, FAMILIES))?,
            of_family(libc::AF_NETLINK, NETLINK_PROTOCOLS)?,
            // Raw sockets may name any protocol, and need a capability that nobody inside has.
            of_family(libc::AF_INET, INTERNET_PROTOCOLS)?,
            of_family(libc::AF_INET6, INTERNET_PROTOCOLS)?,
        ];
        for family in [libc::AF_INET, libc::AF_INET6] {
            for odd in ODD_TYPES {
                let family = (0, SeccompCmpOp::Eq, family as u64);
                sockets.push(rule(&[family, (1, SeccompCmpOp::MaskedEq(TYPE_BITS), odd)])?);
            }
        }
        let pairs = vec![rule(&[(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64)])?];
        // What a kernel without them says, so programs go on without.
        let unknown_sockets = filter(
            BTreeMap::from([(libc::SYS_socket, sockets), (libc::SYS_socketpair, pairs)]),
            libc::EPROTONOSUPPORT,
            arch,
        )?;

        // The flags of clone3 lie behind a pointer; without it the C library falls back to clone.
        let missing = filter(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS, arch)?;

        // A core dump that goes to a program is taken on the host. Only a limit of one byte prevents it, so nobody may
        // choose another one; scripts that try are told that it worked.
        let core = u64::from(libc::RLIMIT_CORE);
        let by_pointer = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0);
        let which = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, core);
        let changed =
            SeccompRule::new(vec![which.map_err(io::Error::other)?, by_pointer.map_err(io::Error::other)?]);
        // A socket that lingers keeps whoever closes it waiting, and that is the client if a caller passes it there. Where
        // nobody is at the other end of a network, nothing is lost without.
        let level = (1, SeccompCmpOp::Eq, libc::SOL_SOCKET as u64);
        let lingering = rule(&[level, (2, SeccompCmpOp::Eq, libc::SO_LINGER as u64)])?;
        let kept = BTreeMap::from([
            (libc::SYS_setsockopt, vec![lingering]),
            (libc::SYS_prlimit64, vec![changed.map_err(io::Error::other)?]),
            (libc::SYS_setrlimit, vec![rule(&[(0, SeccompCmpOp::Eq, core)])?]),
        ]);
        let pretended = filter(kept, 0, arch)?;

        let mut filters = vec![pretended, unknown_sockets, missing, refusing];
        filters.extend(foreign_interface());
        Ok(Confinement { filters })
    }

    /// Confines the calling process and whatever it executes. There is no way back.
    ///
    /// # Errors
    /// The kernel refuses a filter or a capability set; the process must then not go on.
    pub(crate) fn apply(&self) -> io::Result<()> {
        let one_byte = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
        // SAFETY: reads one rlimit.
        if unsafe { libc::setrlimit(libc::RLIMIT_CORE, &one_byte) } == -1 {
            return Err(io::Error::last_os_error());
        }
        // Where memory runs out, it is a script that ends, and no service of the host.
        std::fs::write("/proc/self/oom_score_adj", "1000")?;
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

/// A rule that matches if all its conditions on 32-bit arguments hold.
fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> io::Result<SeccompRule> {
    let conditions = conditions.iter().map(|(argument, comparison, value)| {
        SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, comparison.clone(), *value)
    });
    let conditions = conditions.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
    SeccompRule::new(conditions).map_err(io::Error::other)
}

/// Refuses the whole x32 interface. The filter compiler compares numbers only for equality, so this one is written out.
#[cfg(target_arch = "x86_64")]
fn foreign_interface() -> Option<BpfProgram> {
    let instruction = |code: u32, jt, jf, k| seccompiler::sock_filter { code: code as u16, jt, jf, k };
    Some(vec![
        // The number of the call is the first word of what a filter is given.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32_BIT),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ])
}

#[cfg(not(target_arch = "x86_64"))]
fn foreign_interface() -> Option<BpfProgram> {
    None
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
