//! The mount plan in words, for a person who asks what a run would see.

use std::path::{Path, PathBuf};

use crate::disco::Mode;
use crate::disco::commands::Commands;
use crate::disco::sandbox::plan::{RunDirs, Step};
use crate::disco::sandbox::{Furniture, SandboxError, plan_for};

/// What a sandbox does with one path of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cover {
    /// The path.
    pub at: PathBuf,
    /// What is there inside, in words.
    pub what: String,
}

/// The sandbox that a run would have now: what it does with which path, and what it shows less faithfully than one would
/// expect. Nothing is mounted.
///
/// # Errors
/// The mounts of the host cannot be listed.
pub fn explain(
    mode: Mode,
    vardir: &Path,
    commands: &Commands,
) -> Result<(Vec<Cover>, Vec<String>), SandboxError> {
    let scratch = vardir.join("scratch/run");
    let parameters = scratch.join("parameters");
    let dirs = RunDirs::of(scratch, parameters.clone());
    let furniture = Furniture { commands: commands.clone(), ..Furniture::default() };
    let plan = plan_for(mode, &dirs, &furniture)?;
    Ok((plan.steps.iter().map(|step| in_words(step, &parameters)).collect(), plan.notes))
}

fn in_words(step: &Step, parameters: &Path) -> Cover {
    let cover = |at: &Path, what: &str| Cover { at: at.to_owned(), what: what.to_owned() };
    match step {
        Step::Overlay(layer) => cover(&layer.at, "overlaid: the live files below, what the run writes above"),
        Step::BindReadOnly { at, from } if from == parameters => {
            cover(at, "the parameters of this run, read-only")
        }
        Step::OverlayReadOnly { at, .. } => cover(at, "overlaid: the live files, read-only"),
        Step::BindReadOnly { from, at } if from == at => cover(at, "bound: the live files, read-only"),
        Step::BindReadOnly { from, at } => {
            cover(at, &format!("bound: {} in its place, read-only", from.display()))
        }
        Step::SameFiles { from, at, .. } => cover(
            at,
            &format!("bound: what {} is in the sandbox, for both are the same files", from.display()),
        ),
        Step::BindTree { at } => cover(at, "bound: the running system within reach"),
        Step::Hide { at } => cover(at, "hidden: empty inside"),
        Step::Proc => cover(Path::new("/proc"), "fresh: the processes of the run alone, settings read-only"),
        Step::Sys => cover(Path::new("/sys"), "fresh, read-only"),
        Step::Dev => cover(Path::new("/dev"), "fresh: harmless devices alone"),
        Step::Runtime { at, .. } => cover(at, "what watched commands need, read-only"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_of_this_machine_covers_the_root_and_hides_the_scratch() {
        let vardir = tempfile::tempdir().unwrap();
        for mode in [Mode::Noop, Mode::Live] {
            let (covers, _) = explain(mode, vardir.path(), &Commands::default()).unwrap();
            assert_eq!(covers[0].at, Path::new("/"));
            assert!(covers[0].what.starts_with("overlaid"));
            let scratch = covers.iter().find(|cover| cover.at.starts_with(vardir.path())).unwrap();
            assert!(scratch.what.starts_with("hidden"), "{scratch:?}");
            let proc = covers.iter().find(|cover| cover.at == Path::new("/proc")).unwrap();
            assert_eq!(proc.what.starts_with("fresh"), mode == Mode::Noop, "{proc:?}");
        }
    }
}
