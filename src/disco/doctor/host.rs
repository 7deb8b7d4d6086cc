//! What the host brings: the mounts, the state directory, the programs that the client calls, its configuration.

use std::fs;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::disco::Mode;
use crate::disco::changes::noise::Noise;
use crate::disco::commands::Commands;
use crate::disco::doctor::{Finding, Patient};
use crate::disco::ending;
use crate::disco::sandbox::explain::explain;
use crate::disco::sandbox::probe;
use crate::disco::settings::Settings;
use crate::disco::universe::fetch::{Limits, Universe};

/// How long an rsync daemon may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// The port of rsync daemons.
const RSYNC_PORT: u16 = 873;

/// Free space below which a dance is likely to fail, and below which it may.
const LITTLE_SPACE: (u64, u64) = (16 << 20, 256 << 20);

pub(super) fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = mounts(&patient.vardir);
    findings.extend(state(&patient.vardir));
    findings.extend(interrupted(&patient.vardir));
    findings.push(program("bash", "bash", &["--version"], "templates and scripts run in it"));
    match &patient.settings {
        Ok(settings) => findings.extend(universe(settings)),
        Err(why) => findings.push(Finding::failed("settings", why, "correct it where it comes from")),
    }
    findings.extend(lists(&patient.etcdir));
    findings.push(clock(patient.built));
    findings
}

/// How every mount will be covered.
fn mounts(vardir: &Path) -> Vec<Finding> {
    match explain(Mode::Noop, vardir, &Commands::default()) {
        Ok((covers, notes)) => {
            let covers = covers
                .into_iter()
                .map(|cover| Finding::ok("mount", format!("{}: {}", cover.at.display(), cover.what)));
            let notes = notes.into_iter().map(|note| {
                Finding::warning(
                    "mount",
                    note,
                    "what lies there cannot be changed by a dance as it is mounted now",
                )
            });
            covers.chain(notes).collect()
        }
        Err(error) => vec![Finding::failed("mount", with_causes(&error), "mount /proc")],
    }
}

/// What a live run that died has left to do.
fn interrupted(vardir: &Path) -> Option<Finding> {
    let about = "interrupted run";
    let run = match ending::unfinished(vardir) {
        Ok(run) => run?,
        Err(error) => {
            let cure = "see what damaged it; what lies in journal/pending is all that is known of that run";
            return Some(Finding::failed(about, with_causes(&error), cure));
        }
    };
    let commands: Vec<String> = run.pending().map(|deferred| deferred.line()).collect();
    if !run.merged || commands.is_empty() {
        let cure = "nothing: the next run keeps its report";
        return Some(Finding::warning(
            about,
            format!("run {} died before its report was kept", run.id),
            cure,
        ));
    }
    let found = format!("run {} died before it executed: {}", run.id, commands.join("; "));
    Some(Finding::warning(about, found, "a live run executes it; `rollback` undoes that run and drops it"))
}

fn state(vardir: &Path) -> Vec<Finding> {
    let about = "state directory";
    let shown = vardir.display();
    let found = match fs::metadata(vardir) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return vec![Finding::ok(about, format!("{shown} is not there yet; the first dance makes it"))];
        }
        Err(error) => {
            return vec![Finding::failed(about, format!("{shown}: {error}"), "see its permissions")];
        }
    };
    if !found.is_dir() {
        let cure = format!("move it away: mv {shown} {shown}.old");
        return vec![Finding::failed(about, format!("{shown} is no directory"), cure)];
    }
    let mut findings = vec![match found.permissions().mode() & 0o022 {
        0 => Finding::ok(about, format!("{shown}")),
        _ => Finding::failed(
            about,
            format!("others than root may write in {shown}, and with it decide what is merged"),
            format!("chmod go-w {shown}, then look at what lies there"),
        ),
    }];
    findings.push(match probe::can_hold_uppers(vardir) {
        Ok(true) => Finding::ok("layers", format!("{shown} can hold them")),
        Ok(false) => Finding::warning(
            "layers",
            format!("the file system of {shown} cannot hold them, so every change is kept in memory during a dance"),
            format!("mount a file system like ext4, xfs or tmpfs at {shown}"),
        ),
        Err(error) => Finding::failed("layers", format!("{shown}: {error}"), "see what is mounted there"),
    });
    if let Ok(space) = rustix::fs::statvfs(vardir) {
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        let text = format!("{} MiB free in {shown}", free >> 20);
        let cure = format!("make room on the file system of {shown}");
        findings.push(match free {
            _ if space.f_files > 0 && space.f_favail == 0 => {
                Finding::failed("space", format!("{text}, but no inode"), cure)
            }
            free if free < LITTLE_SPACE.0 => Finding::failed("space", text, cure),
            free if free < LITTLE_SPACE.1 => Finding::warning("space", text, cure),
            _ => Finding::ok("space", text),
        });
    }
    findings
}

/// Whether a program that the client calls is there, and which version.
fn program(about: &'static str, name: &str, version: &[&str], why: &str) -> Finding {
    let output = Command::new(name).args(version).stdin(Stdio::null()).output();
    match output {
        Ok(output) => {
            // ssh tells its version as a complaint.
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let line: String = said.lines().next().unwrap_or_default().escape_default().collect();
            Finding::ok(about, format!("{name}: {line}"))
        }
        Err(error) => Finding::failed(
            about,
            format!("cannot start {name}: {error}; {why}"),
            format!("install {name} with the system's package manager"),
        ),
    }
}

/// Where the universe is, and whether the programs that reach it are there.
fn universe(settings: &Settings) -> Vec<Finding> {
    let (server, rsync) = (&settings.server, &settings.rsync);
    if let Err(error) = Universe::new(&server.value, &rsync.value, Limits::of(settings)) {
        let cure = format!(
            "set plugin.disco.server.uri or plugin.disco.client.rsync in server.conf; now they come from {} and {}",
            server.origin, rsync.origin
        );
        return vec![Finding::failed("universe", error.to_string(), cure)];
    }
    let words = shell_words::split(&rsync.value).unwrap_or_default();
    let command = words.first().map_or("rsync", String::as_str);
    let mut findings = vec![program("rsync", command, &["--version"], "it fetches the universe")];
    let (value, origin) = (&server.value, &server.origin);
    if let Some(host) = value.strip_prefix("rsync://") {
        let host = host.trim_end_matches('/');
        findings.push(match answers(host) {
            Ok(()) => Finding::ok("universe", format!("{value} answers (from {origin})")),
            Err(error) => Finding::failed(
                "universe",
                format!("{value} does not answer within {} s: {error}", ANSWER.as_secs()),
                format!("see that its rsync daemon runs and can be reached; the address comes from {origin}"),
            ),
        });
    } else if value.starts_with('/') {
        findings.push(match Path::new(value).join("parameters").is_dir() {
            true => Finding::ok("universe", format!("{value} is there (from {origin})")),
            false => Finding::failed(
                "universe",
                format!("{value} holds no directory `parameters`"),
                format!("see that it is mounted; the address comes from {origin}"),
            ),
        });
    } else {
        findings.push(program("ssh", "ssh", &["-V"], "it reaches the universe"));
        findings.push(Finding::ok("universe", format!("{value} over ssh (from {origin}); not tried here")));
    }
    findings
}

fn answers(host: &str) -> std::io::Result<()> {
    // A port follows the last colon, unless that one is inside the brackets of an IPv6 address.
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { host.to_owned() } else { format!("{host}:{RSYNC_PORT}") };
    let mut last = std::io::Error::other("its name leads to no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, ANSWER) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The lists of the configuration.
fn lists(etcdir: &Path) -> [Finding; 2] {
    let commands = etcdir.join("commands.d");
    let noise = etcdir.join("noise.d");
    let cure = "correct the file, or remove it: without any, the built-in list is used";
    [
        match Commands::read(&commands) {
            Ok(commands) => Finding::ok(
                "commands.d",
                format!("{} commands are held back in a noop", commands.watched_paths(Mode::Noop).len()),
            ),
            Err(error) => Finding::failed("commands.d", with_causes(&error), cure),
        },
        match Noise::read(&noise) {
            Ok(_) => Finding::ok("noise.d", "is understood"),
            Err(error) => Finding::failed("noise.d", with_causes(&error), cure),
        },
    ]
}

/// A clock that is behind the binary's own sources is wrong.
fn clock(built: &str) -> Finding {
    let now = jiff::Timestamp::now();
    match built.parse::<jiff::Timestamp>() {
        Ok(built) if now < built => Finding::warning(
            "clock",
            format!("it says {now:.0}, and this binary is of {built:.0}"),
            "set it; certificates and the order of reports depend on it",
        ),
        _ => Finding::ok("clock", format!("it says {now:.0}")),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    crate::disco::dance::with_causes(error)
}
