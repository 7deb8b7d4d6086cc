//! What the kernel offers to this process: rights, overlays, namespaces, filters, control groups.

use std::fs;
use std::path::Path;

use caps::{CapSet, Capability};

use crate::disco::doctor::Finding;
use crate::disco::sandbox::probe::{self, Rights};

/// Options of overlays that the sandbox asks for.
const OVERLAY_OPTIONS: &[&str] = &["redirect_dir", "metacopy", "index", "xino_auto"];

/// The namespaces of a noop, by their names below `/proc/self/ns`.
const NAMESPACES: &[&str] = &["mnt", "pid", "ipc", "uts", "net", "cgroup"];

/// Rights that mounting, confining and merging take.
const NEEDED: &[Capability] = &[
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_MKNOD,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SYS_CHROOT,
];

pub(super) fn examine() -> Vec<Finding> {
    let mut findings = vec![user(), overlays(), namespaces(), user_namespaces(), filters()];
    // A user has them in the namespace of the noop.
    findings.extend((Rights::own() == Rights::Root).then(capabilities));
    findings.push(control_groups());
    findings
}

fn user() -> Finding {
    match Rights::own() {
        Rights::Root => Finding::ok("user", "root"),
        Rights::User => Finding::warning(
            "user",
            "not root: `dance --noop` and `try` work, and change what root could only in parts",
            "run it again as root, for example with sudo",
        ),
    }
}

fn overlays() -> Finding {
    if let Err(missing @ probe::ProbeError::NoOverlay) = probe::check_overlay() {
        return Finding::failed("overlayfs", missing.to_string(), missing.cure());
    }
    let parameters = Path::new("/sys/module/overlay/parameters");
    let missing: Vec<_> = OVERLAY_OPTIONS.iter().filter(|name| !parameters.join(name).exists()).collect();
    match missing.as_slice() {
        [] => Finding::ok("overlayfs", format!("there, with {}", OVERLAY_OPTIONS.join(", "))),
        _ if !parameters.exists() => {
            Finding::ok("overlayfs", "there; the kernel does not tell its options, the trial below does")
        }
        missing => Finding::failed(
            "overlayfs",
            format!("there, without {missing:?}"),
            "boot a kernel of 5.10 or later, built with the options of CONFIG_OVERLAY_FS",
        ),
    }
}

fn namespaces() -> Finding {
    let own = Path::new("/proc/self/ns");
    if !own.is_dir() {
        return Finding::failed("namespaces", "/proc is not mounted", "mount it: mount -t proc proc /proc");
    }
    let missing: Vec<_> = NAMESPACES.iter().copied().filter(|name| !own.join(name).exists()).collect();
    match missing.as_slice() {
        [] => Finding::ok("namespaces", NAMESPACES.join(", ")),
        missing => Finding::failed(
            "namespaces",
            format!("this kernel has none of {}", missing.join(", ")),
            "boot a kernel with CONFIG_NAMESPACES and all its parts",
        ),
    }
}

/// A dance of root does without; a noop of a user does not.
fn user_namespaces() -> Finding {
    let about = "user namespaces";
    if Rights::own() == Rights::User {
        return match probe::check_user_namespace() {
            Ok(()) => Finding::ok(about, "a noop can have one"),
            Err(missing) => Finding::failed(about, missing.to_string(), missing.cure()),
        };
    }
    let number = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let forbidden = [
        ("user.max_user_namespaces", number("/proc/sys/user/max_user_namespaces") == Some(0)),
        ("kernel.unprivileged_userns_clone", number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0)),
        (
            "kernel.apparmor_restrict_unprivileged_userns",
            number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1),
        ),
    ];
    let by: Vec<_> = forbidden.iter().filter(|(_, forbids)| *forbids).map(|(name, _)| *name).collect();
    Finding::ok(
        about,
        match by.as_slice() {
            _ if !Path::new("/proc/self/ns/user").exists() => {
                "this kernel has none; a dance needs none".to_owned()
            }
            [] => "ordinary users may make them; a dance needs none".to_owned(),
            by => format!("forbidden to ordinary users by {}; a dance needs none", by.join(", ")),
        },
    )
}

fn filters() -> Finding {
    let cure = "boot a kernel with CONFIG_SECCOMP_FILTER";
    match fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions)
            if ["errno", "allow"]
                .iter()
                .all(|action| actions.split(' ').any(|word| word.trim() == *action)) =>
        {
            Finding::ok("seccomp", "filters of system calls can be set")
        }
        Ok(actions) => Finding::failed("seccomp", format!("offers only {}", actions.trim()), cure),
        Err(error) => {
            Finding::failed("seccomp", format!("filters of system calls cannot be set: {error}"), cure)
        }
    }
}

fn capabilities() -> Finding {
    let held = match caps::read(None, CapSet::Effective) {
        Ok(held) => held,
        Err(error) => {
            return Finding::failed("capabilities", format!("cannot be read: {error}"), "mount /proc");
        }
    };
    let missing: Vec<_> =
        NEEDED.iter().filter(|needed| !held.contains(needed)).map(ToString::to_string).collect();
    match missing.as_slice() {
        [] => Finding::ok("capabilities", format!("{} held, and all that are needed", held.len())),
        missing => Finding::failed(
            "capabilities",
            format!("not held: {}", missing.join(", ")),
            "run it as root, and in a container with these capabilities (for example --cap-add SYS_ADMIN)",
        ),
    }
}

fn control_groups() -> Finding {
    let mounted = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .find(|at| Path::new(at).join("cgroup.controllers").exists());
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    match (mounted, own) {
        (Some(mounted), Some(own)) => {
            let own = Path::new(mounted).join(own);
            let writable =
                nix::unistd::access(&own.join("cgroup.procs"), nix::unistd::AccessFlags::W_OK).is_ok();
            let how =
                if writable { "can be divided" } else { "cannot be divided; a dance needs no division" };
            Finding::ok("control groups", format!("version 2 at {mounted}, {} {how}", own.display()))
        }
        _ => Finding::ok("control groups", "no version 2 here; a dance limits its programs without"),
    }
}
