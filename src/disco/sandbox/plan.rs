//! What the sandbox will look like, as data: computed from the mounts of the host, printed and tested here,
//! executed by `mount.rs` and nowhere else.
//!
//! Every writable file system of the host becomes the lower layer of an overlay of its own, because overlayfs does
//! not descend into submounts. What cannot be a lower layer is shown read-only or hidden, and noted.

use std::path::{Path, PathBuf};

use crate::disco::Mode;
use crate::disco::sandbox::mountinfo::Mount;

/// File systems that overlayfs takes as a lower layer; the first ones also as the upper.
const OVERLAYABLE: &[&str] = &[
    "ext4", "ext3", "ext2", "xfs", "btrfs", "tmpfs", "f2fs", "bcachefs", "zfs", "overlay", "nfs", "nfs4",
    "squashfs", "erofs", "iso9660", "ubifs", "rootfs",
];

/// File systems that are views of the running kernel: nothing in them is a file that could be managed.
const KERNEL_VIEWS: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];

/// The device files of a noop's `/dev`; everything else stays out of reach.
pub(crate) const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Parts of `/proc` that belong to uid 0 without any capability, so only a read-only mount protects them.
pub(crate) const PROC_READ_ONLY: &[&str] = &["sys", "sysrq-trigger", "irq", "bus", "fs"];

/// Parts of `/proc` that tell about the host's memory, keys and timers.
pub(crate) const PROC_HIDDEN: &[&str] = &["kcore", "keys", "key-users", "timer_list", "kmsg", "sched_debug"];

/// Where a noop keeps the shadow program and the socket to which shadows report, inside its own `/dev`.
pub(crate) const RUNTIME_DIR: &str = "/dev/disco";

/// Where scripts and templates find the parameter tree, whatever the brand's `vardir` is.
pub(crate) const PARAMETERS_DIR: &str = "/var/disco/parameters";

/// Where scripts and templates find the original's commands; ahead of everything else on their PATH.
pub(crate) const COMMANDS_DIR: &str = "/var/disco/bin";

/// The original's commands that this client answers to by name: `disco-param` is `param`.
pub const ORIGINAL_COMMANDS: &[&str] = &["disco-param"];

/// One overlay: a live file system below, the run's own upper layer above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    /// Mount point on the host and inside the sandbox.
    pub(crate) at: PathBuf,
    /// Directory of this layer's `upper`, `work` and `extra`, below the scratch directory.
    pub(crate) dir: PathBuf,
    /// What the sandbox adds of its own, in a second lower layer above the live one.
    pub(crate) extras: Vec<Extra>,
}

/// Something that exists only inside the sandbox; paths are relative to the layer's mount point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Extra {
    /// A directory to mount on.
    Directory(PathBuf),
    /// A command that only tells what it would execute.
    Shadow(PathBuf),
    /// A command of the original: a link to the client.
    Command(PathBuf),
}

impl Layer {
    /// Where writes land.
    pub(crate) fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }

    /// overlayfs's private directory, on the same file system as the upper.
    pub(crate) fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// Mount point of the extra lower layer. It is a file system of its own: a lower layer that lies below another
    /// lower layer is refused by the kernel.
    pub(crate) fn extra(&self) -> PathBuf {
        self.dir.join("extra")
    }
}

/// One thing to mount; paths are inside the sandbox unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// An overlay over a live file system.
    Overlay(Layer),
    /// A live mount as it is, without its submounts, not writable. `from` is a path of the host.
    BindReadOnly { from: PathBuf, at: PathBuf },
    /// A live tree with everything below it. Live runs only.
    BindTree { at: PathBuf },
    /// Hides what lies there.
    Hide { at: PathBuf },
    /// Fresh `/proc` of the sandbox's own processes, its dangerous parts read-only or hidden.
    Proc,
    /// Fresh `/sys`, read-only.
    Sys,
    /// A `/dev` with nothing but harmless devices.
    Dev,
}

/// The whole sandbox in the order in which it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountPlan {
    /// What to do, parents before children.
    pub(crate) steps: Vec<Step>,
    /// What the sandbox shows less faithfully than one would expect, a sentence each.
    pub(crate) notes: Vec<String>,
}

impl MountPlan {
    /// The overlays, in mount order; the first one covers `/`.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.steps.iter().filter_map(|step| match step {
            Step::Overlay(layer) => Some(layer),
            _ => None,
        })
    }

    /// Adds something of the sandbox's own to the layer that covers its path.
    fn add(&mut self, path: &Path, extra: impl Fn(PathBuf) -> Extra) {
        let covering = self
            .steps
            .iter_mut()
            .filter_map(|step| match step {
                Step::Overlay(layer) if path.starts_with(&layer.at) => Some(layer),
                _ => None,
            })
            .max_by_key(|layer| layer.at.components().count());
        let Some(layer) = covering else { return };
        let relative = path.strip_prefix(&layer.at).expect("the layer covers the path").to_owned();
        layer.extras.push(extra(relative));
    }
}

/// Directories of a run that the plan refers to; host paths.
#[derive(Debug, Clone)]
pub(crate) struct RunDirs {
    /// Everything the run leaves on disk while it lasts; hidden inside the sandbox.
    pub(crate) scratch: PathBuf,
    /// The effective parameter tree; shown at [`PARAMETERS_DIR`].
    pub(crate) parameters: PathBuf,
}

/// Decides what to mount, from the visible mounts of the host.
///
/// `shadows` are the real paths of the commands that a noop holds back. Nothing is read or changed here, but for asking
/// `is_directory` whether a path of the host is one.
pub(crate) fn plan(
    mode: Mode,
    mounts: &[Mount],
    dirs: &RunDirs,
    shadows: &[PathBuf],
    is_directory: impl Fn(&Path) -> bool,
) -> MountPlan {
    let replaced: &[&str] = match mode {
        Mode::Noop => &["/proc", "/sys", "/dev"],
        Mode::Live => &["/proc", "/sys", "/dev", "/run"],
    };
    let mut steps = Vec::new();
    let mut notes = Vec::new();
    let overlay = |at: &Path, number: usize| {
        let dir = dirs.scratch.join("layers").join(number.to_string());
        Step::Overlay(Layer { at: at.to_owned(), dir, extras: Vec::new() })
    };
    steps.push(overlay(Path::new("/"), 0));

    let mut below: Vec<&Mount> = mounts
        .iter()
        .filter(|mount| mount.point != Path::new("/"))
        .filter(|mount| !replaced.iter().any(|tree| mount.point.starts_with(tree)))
        .filter(|mount| !mount.point.starts_with(&dirs.scratch))
        .collect();
    below.sort_by_key(|mount| mount.point.components().count());
    for mount in below {
        let at = mount.point.clone();
        let overlayable = OVERLAYABLE.contains(&mount.kind.as_str());
        let directory = is_directory(&at);
        if KERNEL_VIEWS.contains(&mount.kind.as_str()) {
            steps.push(match mode {
                Mode::Noop if directory => Step::Hide { at },
                // A namespace that something keeps alive by a file.
                Mode::Noop => Step::BindReadOnly { from: "/dev/null".into(), at },
                Mode::Live => Step::BindTree { at },
            });
        } else if !mount.read_only && overlayable && directory {
            let number = steps.len();
            steps.push(overlay(&at, number));
        } else {
            if !mount.read_only {
                let why = match directory {
                    true => format!("of type {} and cannot be the lower layer of an overlay", mount.kind),
                    false => "a single file that is mounted by itself".to_owned(),
                };
                notes.push(format!("{} is {why}: it is read-only during the run", at.display()));
            }
            steps.push(Step::BindReadOnly { from: at.clone(), at });
        }
    }

    match mode {
        Mode::Noop => steps.extend([Step::Proc, Step::Sys, Step::Dev]),
        Mode::Live => steps.extend(
            replaced.iter().map(PathBuf::from).filter(|at| is_directory(at)).map(|at| Step::BindTree { at }),
        ),
    }
    steps.push(Step::BindReadOnly { from: dirs.parameters.clone(), at: PARAMETERS_DIR.into() });
    steps.push(Step::Hide { at: dirs.scratch.clone() });

    let mut plan = MountPlan { steps, notes };
    if !is_directory(Path::new(PARAMETERS_DIR)) {
        plan.add(Path::new(PARAMETERS_DIR), Extra::Directory);
    }
    for shadow in shadows {
        plan.add(shadow, Extra::Shadow);
    }
    for command in ORIGINAL_COMMANDS {
        plan.add(&Path::new(COMMANDS_DIR).join(command), Extra::Command);
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(point: &str, kind: &str, read_only: bool) -> Mount {
        Mount { id: 1, point: point.into(), kind: kind.into(), read_only, options: Vec::new() }
    }

    fn plan_of(mode: Mode, mounts: &[Mount]) -> MountPlan {
        let dirs =
            RunDirs { scratch: "/var/x/scratch/1".into(), parameters: "/var/x/scratch/1/parameters".into() };
        let shadows = [PathBuf::from("/usr/sbin/service")];
        plan(mode, mounts, &dirs, &shadows, |path| {
            path != Path::new("/etc/resolv.conf") && path != Path::new(PARAMETERS_DIR)
        })
    }

    fn overlays(plan: &MountPlan) -> Vec<&str> {
        plan.layers().map(|layer| layer.at.to_str().unwrap()).collect()
    }

    #[test]
    fn every_writable_file_system_gets_an_overlay_parents_first() {
        let mounts = [
            mount("/", "ext4", false),
            mount("/var/log", "xfs", false),
            mount("/var", "ext4", false),
            mount("/snap", "squashfs", true),
            mount("/proc", "proc", false),
        ];
        let plan = plan_of(Mode::Noop, &mounts);
        assert_eq!(overlays(&plan), ["/", "/var", "/var/log"]);
        assert!(plan.steps.contains(&Step::BindReadOnly { from: "/snap".into(), at: "/snap".into() }));
        assert!(plan.notes.is_empty());
    }

    #[test]
    fn what_cannot_be_a_lower_layer_is_read_only_and_said_so() {
        let plan = plan_of(
            Mode::Noop,
            &[mount("/boot/efi", "vfat", false), mount("/etc/resolv.conf", "ext4", false)],
        );
        assert_eq!(
            plan.notes,
            [
                "/boot/efi is of type vfat and cannot be the lower layer of an overlay: it is read-only during the run",
                "/etc/resolv.conf is a single file that is mounted by itself: it is read-only during the run",
            ]
        );
        assert_eq!(overlays(&plan), ["/"]);
    }

    #[test]
    fn a_noop_never_binds_a_live_tree() {
        let mounts = [mount("/run", "tmpfs", false), mount("/srv/jail/proc", "proc", false)];
        let plan = plan_of(Mode::Noop, &mounts);
        assert!(!plan.steps.iter().any(|step| matches!(step, Step::BindTree { .. })), "{plan:?}");
        assert_eq!(overlays(&plan), ["/", "/run"]);
        assert!(plan.steps.contains(&Step::Hide { at: "/srv/jail/proc".into() }));
        let plan = plan_of(Mode::Noop, &[mount("/etc/resolv.conf", "nsfs", false)]);
        assert!(
            plan.steps
                .contains(&Step::BindReadOnly { from: "/dev/null".into(), at: "/etc/resolv.conf".into() })
        );
    }

    #[test]
    fn a_live_run_reaches_the_running_system() {
        let plan = plan_of(Mode::Live, &[mount("/run", "tmpfs", false)]);
        for tree in ["/proc", "/sys", "/dev", "/run"] {
            assert!(plan.steps.contains(&Step::BindTree { at: tree.into() }), "{tree}");
        }
    }

    #[test]
    fn what_the_sandbox_adds_goes_to_the_layer_that_covers_its_path() {
        let plan = plan_of(Mode::Noop, &[mount("/usr", "ext4", false), mount("/var", "ext4", false)]);
        let extras: Vec<_> = plan.layers().map(|layer| layer.extras.as_slice()).collect();
        assert_eq!(extras[0], []);
        assert_eq!(extras[1], [Extra::Shadow("sbin/service".into())]);
        assert_eq!(
            extras[2],
            [Extra::Directory("disco/parameters".into()), Extra::Command("disco/bin/disco-param".into())]
        );
    }

    #[test]
    fn the_scratch_is_hidden_last_and_its_own_mounts_are_left_alone() {
        let plan = plan_of(Mode::Noop, &[mount("/var/x/scratch/1", "tmpfs", false)]);
        assert_eq!(overlays(&plan), ["/"]);
        assert_eq!(plan.steps.last(), Some(&Step::Hide { at: "/var/x/scratch/1".into() }));
    }
}
