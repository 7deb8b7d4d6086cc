//! Brings parameters and modules here with rsync: argument vectors, time-outs, several at a time.
//!
//! rsync's errors go to a file beside the module, so that no process waits for a reader and the output keeps its order
//! whatever finishes first.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::disco::process::{Group, wait_until};
use crate::disco::report::Usage;
use crate::disco::settings::Settings;
use crate::disco::universe::module::ModuleName;
use crate::disco::universe::params::NodeName;

/// How long connecting may take, in seconds.
const CONNECT: u32 = 10;

/// What the client may wait for when it fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many rsyncs run at once.
    pub parallel: u32,
    /// How long a server may stay silent, in seconds, before rsync gives up.
    pub silence: u32,
    /// How long all fetching of a run may take, in seconds: a server that sends a byte now and then is never silent.
    pub deadline: u32,
}

/// The parts of a module, as they lie on the server; a module without one of them is told about it.
pub(crate) const PARTS: &[&str] = &["requires", "scripts", "parameters", "templates", "files"];

impl Limits {
    /// What the settings say.
    pub fn of(settings: &Settings) -> Self {
        Limits {
            parallel: settings.parallel.value.get(),
            silence: settings.timeout.value.get(),
            deadline: settings.deadline.value.get(),
        }
    }
}

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
    #[error("cannot fetch {what} from {from}: rsync ended with code {exit}{}{}", meaning(*exit, lines), quoted(lines))]
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
    /// The time for fetching is over.
    #[error(
        "cannot fetch {what} from {from}: not done after {seconds} s, the most that all fetching may take{}",
        quoted(lines)
    )]
    Deadline {
        /// `module testmodule-1.0`, or `the parameters of node1`.
        what: String,
        /// Where from.
        from: String,
        /// The time for all fetching.
        seconds: u32,
        /// What rsync had said until then.
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

/// What rsync(1) says about those of its exit codes that somebody on the node can do something about.
fn meaning(exit: i32, lines: &[String]) -> &'static str {
    match exit {
        _ if lines.iter().any(|line| line.contains("did not see server greeting")) => {
            ", the connection ended before the server spoke"
        }
        5 => ", the server does not serve it",
        10 => ", the server cannot be reached",
        12 => ", the connection broke or the other end is no rsync",
        30 => ", the server fell silent",
        35 => ", the server did not answer in time",
        255 => ", the remote shell failed",
        _ => "",
    }
}

/// The universe: where it is, and the command that reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Universe {
    address: Address,
    command: Vec<String>,
    limits: Limits,
    /// When all fetching has to be done.
    ends: Instant,
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
    /// Understands an address and a command in shell words. The time for all fetching begins.
    pub fn new(server: &str, command: &str, limits: Limits) -> Result<Self, FetchError> {
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
        let mut words = shell_words::split(command).unwrap_or_default();
        if words.is_empty() {
            return Err(FetchError::Command(command.to_owned()));
        }
        if matches!(address, Address::Shell(_)) {
            words.extend(quiet_shell(&words, limits));
        }
        let ends = Instant::now() + Duration::from_secs(limits.deadline.into());
        Ok(Universe { address, command: words, limits, ends })
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
        // Times count to the nanosecond: what was edited twice within a second is another file.
        command
            .args(["--no-D", "--delete", "--modify-window=-1"])
            .arg(format!("--timeout={}", self.limits.silence));
        if matches!(self.address, Address::Daemon(_)) {
            command.arg(format!("--contimeout={}", CONNECT.min(self.limits.silence)));
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

    /// Runs the jobs, several at a time, and returns their beginnings and figures in order.
    ///
    /// After a failure no other job begins, but those that run may end: whatever fails first by the clock, the error is
    /// the first one by order.
    fn run(&self, vardir: &Path, jobs: &[Job]) -> Result<Vec<(Instant, Usage)>, FetchError> {
        let mut waiting = jobs.iter().enumerate();
        let mut running: Vec<(usize, Running)> = Vec::new();
        let mut done: Vec<Option<Result<(Instant, Usage), FetchError>>> = jobs.iter().map(|_| None).collect();
        let mut failed = false;
        loop {
            while !failed
                && running.len() < self.limits.parallel.max(1) as usize
                && let Some((at, job)) = waiting.next()
            {
                match Running::start(self, vardir, job) {
                    Ok(started) => running.push((at, started)),
                    Err(error) => {
                        failed = true;
                        done[at] = Some(Err(error));
                    }
                }
            }
            let Some((_, first)) = running.first() else { break };
            let sources: Vec<_> = running.iter().map(|(_, one)| one.group.as_fd()).collect();
            let ready = wait_until(&sources, self.ends).map_err(|source| FetchError::Files {
                action: "wait for the rsync of",
                path: first.job.target.clone(),
                source,
            })?;
            if ready.is_empty() {
                return Err(FetchError::Deadline {
                    what: first.job.what.clone(),
                    from: first.job.source.clone(),
                    seconds: self.limits.deadline,
                    lines: first.said(),
                });
            }
            for position in ready.into_iter().rev() {
                let (at, one) = running.remove(position);
                let started = one.group.started();
                let ended = one.finish().map(|usage| (started, usage));
                failed |= ended.is_err();
                done[at] = Some(ended);
            }
        }
        done.into_iter().flatten().collect()
    }
}

/// What has ssh fail where it would wait: for an answer from a person, or from a host that does not speak.
///
/// Nothing for a remote shell of another name, whose options are not ours to know. The last `-e` of an rsync counts, and
/// of the options of ssh the first of a name, so what the command says itself still holds.
fn quiet_shell(words: &[String], limits: Limits) -> Option<String> {
    let shell = remote_shell(words).unwrap_or_else(|| "ssh".to_owned());
    let program = shell.split_whitespace().next()?;
    let connect = CONNECT.min(limits.silence);
    (Path::new(program).file_name()? == "ssh").then(|| {
        format!(
            "--rsh={shell} -o BatchMode=yes -o ConnectTimeout={connect} -o ServerAliveInterval={connect} \
             -o ServerAliveCountMax=2"
        )
    })
}

/// The remote shell of an rsync command line, in any of the ways to write it.
fn remote_shell(words: &[String]) -> Option<String> {
    let mut shell = None;
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        if word == "--rsh" {
            shell = words.next().cloned();
        } else if let Some(value) = word.strip_prefix("--rsh=") {
            shell = Some(value.to_owned());
        } else if let Some((_, value)) =
            word.strip_prefix('-').filter(|letters| !letters.starts_with('-')).and_then(|l| l.split_once('e'))
        {
            shell = if value.is_empty() { words.next().cloned() } else { Some(value.to_owned()) };
        }
    }
    shell
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

/// A running rsync; ended with whatever it started when dropped, so that an error of one leaves none of the others behind.
struct Running<'a> {
    job: &'a Job,
    errors: ErrorFile,
    group: Group,
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
        let errors = ErrorFile(directory.join(format!("fetch-{}-{name}.err", std::process::id())));
        let file = File::create(&errors.0).map_err(failed("make", &errors.0))?;
        let group = Group::start(&mut universe.command(&job.source, &job.target, &job.filters, file))
            .map_err(|source| FetchError::Start { program: universe.command[0].clone(), source })?;
        Ok(Running { job, errors, group })
    }

    /// What rsync has said, for a person to read.
    fn said(&self) -> Vec<String> {
        self.errors.lines()
    }

    fn finish(self) -> Result<Usage, FetchError> {
        let usage = self.group.finish().map_err(|source| FetchError::Files {
            action: "wait for the rsync of",
            path: self.job.target.clone(),
            source,
        })?;
        if usage.exit == 0 {
            return Ok(usage);
        }
        Err(FetchError::Rsync {
            what: self.job.what.clone(),
            from: self.job.source.clone(),
            exit: usage.exit,
            lines: self.errors.lines(),
        })
    }
}

/// Where an rsync writes its errors; gone when dropped.
struct ErrorFile(PathBuf);

impl ErrorFile {
    /// Most lines that are worth a person's time; a server may send any number.
    const LINES: usize = 20;

    fn lines(&self) -> Vec<String> {
        let mut said = Vec::new();
        if let Ok(file) = File::open(&self.0) {
            // What cannot be read is no more than a poorer message.
            let _ = file.take(64 << 10).read_to_end(&mut said);
        }
        let text = String::from_utf8_lossy(&said);
        text.lines().take(Self::LINES).map(|line| line.escape_debug().to_string()).collect()
    }
}

impl Drop for ErrorFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { parallel: 8, silence: 30, deadline: 600 };

    #[test]
    fn ssh_is_told_to_ask_nobody_however_it_is_written() {
        let told = "-o BatchMode=yes -o ConnectTimeout=10";
        for (command, shell) in [
            ("rsync -aWH", "--rsh=ssh "),
            ("rsync -aWHe 'ssh -i /k'", "--rsh=ssh -i /k "),
            ("rsync -e /usr/bin/ssh -a", "--rsh=/usr/bin/ssh "),
            ("rsync -essh", "--rsh=ssh "),
            ("rsync --rsh='ssh -p 2222'", "--rsh=ssh -p 2222 "),
            ("rsync --rsh ssh --delete-before", "--rsh=ssh "),
        ] {
            let universe = Universe::new("disco@u.example", command, LIMITS).unwrap();
            let last = universe.command.last().unwrap();
            assert!(last.starts_with(&format!("{shell}{told}")), "{command}: {last}");
        }
        let other = Universe::new("disco@u.example", "rsync -e rsh", LIMITS).unwrap();
        assert_eq!(other.command, ["rsync", "-e", "rsh"]);
    }

    #[test]
    fn every_kind_of_universe_gives_its_own_source_argument() {
        for (server, source) in [
            ("rsync://u.example:8730/", "rsync://u.example:8730/parameters/n1/"),
            ("disco@u.example", "disco@u.example::parameters/n1/"),
            ("/srv/universe", "/srv/universe/parameters/n1/"),
        ] {
            assert_eq!(
                Universe::new(server, "rsync -aWH", LIMITS).unwrap().source("parameters", "n1"),
                source
            );
        }
    }

    #[test]
    fn addresses_and_commands_that_mean_something_else_are_refused() {
        for server in ["rsync://", "rsync://a/b", "-oProxyCommand=x", "a b", "host:path", "relative/dir"] {
            assert!(matches!(Universe::new(server, "rsync", LIMITS), Err(FetchError::Server(_))), "{server}");
        }
        assert!(matches!(Universe::new("", "rsync", LIMITS), Err(FetchError::NoServer)));
        for command in ["", "rsync -e \"ssh"] {
            assert!(matches!(Universe::new("/x", command, LIMITS), Err(FetchError::Command(_))), "{command}");
        }
    }

    #[test]
    fn a_command_is_split_like_a_shell_would() {
        let universe = Universe::new("/x", "rsync -aWH -e \"ssh -i /k\"", LIMITS).unwrap();
        assert_eq!(universe.command, ["rsync", "-aWH", "-e", "ssh -i /k"]);
    }
}
