//! What the sandbox will look like, as data: computed from the mounts of the host, printed and tested here,
//! executed by `mount.rs` and nowhere else.
//!
//! Every writable file system of the host becomes the lower layer of an overlay of its own, because overlayfs does
//! not descend into submounts. What cannot be a lower layer is shown read-only or hidden, and noted.

use std::path::{Path, PathBuf};

use crate::disco::Mode;
use crate::disco::links::real;
use crate::disco::sandbox::mountinfo::Mount;
use crate::disco::sandbox::restricted::Verdict;

/// File systems that overlayfs refuses as a lower layer, for their names know no case. They hold files and directories
/// only, so a bind mount of one shows no socket, pipe or device of the host.
const NEVER_LOWER: &[&str] = &["cifs", "exfat", "hfs", "hfsplus", "msdos", "ntfs", "ntfs3", "smb3", "vfat"];

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

/// Directories of which a noop has new ones.
pub(super) const REPLACED_IN_NOOP: &[&str] = &["/proc", "/sys", "/dev"];

/// The device files of a noop's `/dev`; everything else stays out of reach.
pub(crate) const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Parts of `/proc` that belong to uid 0 without any capability, so only a read-only mount protects them.
pub(crate) const PROC_READ_ONLY: &[&str] = &["sys", "sysrq-trigger", "irq", "bus", "fs"];

/// Parts of `/proc` that tell about the host's memory, keys and timers, or that act on its hardware and know no
/// capability.
pub(crate) const PROC_HIDDEN: &[&str] = &[
    "acpi",
    "asound",
    "dynamic_debug",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "mtrr",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
    "vmallocinfo",
];

/// Largest file of a mount by itself that is copied; more is no configuration.
pub(super) const LARGEST_COPY: u64 = 4 << 20;

/// Where a sandbox keeps what is its own, below the names that follow.
const OWN_DIR: &str = "/var/disco";

/// Where a sandbox keeps the shadow program, the real programs behind shadows and the socket on which shadows call.
pub(crate) const RUNTIME_DIR: &str = "/var/disco/run";

/// Where scripts and templates find the parameter tree, whatever the brand's `vardir` is.
pub(crate) const PARAMETERS_DIR: &str = "/var/disco/parameters";

/// Where scripts and templates find the original's commands; ahead of everything else on their PATH.
pub(crate) const COMMANDS_DIR: &str = "/var/disco/bin";

/// The original's commands that this client answers to by name: `disco-param` is `param`.
pub const ORIGINAL_COMMANDS: &[&str] = &[
    "disco-ball",
    "disco-fs-diff",
    "disco-fs-init",
    "disco-fs-mount",
    "disco-fs-unmount",
    "disco-param",
    "disco-sh-exec",
    "disco-sh-shell",
    "disco-shutup",
];

/// Where a restricted shell finds everything that it may call, and shadows for the rest.
pub(crate) const RESTRICTED_DIR: &str = "/var/disco/restricted";

/// One overlay: a live file system below, the run's own upper layer above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    /// Mount point on the host and inside the sandbox.
    pub(crate) at: PathBuf,
    /// Directory of this layer's `upper`, `work` and `extra`, below the scratch directory.
    pub(crate) dir: PathBuf,
    /// Restrictions of the live mount that hold inside too: `nosuid`, `noexec`, `nodev`.
    pub(crate) options: Vec<String>,
    /// What the sandbox adds of its own, in a second lower layer above the live one.
    pub(crate) extras: Vec<Extra>,
    /// Whether the extras are all that lies below: then they are what the live directory holds.
    pub(crate) is_bare: bool,
    /// What is copied to the upper layer beforehand.
    pub(crate) prepared: Vec<Prepared>,
}

/// Something that is copied to an upper layer before anything runs; a path of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Prepared {
    /// What lies there, with the directories that lead to it.
    Path(PathBuf),
    /// A directory with all that lies in it.
    Tree(PathBuf),
}

/// Something that exists only inside the sandbox; paths are relative to the layer's mount point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Extra {
    /// A directory to mount on.
    Directory(PathBuf),
    /// A command whose calls are judged; see `shadow.rs`.
    Shadow(PathBuf),
    /// A command of the original: a link to the client.
    Command(PathBuf),
    /// A link: where it leads, as seen inside.
    Link(PathBuf, PathBuf),
    /// A copy of a file that is mounted by itself, which no overlay can cover: it can be changed inside like any other.
    File(PathBuf),
}

impl Extra {
    /// Where it lies in its layer.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Extra::Directory(path)
            | Extra::Shadow(path)
            | Extra::Command(path)
            | Extra::Link(path, _)
            | Extra::File(path) => path,
        }
    }

    /// The same elsewhere.
    pub(crate) fn at(self, path: PathBuf) -> Self {
        match self {
            Extra::Directory(_) => Extra::Directory(path),
            Extra::Shadow(_) => Extra::Shadow(path),
            Extra::Command(_) => Extra::Command(path),
            Extra::Link(_, to) => Extra::Link(path, to),
            Extra::File(_) => Extra::File(path),
        }
    }
}

/// What lies at a mount point of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A directory.
    Directory,
    /// A directory of an overlay that lies over another one already; a kernel puts no third one over them.
    Stacked,
    /// A regular file of this many bytes.
    File(u64),
    /// A socket, a pipe, a device; or nothing that can be seen.
    Special,
}

impl Layer {
    /// A layer without anything of its own, such as that of a sandbox which stands already.
    pub(crate) fn seen(at: PathBuf, dir: PathBuf) -> Self {
        Layer { at, dir, options: Vec::new(), extras: Vec::new(), is_bare: false, prepared: Vec::new() }
    }

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
    /// An overlay without an upper layer, over a live file system that is read-only. Unlike in a bind mount, its sockets
    /// and pipes are not those of the host.
    OverlayReadOnly { at: PathBuf, options: Vec<String> },
    /// A live mount as it is, without its submounts, not writable. `from` is a path of the host.
    BindReadOnly { from: PathBuf, at: PathBuf },
    /// What an overlay before has, at another path of the sandbox: on the host, both paths show the same files.
    SameFiles { from: PathBuf, at: PathBuf, read_only: bool, options: Vec<String> },
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
    /// What shadows need at [`RUNTIME_DIR`], and the real programs behind some of them, by name; paths of the host.
    Runtime { at: PathBuf, real: Vec<(String, PathBuf)> },
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

    /// Paths of the commands whose calls are judged.
    pub(crate) fn shadows(&self) -> Vec<PathBuf> {
        let of_layer = |layer: &Layer| -> Vec<PathBuf> {
            let shadows = layer.extras.iter().filter(|extra| matches!(extra, Extra::Shadow(_)));
            shadows.map(|extra| layer.at.join(extra.path())).collect()
        };
        self.layers().flat_map(of_layer).collect()
    }

    /// Names of those of them whose real program can be reached inside.
    pub(crate) fn real_programs(&self) -> Vec<String> {
        let real = self.steps.iter().filter_map(|step| match step {
            Step::Runtime { real, .. } => Some(real),
            _ => None,
        });
        real.flatten().map(|(name, _)| name.clone()).collect()
    }

    /// Adds what a restricted shell may call, and shadows for everything else.
    pub(crate) fn add_restricted(&mut self, dirs: &RunDirs, commands: &[(String, Verdict)]) {
        for (name, verdict) in commands {
            let at = dirs.real_of(RESTRICTED_DIR).join(name);
            match verdict {
                Verdict::Allowed(program) => self.add(&at, |at| Extra::Link(at, program.clone())),
                Verdict::HeldBack => self.add(&at, Extra::Shadow),
            }
        }
    }

    /// The path of an overlay that has what lies at a path: another one where files are at several places.
    fn overlaid(&self, path: &Path) -> PathBuf {
        let covering = self.steps.iter().filter_map(|step| match step {
            Step::Overlay(Layer { at, .. }) if path.starts_with(at) => Some((at, None)),
            Step::SameFiles { from, at, .. } if path.starts_with(at) => Some((at, Some(from))),
            _ => None,
        });
        match covering.max_by_key(|(at, _)| depth(at)) {
            Some((at, Some(from))) => join(from, path.strip_prefix(at).expect("the mount covers the path")),
            _ => path.to_owned(),
        }
    }

    /// The other paths of what lies at a path.
    fn other_places_of(&self, path: &Path) -> Vec<PathBuf> {
        let overlaid = self.overlaid(path);
        let mut places = vec![overlaid.clone()];
        let layer = self
            .layers()
            .filter(|layer| overlaid.starts_with(&layer.at))
            .max_by_key(|layer| depth(&layer.at));
        for step in &self.steps {
            if let Step::SameFiles { from, at, .. } = step
                && layer.is_some_and(|layer| layer.at == *from)
            {
                places.push(join(at, overlaid.strip_prefix(from).expect("the layer covers the path")));
            }
        }
        places.retain(|place| place != path);
        places
    }

    /// Adds something of the sandbox's own to the layer that covers its path.
    pub(super) fn add(&mut self, path: &Path, extra: impl Fn(PathBuf) -> Extra) {
        let path = &self.overlaid(path);
        let covering = self
            .steps
            .iter_mut()
            .filter_map(|step| match step {
                Step::Overlay(layer) if path.starts_with(&layer.at) => Some(layer),
                _ => None,
            })
            .max_by_key(|layer| depth(&layer.at));
        let Some(layer) = covering else { return };
        let relative = path.strip_prefix(&layer.at).expect("the layer covers the path").to_owned();
        layer.extras.push(extra(relative));
    }
}

/// Directories of a run that the plan refers to; host paths.
#[derive(Debug, Clone)]
pub(crate) struct RunDirs {
    /// Everything the run leaves on disk while it lasts; hidden inside the sandbox, with its neighbours.
    pub(crate) scratch: PathBuf,
    /// The effective parameter tree; shown at [`PARAMETERS_DIR`].
    pub(crate) parameters: PathBuf,
    /// Where [`OWN_DIR`] really lies: `/var` of some hosts is a link.
    pub(crate) own: PathBuf,
}

impl RunDirs {
    /// The directories of a run on this host.
    pub(crate) fn of(scratch: PathBuf, parameters: PathBuf) -> Self {
        RunDirs { scratch, parameters, own: real(Path::new(OWN_DIR)) }
    }

    /// Where one of the directories in [`OWN_DIR`] really lies.
    fn real_of(&self, directory: &str) -> PathBuf {
        self.own.join(Path::new(directory).strip_prefix(OWN_DIR).expect("the directory is in there"))
    }
}

/// Decides what to mount, from the visible mounts of the host.
///
/// `shadows` are the paths of the commands whose calls are judged, `real` those of them that may run after all. Nothing
/// is read or changed here, but for asking `found` what lies at a path of the host.
pub(crate) fn plan(
    mode: Mode,
    mounts: &[Mount],
    dirs: &RunDirs,
    shadows: &[PathBuf],
    real: &[(String, PathBuf)],
    found: impl Fn(&Path) -> Found,
) -> MountPlan {
    let is_directory = |path: &Path| found(path) == Found::Directory;
    let replaced: &[&str] = match mode {
        Mode::Noop => REPLACED_IN_NOOP,
        Mode::Live => &["/proc", "/sys", "/dev", "/run"],
    };
    let mut steps = Vec::new();
    let mut notes = Vec::new();
    let mut copies = Vec::new();
    // What lies below these is not there inside, so nothing can be mounted on it.
    let mut left_out: Vec<&Path> = vec![&dirs.scratch];
    left_out.extend(replaced.iter().map(Path::new));
    let overlay = |at: &Path, mount: Option<&Mount>, number: usize| {
        let dir = dirs.scratch.join("layers").join(number.to_string());
        let options = mount.map(Mount::restrictions).unwrap_or_default();
        Step::Overlay(Layer { options, ..Layer::seen(at.to_owned(), dir) })
    };
    let root = Path::new("/");
    let root_mount = mounts.iter().find(|mount| mount.point == root);
    steps.push(overlay(root, root_mount, 0));
    // Live file systems as the sandbox shows them.
    let mut shown: Vec<&Mount> = root_mount.into_iter().collect();

    let mut below: Vec<&Mount> = mounts.iter().filter(|mount| mount.point != root).collect();
    below.sort_by_key(|mount| depth(&mount.point));
    for mount in below {
        if left_out.iter().any(|tree| mount.point.starts_with(tree)) {
            continue;
        }
        let at = mount.point.clone();
        let (number, what) = (steps.len(), found(&at));
        let kernel_view = KERNEL_VIEWS.contains(&mount.kind.as_str());
        let never_lower = NEVER_LOWER.contains(&mount.kind.as_str());
        if what == Found::Directory && !kernel_view && !never_lower {
            shown.push(mount);
            if shares(mount, &shown, mounts).is_some() {
                continue;
            }
        }
        steps.push(match (mode, what) {
            (Mode::Live, _) if kernel_view => Step::BindTree { at },
            (Mode::Noop, Found::Directory) if kernel_view => {
                left_out.push(&mount.point);
                Step::Hide { at }
            }
            (_, Found::Stacked) => {
                notes.push(format!(
                    "{} is an overlay over another one, and a kernel puts no third one over them: it is empty during the run",
                    at.display()
                ));
                left_out.push(&mount.point);
                Step::Hide { at }
            }
            // A namespace that something keeps alive by a file, a socket that was handed to a container: what is below
            // the mount is seen instead, and that leads nowhere.
            (Mode::Noop, _) if kernel_view => continue,
            (Mode::Noop, Found::Special) => continue,
            (Mode::Live, Found::Special) => Step::BindTree { at },
            (_, Found::Directory) if never_lower => {
                if !mount.read_only {
                    notes.push(format!(
                        "{} is of type {} and cannot be the lower layer of an overlay: it is read-only during the run",
                        at.display(),
                        mount.kind
                    ));
                }
                Step::BindReadOnly { from: at.clone(), at }
            }
            (_, Found::Directory) if !mount.read_only => overlay(&at, Some(mount), number),
            (Mode::Noop, Found::Directory) => Step::OverlayReadOnly { at, options: mount.restrictions() },
            (Mode::Live, Found::Directory) => Step::BindReadOnly { from: at.clone(), at },
            (_, Found::File(size)) if !mount.read_only && size <= LARGEST_COPY => {
                copies.push(at);
                continue;
            }
            (_, Found::File(_)) => {
                if !mount.read_only {
                    notes.push(format!(
                        "{} is a single file that is mounted by itself, and longer than {} MiB: it is read-only during \
                         the run",
                        at.display(),
                        LARGEST_COPY >> 20
                    ));
                }
                Step::BindReadOnly { from: at.clone(), at }
            }
        });
    }

    steps.extend(same_files(&shown, mounts, &left_out));
    match mode {
        Mode::Noop => steps.extend([Step::Proc, Step::Sys, Step::Dev]),
        Mode::Live => steps.extend(
            replaced.iter().map(PathBuf::from).filter(|at| is_directory(at)).map(|at| Step::BindTree { at }),
        ),
    }
    let [parameters, runtime] = [PARAMETERS_DIR, RUNTIME_DIR].map(|directory| dirs.real_of(directory));
    steps.push(Step::BindReadOnly { from: dirs.parameters.clone(), at: parameters.clone() });
    steps.push(Step::Runtime { at: runtime.clone(), real: real.to_vec() });
    // With those of other sandboxes.
    let scratch = dirs.scratch.parent().unwrap_or(&dirs.scratch);
    steps.push(Step::Hide { at: scratch.to_owned() });

    let mut plan = MountPlan { steps, notes };
    plan.steps.extend(plan.other_places_of(scratch).into_iter().map(|at| Step::Hide { at }));
    for needed in [parameters, runtime] {
        if !is_directory(&needed) {
            plan.add(&needed, Extra::Directory);
        }
    }
    for copy in &copies {
        plan.add(copy, Extra::File);
    }
    for shadow in shadows {
        plan.add(shadow, Extra::Shadow);
    }
    for command in ORIGINAL_COMMANDS {
        plan.add(&dirs.real_of(COMMANDS_DIR).join(command), Extra::Command);
    }
    plan
}

/// Where a mount shows the files at the root of another one, too: nothing else is mounted on the way to them, nor below.
fn place_in(mount: &Mount, other: &Mount, mounts: &[Mount]) -> Option<PathBuf> {
    if mount.device != other.device {
        return None;
    }
    let below = other.root.strip_prefix(&mount.root).ok()?;
    let place = join(&mount.point, below);
    let is_in_the_way = |third: &Mount| {
        third.point != mount.point
            && third.point.starts_with(&mount.point)
            && (place.starts_with(&third.point) || third.point.starts_with(&place))
    };
    (place != other.point && !mounts.iter().any(is_in_the_way)).then_some(place)
}

/// Which path of the sandbox a mount gets its files from that another overlay holds: one before with the same root, or for
/// a mount that is read-only, one that holds them among others.
fn shares(mount: &Mount, shown: &[&Mount], mounts: &[Mount]) -> Option<PathBuf> {
    let place = |other: &Mount| match other.root == mount.root {
        true => place_in(mount, other, mounts).map(|_| other.point.clone()),
        false if mount.read_only => place_in(other, mount, mounts),
        false => None,
    };
    let others = shown.iter().filter(|other| other.device == mount.device && other.point != mount.point);
    let places = others
        .filter(|other| !other.read_only && mount.root.starts_with(&other.root))
        .filter_map(|other| Some((depth(&other.root), place(other)?)));
    // Of several with the same root, the first: the others have their files from it, too.
    places.rev().max_by_key(|(depth, _)| *depth).map(|(_, place)| place)
}

/// What has to be bound once more, after all overlays: on the host a file system is there at several places, and what is
/// written at one of them is seen at the others. Changes are told by the place where it is mounted by itself.
fn same_files(shown: &[&Mount], mounts: &[Mount], left_out: &[&Path]) -> Vec<Step> {
    let step = |from: PathBuf, at: PathBuf, mount: &Mount| Step::SameFiles {
        from,
        at,
        read_only: mount.read_only,
        options: mount.restrictions(),
    };
    let mut steps = Vec::new();
    for (number, mount) in shown.iter().enumerate() {
        let from = shares(mount, &shown[..number], mounts);
        steps.extend(from.map(|from| step(from, mount.point.clone(), mount)));
    }
    let has_overlay = |other: &&&Mount| {
        !other.read_only
            && !steps.iter().any(|step| matches!(step, Step::SameFiles { at, .. } if *at == other.point))
    };
    let overlaid: Vec<&&Mount> = shown.iter().filter(has_overlay).collect();
    for mount in shown {
        for other in overlaid.iter().filter(|other| other.root != mount.root) {
            if let Some(place) = place_in(mount, other, mounts)
                && !left_out.iter().any(|tree| place.starts_with(tree))
            {
                steps.push(step(other.point.clone(), place, mount));
            }
        }
    }
    steps
}

fn depth(path: &Path) -> usize {
    path.components().count()
}

/// A path below another one; joining nothing would leave a slash at the end.
fn join(path: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { path.to_owned() } else { path.join(below) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(point: &str, kind: &str, read_only: bool) -> Mount {
        let (device, root, point) = (point.to_owned(), "/".into(), point.into());
        Mount { id: 1, device, root, point, kind: kind.into(), read_only, options: Vec::new() }
    }

    fn plan_of(mode: Mode, mounts: &[Mount]) -> MountPlan {
        let dirs = RunDirs {
            scratch: "/var/x/scratch/1".into(),
            parameters: "/var/x/scratch/1/parameters".into(),
            own: OWN_DIR.into(),
        };
        let shadows = [PathBuf::from("/usr/sbin/service")];
        plan(mode, mounts, &dirs, &shadows, &[], |path| match path.to_str().unwrap() {
            "/etc/resolv.conf" => Found::File(100),
            "/srv/image" => Found::File(LARGEST_COPY + 1),
            "/srv/stacked" => Found::Stacked,
            "/run/docker.sock" | PARAMETERS_DIR | RUNTIME_DIR => Found::Special,
            _ => Found::Directory,
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
        assert!(plan.steps.contains(&Step::OverlayReadOnly { at: "/snap".into(), options: Vec::new() }));
        assert!(plan.notes.is_empty());
    }

    #[test]
    fn files_that_are_at_several_places_are_one_in_the_sandbox_too() {
        let bound = |root: &str, point: &str| Mount {
            device: "/".into(),
            root: root.into(),
            ..mount(point, "ext4", point == "/mnt/ro")
        };
        let mounts = [
            mount("/", "ext4", false),
            bound("/srv/var", "/var"),
            bound("/srv/data", "/mnt/ro"),
            Mount { root: "/srv/var".into(), ..mount("/mnt/namesake", "ext4", false) },
            bound("/srv/var", "/mnt/var"),
            bound("/srv/var", "/mnt/var-too"),
            bound("/srv/var/lib", "/mnt/lib"),
            mount("/srv/covered", "xfs", false),
            bound("/srv/covered/a", "/mnt/a"),
            bound("/srv/above", "/mnt/above"),
            mount("/srv/above/other", "xfs", false),
            mount("/mnt/covered", "xfs", false),
        ];
        let plan = plan_of(Mode::Noop, &mounts);
        assert_eq!(
            overlays(&plan),
            [
                "/",
                "/var",
                "/mnt/namesake",
                "/mnt/lib",
                "/srv/covered",
                "/mnt/a",
                "/mnt/above",
                "/mnt/covered",
                "/srv/above/other"
            ]
        );
        let same = plan.steps.iter().filter_map(|step| match step {
            Step::SameFiles { from, at, read_only, .. } => Some((from.to_str()?, at.to_str()?, *read_only)),
            _ => None,
        });
        // What lies below another mount, or has one below it, is not at several places.
        assert_eq!(
            same.collect::<Vec<_>>(),
            [
                ("/srv/data", "/mnt/ro", true),
                ("/var", "/mnt/var", false),
                ("/var", "/mnt/var-too", false),
                ("/var", "/srv/var", false),
                ("/mnt/lib", "/srv/var/lib", false),
                ("/mnt/lib", "/var/lib", false),
                ("/mnt/lib", "/mnt/var/lib", false),
                ("/mnt/lib", "/mnt/var-too/lib", false),
            ]
        );
        let var = plan.layers().nth(1).unwrap();
        assert!(var.extras.contains(&Extra::Directory("disco/run".into())), "{var:?}");
        for at in ["/var/x/scratch", "/srv/var/x/scratch", "/mnt/var/x/scratch", "/mnt/var-too/x/scratch"] {
            assert!(plan.steps.contains(&Step::Hide { at: at.into() }), "{at}");
        }
    }

    #[test]
    fn what_cannot_be_a_lower_layer_is_read_only_and_said_so() {
        let plan =
            plan_of(Mode::Noop, &[mount("/boot/efi", "vfat", false), mount("/srv/image", "ext4", false)]);
        assert_eq!(
            plan.notes,
            [
                "/boot/efi is of type vfat and cannot be the lower layer of an overlay: it is read-only during the run",
                "/srv/image is a single file that is mounted by itself, and longer than 4 MiB: it is read-only during \
                 the run",
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
            !plan
                .steps
                .iter()
                .any(|step| matches!(step, Step::BindReadOnly { at, .. } if at.starts_with("/etc")))
        );
    }

    #[test]
    fn a_file_that_is_mounted_by_itself_is_copied_and_a_socket_is_left_out_of_a_noop() {
        let mounts = [mount("/etc/resolv.conf", "ext4", false), mount("/run/docker.sock", "tmpfs", false)];
        let noop = plan_of(Mode::Noop, &mounts);
        assert!(noop.layers().next().unwrap().extras.contains(&Extra::File("etc/resolv.conf".into())));
        assert!(!format!("{:?}", noop.steps).contains("docker.sock"), "{noop:?}");
        assert!(noop.notes.is_empty());
        let live = plan_of(Mode::Live, &[mount("/srv/docker.sock", "tmpfs", false)]);
        assert_eq!(overlays(&live), ["/", "/srv/docker.sock"]);
    }

    #[test]
    fn what_is_stacked_as_deep_as_a_kernel_does_it_is_hidden_and_said() {
        let mounts = [mount("/srv/stacked", "overlay", false), mount("/srv/stacked/below", "tmpfs", false)];
        for mode in [Mode::Noop, Mode::Live] {
            let plan = plan_of(mode, &mounts);
            assert!(plan.steps.contains(&Step::Hide { at: "/srv/stacked".into() }), "{plan:?}");
            assert_eq!(overlays(&plan), ["/"]);
            assert!(plan.notes[0].starts_with("/srv/stacked is an overlay over another one"), "{plan:?}");
        }
    }

    #[test]
    fn nothing_is_mounted_below_what_is_hidden() {
        let mounts = [mount("/srv/debug", "debugfs", false), mount("/srv/debug/tracing", "tracefs", false)];
        let plan = plan_of(Mode::Noop, &mounts);
        assert!(plan.steps.contains(&Step::Hide { at: "/srv/debug".into() }));
        assert!(!plan.steps.contains(&Step::Hide { at: "/srv/debug/tracing".into() }));
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
        let directories = ["disco/parameters", "disco/run"].map(|path| Extra::Directory(path.into()));
        assert_eq!(extras[2][..2], directories);
        assert!(extras[2].contains(&Extra::Command("disco/bin/disco-param".into())));
    }

    #[test]
    fn the_scratch_is_hidden_last_and_its_own_mounts_are_left_alone() {
        let plan = plan_of(Mode::Noop, &[mount("/var/x/scratch/1", "tmpfs", false)]);
        assert_eq!(overlays(&plan), ["/"]);
        assert_eq!(plan.steps.last(), Some(&Step::Hide { at: "/var/x/scratch".into() }));
    }
}
