//! What becomes of every mount of the host.
//!
//! Every writable file system becomes the lower layer of an overlay of its own, because overlayfs does not descend into
//! submounts. What cannot be a lower layer is shown read-only or hidden, and noted.

use std::path::{Path, PathBuf};

use super::places::{same_files, shares};
use super::{
    COMMANDS_DIR, Extra, Found, LARGEST_COPY, Layer, MountPlan, ORIGINAL_COMMANDS, PARAMETERS_DIR,
    REPLACED_IN_NOOP, RUNTIME_DIR, RunDirs, Step, depth,
};
use crate::disco::Mode;
use crate::disco::sandbox::mountinfo::Mount;

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

#[cfg(test)]
mod tests {
    use super::super::OWN_DIR;
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
