//! Runs a command of a node under ptrace(2) and kills it right after one of the system calls that change files.
//!
//! A shell stops itself in its place; once it is taken hold of, it goes on and becomes the command.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use testbed::node::Node;

/// The system calls that change a file or a directory; and openat(2), where it makes or empties one.
const CHANGING: &[libc::c_long] = &[
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_rmdir,
    libc::SYS_mknod,
    libc::SYS_mknodat,
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_ftruncate,
    libc::SYS_fchmod,
    libc::SYS_chmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_utimensat,
    libc::SYS_ioctl,
];

fn changes(call: libc::c_long, flags: u64) -> bool {
    let creates = call == libc::SYS_openat && flags as i32 & (libc::O_CREAT | libc::O_TRUNC) != 0;
    creates || CHANGING.contains(&call)
}

/// How a traced command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It was killed after as many calls as were asked for.
    Killed,
    /// It ended with this code, after this many calls.
    Itself { code: i32, calls: usize },
}

/// Runs a command of the node and kills it right after its call number `after`, counted from 1 and from the moment on
/// at which `from` is there.
pub(crate) fn run(node: &Node, argv: &[&str], from: &Path, after: Option<usize>) -> Result<End> {
    let (mut calls, mut begun, mut entered) = (0, false, false);
    let code = follow(node, argv, &mut |_, registers, is_entry| {
        if is_entry {
            // The flags of openat(2) are its third argument.
            entered = changes(registers.orig_rax as libc::c_long, registers.rdx);
        } else if entered {
            begun = begun || from.symlink_metadata().is_ok();
            calls += usize::from(begun);
        }
        Ok(!is_entry && entered && begun && Some(calls) == after)
    })?;
    Ok(code.map_or(End::Killed, |code| End::Itself { code, calls }))
}

/// Runs a command of the node and calls `look` before and after each of its system calls, until that wants it to be
/// killed. Returns its exit code; none if it was killed.
pub(crate) fn follow(node: &Node, argv: &[&str], look: Look<'_>) -> Result<Option<i32>> {
    node.inside(|| {
        let mut command = Command::new("sh");
        command.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).args(argv).env_clear().current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("cannot start the command")?;
        trace(Pid::from_raw(child.id().try_into()?), look)
    })
}

/// Gets the process, its registers, and whether the call is about to begin; tells whether to kill it.
pub(crate) type Look<'a> = &'a mut (dyn FnMut(Pid, &libc::user_regs_struct, bool) -> Result<bool> + Send);

fn trace(pid: Pid, look: Look<'_>) -> Result<Option<i32>> {
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED))?;
    ensure!(matches!(stopped, WaitStatus::Stopped(_, Signal::SIGSTOP)), "the shell: {stopped:?}");
    ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL)?;
    kill(pid, Signal::SIGCONT)?;
    let mut is_entry = true;
    loop {
        let mut pass_on = None;
        match waitpid(pid, None)? {
            WaitStatus::Exited(_, code) => return Ok(Some(code)),
            WaitStatus::PtraceSyscall(_) => {
                if look(pid, &ptrace::getregs(pid)?, is_entry)? {
                    kill(pid, Signal::SIGKILL)?;
                    waitpid(pid, None)?;
                    return Ok(None);
                }
                is_entry = !is_entry;
            }
            // Taking hold of it, and its own stops.
            WaitStatus::PtraceEvent(..) => {}
            WaitStatus::Stopped(_, signal) => pass_on = Some(signal),
            other => bail!("the traced command: {other:?}"),
        }
        ptrace::syscall(pid, pass_on)?;
    }
}
