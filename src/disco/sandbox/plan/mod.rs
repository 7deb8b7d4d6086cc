//! What the sandbox will look like, as data: computed from the mounts of the host, printed and tested here,
//! executed by `mount.rs` and nowhere else.

mod decide;
mod places;

use std::path::{Path, PathBuf};

use crate::disco::links::real;
use crate::disco::sandbox::restricted::Verdict;

pub(super) use decide::plan;

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

fn depth(path: &Path) -> usize {
    path.components().count()
}

/// A path below another one; joining nothing would leave a slash at the end.
fn join(path: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { path.to_owned() } else { path.join(below) }
}
