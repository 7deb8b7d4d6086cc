//! Brings parameters and modules here with rsync: argument vectors, time-outs, several at a time.
//!
//! rsync's errors go to a file beside the module, so that no process waits for a reader and the output keeps its order
//! whatever finishes first.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::disco::module::ModuleName;
use crate::disco::params::NodeName;
use crate::disco::report::Usage;
use crate::disco::sandbox::wait_for;

/// How many rsyncs run at once.
const PARALLEL: usize = 8;

/// How long a server may stay silent, in seconds, before rsync gives up.
const SILENCE: u32 = 30;

/// How long connecting to an rsync daemon may take, in seconds.
const CONNECT: u32 = 10;

/// The parts of a module, as they lie on the server; a module without one of them is told about it.
const PARTS: &[&str] = &["requires", "scripts", "parameters", "templates", "files"];

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nothing says where the universe is.
    #[error("no universe: neither the brand nor the node says where it is")]
    NoServer,
    /// The address of the universe cannot be understood.
    #[error(
        "`{0}` is no universe: write user@host (rsync modules over ssh), rsync://host[:port] or an absolute directory"
    )]
    Server(String),
    /// The rsync command cannot be understood.
    #[error("`{0}` is no rsync command: its quotes do not match, or it is empty")]
    Command(String),
    /// rsync did not start; usually it is not installed.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// The system's word.
        source: io::Error,
    },
    /// rsync ran and failed; only its own lines know why.
    #[error("cannot fetch {what} from {from}: rsync ended with code {exit}{}", quoted(lines))]
    Rsync {
        /// `module testmodule-1.0`, or `the parameters of node1`.
        what: String,
        /// Where from.
        from: String,
        /// Its exit code; rsync(1) lists them.
        exit: i32,
        /// What it said.
        lines: Vec<String>,
    },
    /// A directory or file on this side.
    #[error("cannot {action} {}", path.display())]
    Files {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

fn quoted(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  {line}")).collect()
}

/// The universe: where it is, and the command that reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Universe {
    address: Address,
    command: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    /// `rsync://host[:port]`, without a slash at its end.
    Daemon(String),
    /// `user@host`, whose rsync modules are reached through the command's remote shell.
    Shell(String),
    /// A directory of this machine.
    Directory(PathBuf),
}

/// One fetched module, or the parameters.
#[derive(Debug)]
pub struct Fetched {
    /// The module; none for the parameters.
    pub module: Option<ModuleName>,
    /// When the fetch began.
    pub began: Instant,
    /// What it took.
    pub usage: Usage,
    /// The parts that the server does not have, in the wording of rsync; not a failure.
    pub absent: Vec<String>,
}

impl Universe {
    /// Understands an address and a command in shell words.
    pub fn new(server: &str, command: &str) -> Result<Self, FetchError> {
        if server.is_empty() {
            return Err(FetchError::NoServer);
        }
        let refused = || FetchError::Server(server.to_owned());
        let plain =
            |text: &str| !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control());
        let address = if let Some(rest) = server.strip_prefix("rsync://") {
            let host = rest.trim_end_matches('/');
            if !plain(host) || host.contains('/') {
                return Err(refused());
            }
            Address::Daemon(format!("rsync://{host}"))
        } else if server.starts_with('/') {
            Address::Directory(PathBuf::from(server))
        } else if plain(server) && !server.starts_with('-') && !server.contains(['/', ':']) {
            Address::Shell(server.to_owned())
        } else {
            return Err(refused());
        };
        let words = shell_words::split(command).unwrap_or_default();
        if words.is_empty() {
            return Err(FetchError::Command(command.to_owned()));
        }
        Ok(Universe { address, command: words })
    }

    /// The source argument of an rsync module's directory, with a slash at its end.
    fn source(&self, module: &str, directory: &str) -> String {
        let below = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        match &self.address {
            Address::Daemon(url) => format!("{url}/{module}/{below}"),
            Address::Shell(host) => format!("{host}::{module}/{below}"),
            Address::Directory(root) => format!("{}/{module}/{below}", root.display()),
        }
    }

    fn command(&self, source: &str, target: &Path, filters: &[String], errors: File) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        // Nothing but files, directories and links is wanted of a universe; a vanished file vanishes here too.
        command.args(["--no-D", "--delete"]).arg(format!("--timeout={SILENCE}"));
        if matches!(self.address, Address::Daemon(_)) {
            command.arg(format!("--contimeout={CONNECT}"));
        }
        command.args(filters).arg("--").arg(source).arg(target);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        command
    }

    /// Fetches the parameters of a node.
    pub fn fetch_parameters(&self, vardir: &Path, node: &NodeName) -> Result<Fetched, FetchError> {
        let job = Job {
            what: format!("the parameters of {}", node.as_str()),
            source: self.source("parameters", node.as_str()),
            target: vardir.join("parameters").join(node.as_str()),
            filters: Vec::new(),
        };
        let (began, usage) = self.run(vardir, std::slice::from_ref(&job))?.remove(0);
        Ok(Fetched { module: None, began, usage, absent: Vec::new() })
    }

    /// Fetches modules, several at a time; the answers come in the order of the names.
    ///
    /// # Errors
    /// The first one in that order that could not be fetched; the others are complete or as they were.
    pub fn fetch_modules(&self, vardir: &Path, names: &[ModuleName]) -> Result<Vec<Fetched>, FetchError> {
        let filters: Vec<String> = PARTS
            .iter()
            .flat_map(|part| [format!("--include=/{part}"), format!("--include=/{part}/***")])
            .chain(["--exclude=*".to_owned()])
            .collect();
        let jobs: Vec<Job> = names
            .iter()
            .map(|name| Job {
                what: format!("module {name}"),
                source: self.source(name.as_str(), ""),
                target: directory_of(vardir, name),
                filters: filters.clone(),
            })
            .collect();
        let ran = self.run(vardir, &jobs)?;
        Ok(names
            .iter()
            .zip(ran)
            .map(|(name, (began, usage))| Fetched {
                module: Some(name.clone()),
                began,
                usage,
                absent: absent_parts(vardir, name),
            })
            .collect())
    }

    /// Runs the jobs, at most [`PARALLEL`] at a time, and returns their beginnings and figures in order.
    fn run(&self, vardir: &Path, jobs: &[Job]) -> Result<Vec<(Instant, Usage)>, FetchError> {
        let mut usages = Vec::with_capacity(jobs.len());
        for batch in jobs.chunks(PARALLEL) {
            let mut running = Vec::with_capacity(batch.len());
            for job in batch {
                running.push(Running::start(self, vardir, job)?);
            }
            for one in running {
                usages.push((one.started, one.finish()?));
            }
        }
        Ok(usages)
    }
}

/// Where a module is kept on this side.
pub fn directory_of(vardir: &Path, name: &ModuleName) -> PathBuf {
    vardir.join("localstore").join(name.as_str())
}

/// The original told of every part that a module does not have, in rsync's words, and went on.
fn absent_parts(vardir: &Path, name: &ModuleName) -> Vec<String> {
    let directory = directory_of(vardir, name);
    PARTS
        .iter()
        .filter(|part| directory.join(part).symlink_metadata().is_err())
        .map(|part| {
            let path = if *part == "files" { "files/*" } else { part };
            format!("rsync: link_stat \"/{path}\" (in {name}) failed: No such file or directory (2)")
        })
        .collect()
}

struct Job {
    what: String,
    source: String,
    target: PathBuf,
    filters: Vec<String>,
}

/// A running rsync; ended and waited for when dropped, so that an error of one leaves none of the others behind.
struct Running<'a> {
    job: &'a Job,
    child: Option<Child>,
    errors: PathBuf,
    started: Instant,
}

impl<'a> Running<'a> {
    fn start(universe: &Universe, vardir: &Path, job: &'a Job) -> Result<Self, FetchError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| FetchError::Files { action, path, source }
        };
        fs::create_dir_all(&job.target).map_err(failed("make", &job.target))?;
        let directory = vardir.join("scratch");
        fs::create_dir_all(&directory).map_err(failed("make", &directory))?;
        let name = job.target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let errors = directory.join(format!("fetch-{}-{name}.err", std::process::id()));
        let file = File::create(&errors).map_err(failed("make", &errors))?;
        let started = Instant::now();
        let child = universe
            .command(&job.source, &job.target, &job.filters, file)
            .spawn()
            .map_err(|source| FetchError::Start { program: universe.command[0].clone(), source })?;
        Ok(Running { job, child: Some(child), errors, started })
    }

    fn finish(mut self) -> Result<Usage, FetchError> {
        let usage = self.child.take().map(|child| wait_for(child, self.started));
        let usage = usage.unwrap_or_else(|| Ok(Usage::default())).map_err(|source| FetchError::Files {
            action: "wait for the rsync of",
            path: self.job.target.clone(),
            source,
        })?;
        let said = fs::read(&self.errors).unwrap_or_default();
        if usage.exit == 0 {
            return Ok(usage);
        }
        let lines =
            String::from_utf8_lossy(&said).lines().map(|line| line.escape_debug().to_string()).collect();
        Err(FetchError::Rsync {
            what: self.job.what.clone(),
            from: self.job.source.clone(),
            exit: usage.exit,
            lines,
        })
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_file(&self.errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_universe_gives_its_own_source_argument() {
        for (server, source) in [
            ("rsync://u.example:8730/", "rsync://u.example:8730/parameters/n1/"),
            ("disco@u.example", "disco@u.example::parameters/n1/"),
            ("/srv/universe", "/srv/universe/parameters/n1/"),
        ] {
            assert_eq!(Universe::new(server, "rsync -aWH").unwrap().source("parameters", "n1"), source);
        }
    }

    #[test]
    fn addresses_and_commands_that_mean_something_else_are_refused() {
        for server in ["rsync://", "rsync://a/b", "-oProxyCommand=x", "a b", "host:path", "relative/dir"] {
            assert!(matches!(Universe::new(server, "rsync"), Err(FetchError::Server(_))), "{server}");
        }
        assert!(matches!(Universe::new("", "rsync"), Err(FetchError::NoServer)));
        for command in ["", "rsync -e \"ssh"] {
            assert!(matches!(Universe::new("/x", command), Err(FetchError::Command(_))), "{command}");
        }
    }

    #[test]
    fn a_command_is_split_like_a_shell_would() {
        let universe = Universe::new("/x", "rsync -aWH -e \"ssh -i /k\"").unwrap();
        assert_eq!(universe.command, ["rsync", "-aWH", "-e", "ssh -i /k"]);
    }
}
