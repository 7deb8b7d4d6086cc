//! The second build, in the process that does it: becomes somebody else on another machine, then builds.

use std::fs;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{getegid, geteuid, sethostname};

use crate::build::Until;
use crate::flags;
use crate::matrix;
use crate::project::Project;

/// User and group that the second build sees itself as.
const SOMEBODY: u32 = 4711;

/// Builds the copy as somebody else.
pub(crate) fn run(arguments: &flags::Elsewhere) -> Result<()> {
    become_another()?;
    let until = if arguments.binaries { Until::Binaries } else { Until::Packages };
    let mut project = Project::at(&arguments.project)?;
    project.original = Some(arguments.original.clone());
    matrix::run(&project, &arguments.build, until)
}

/// Another user, group, host and mask for new files. Nothing of it needs a privilege.
fn become_another() -> Result<()> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWUTS).context(
        "cannot become another user: the kernel refuses a user namespace\n  help: see the sysctls \
         kernel.unprivileged_userns_clone and user.max_user_namespaces, or what confines this shell",
    )?;
    for (file, line) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{SOMEBODY} {user} 1")),
        ("gid_map", format!("{SOMEBODY} {group} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), line)
            .with_context(|| format!("cannot become another user: writing {file}"))?;
    }
    sethostname("another-host").context("cannot be another host")?;
    umask(Mode::from_bits_truncate(0o077));
    Ok(())
}
