//! The lists of commands: what becomes of a call of a command that acts on the running system.
//!
//! ```text
//! ETCDIR/commands.d/*.conf     lines: VERDICT [NAME=VALUE…] COMMAND [WORD…]; packaging/etc/commands.conf explains them
//! ```
//!
//! The lists are read on the host and the calls are judged on the host: what runs inside the sandbox only asks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::disco::Mode;
use crate::disco::links::real;

/// What a binary without files in `commands.d` goes by.
const DEFAULT_LIST: &str = include_str!("../../packaging/etc/commands.conf");

/// Where commands lie, on any distribution, in the order of the PATH of scripts.
const COMMAND_DIRS: &[&str] =
    &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Longest word that the host is asked about.
const LONGEST_WORD: usize = 256;

/// In place of words: a call without arguments, as sudoers(5) writes it.
const NO_ARGUMENTS: &str = "\"\"";

/// What a line says about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It runs in the sandbox.
    Allow,
    /// A noop holds it back.
    Report,
    /// A noop has the host answer; for questions only.
    AskHost,
    /// A noop holds it back; a live run executes it after the merge.
    Defer,
}

/// What is to be done with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The real program runs, inside, with these variables beside its own.
    Run(Vec<(String, String)>),
    /// It is told and not executed.
    Hold,
    /// The real program, at this path of the host, is run on the host and its answer given.
    Ask(PathBuf),
    /// It is executed on the host after the merge.
    Defer,
}

/// One word of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// This very argument.
    Exactly(String),
    /// `*`, or `--name=*`: one argument that begins so.
    Beginning(String),
    /// `...`: any number of arguments of any kind.
    Any,
}

/// One line.
#[derive(Debug, Clone)]
struct Rule {
    verdict: Verdict,
    command: String,
    /// Variables for the program, where it runs.
    environment: Vec<(String, String)>,
    /// What its arguments are like; empty for none.
    pattern: Vec<Word>,
}

/// All lines of all lists, in order.
#[derive(Debug, Clone, Default)]
pub struct Commands {
    rules: Vec<Rule>,
}

/// Why the lists of commands cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CommandListError {
    /// A file or the directory cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A line that means nothing.
    #[error("{}:{line}: `{}` {why}", path.display(), text.escape_debug())]
    Line {
        /// The list.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// The line.
        text: String,
        /// What is wrong with it, and what to write instead.
        why: &'static str,
    },
}

impl Commands {
    /// Reads the `*.conf` files of `commands.d` in the order of their names; without any, the built-in list.
    ///
    /// # Errors
    /// The first file that cannot be read, or line that means nothing.
    pub fn read(commands_d: &Path) -> Result<Self, CommandListError> {
        let read_error = |path: &Path| {
            let path = path.to_owned();
            move |source| CommandListError::Read { path, source }
        };
        let mut lists = Vec::new();
        match fs::read_dir(commands_d) {
            Ok(entries) => {
                for entry in entries {
                    let path = entry.map_err(read_error(commands_d))?.path();
                    if path.extension().is_some_and(|extension| extension == "conf") {
                        lists.push(path);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(read_error(commands_d)(error)),
        }
        if lists.is_empty() {
            return Commands::parse(Path::new("built-in commands"), DEFAULT_LIST);
        }
        lists.sort();
        let mut all = Commands::default();
        for list in lists {
            let text = fs::read_to_string(&list).map_err(read_error(&list))?;
            all.rules.extend(Commands::parse(&list, &text)?.rules);
        }
        Ok(all)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, CommandListError> {
        let mut rules = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            rules.push(parse_rule(line).map_err(|why| CommandListError::Line {
                path: path.into(),
                line: number + 1,
                text: line.into(),
                why,
            })?);
        }
        Ok(Commands { rules })
    }

    /// What the line says that fits a call best: the one with the most words that stand for themselves, then the one with
    /// the most `*`, then the last one. None where no line fits.
    fn rule(&self, argv: &[String]) -> Option<&Rule> {
        let (command, arguments) = argv.split_first()?;
        let fitting = self.rules.iter().filter(|rule| rule.command == *command && rule.fits(arguments));
        // Of equals, the last one.
        fitting.max_by_key(|rule| rule.closeness())
    }

    /// Whether the lists have a call executed after a merge that nobody saw being made: what no line names word for word
    /// must be plain names then.
    pub(crate) fn defer_unseen(&self, argv: &[String]) -> bool {
        self.rule(argv)
            .is_some_and(|rule| rule.verdict == Verdict::Defer && fits(&rule.pattern, &argv[1..], true))
    }

    /// What is to be done with a call from inside; `now` is whether the caller wants it at once.
    pub(crate) fn decide(&self, mode: Mode, argv: &[String], now: bool) -> Decision {
        let Some(rule) = self.rule(argv) else { return Decision::Run(Vec::new()) };
        match (mode, rule.verdict) {
            (_, Verdict::Allow) => Decision::Run(rule.environment.clone()),
            (Mode::Live, Verdict::Defer) if !now => Decision::Defer,
            // A live run reaches the running system anyway.
            (Mode::Live, _) => Decision::Run(Vec::new()),
            (Mode::Noop, Verdict::AskHost) => program(&argv[0]).map_or(Decision::Hold, Decision::Ask),
            (Mode::Noop, Verdict::Report | Verdict::Defer) => Decision::Hold,
        }
    }

    /// Names of the commands of which some calls must not simply run.
    fn watched(&self, mode: Mode) -> Vec<&str> {
        let watched = |rule: &&Rule| match (rule.verdict, mode) {
            (Verdict::Allow, _) => !rule.environment.is_empty(),
            (Verdict::Defer, _) => true,
            (Verdict::Report | Verdict::AskHost, mode) => mode == Mode::Noop,
        };
        let mut names: Vec<&str> =
            self.rules.iter().filter(watched).map(|rule| rule.command.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Paths on this host of the commands of which some calls must not simply run.
    pub(crate) fn watched_paths(&self, mode: Mode) -> Vec<PathBuf> {
        let names = self.watched(mode);
        let mut paths: Vec<PathBuf> = command_dirs()
            .iter()
            .flat_map(|directory| names.iter().map(move |name| directory.join(name)))
            .filter(|path| path.symlink_metadata().is_ok())
            .collect();
        paths.sort();
        paths
    }

    /// Those of them of which other calls do run, by name, with the path of the real program.
    pub(crate) fn real_programs(&self, mode: Mode) -> Vec<(String, PathBuf)> {
        let may_run = |name: &&str| {
            let own = || self.rules.iter().filter(|rule| rule.command == *name);
            mode == Mode::Live
                || own().any(|rule| rule.verdict == Verdict::Allow)
                || !own().any(|rule| rule.pattern == [Word::Any])
        };
        let directories = command_dirs();
        let names = self.watched(mode).into_iter().filter(may_run);
        names.filter_map(|name| Some((name.to_owned(), find(name, &directories)?))).collect()
    }
}

impl Rule {
    fn fits(&self, arguments: &[String]) -> bool {
        fits(&self.pattern, arguments, self.verdict == Verdict::AskHost)
    }

    fn closeness(&self) -> (usize, usize) {
        if self.pattern.is_empty() {
            return (1, 0);
        }
        let exact = |word: &&Word| match word {
            Word::Exactly(_) => true,
            Word::Beginning(text) => !text.is_empty(),
            Word::Any => false,
        };
        let single = |word: &&Word| matches!(word, Word::Beginning(text) if text.is_empty());
        (self.pattern.iter().filter(exact).count(), self.pattern.iter().filter(single).count())
    }
}

/// Whether arguments fit a pattern. Where `strictly`, what `*` and `...` stand for are plain names, and `*` for no option:
/// what reaches a program of the host must not be a path, an assignment or a pattern of that program.
fn fits(pattern: &[Word], arguments: &[String], strictly: bool) -> bool {
    let Some((word, pattern)) = pattern.split_first() else { return arguments.is_empty() };
    if *word == Word::Any {
        let may_skip = |argument: &&String| !strictly || is_plain(argument);
        let most = arguments.iter().take_while(may_skip).count();
        return (0..=most).any(|skipped| fits(pattern, &arguments[skipped..], strictly));
    }
    let Some((argument, arguments)) = arguments.split_first() else { return false };
    let fitting = match word {
        Word::Exactly(text) => argument == text,
        Word::Beginning(beginning) => argument.strip_prefix(beginning.as_str()).is_some_and(|rest| {
            let option = beginning.is_empty() && rest.starts_with('-');
            !option && (!strictly || is_plain(rest))
        }),
        Word::Any => unreachable!("it was taken care of above"),
    };
    fitting && fits(pattern, arguments, strictly)
}

fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '@' | ':' | '+' | '-' | ',');
    !text.is_empty() && text.len() <= LONGEST_WORD && text.chars().all(plain)
}

fn parse_rule(line: &str) -> Result<Rule, &'static str> {
    let mut words = line.split_whitespace();
    let verdict = match words.next() {
        Some("allow") => Verdict::Allow,
        Some("report") => Verdict::Report,
        Some("ask-host") => Verdict::AskHost,
        Some("defer") => Verdict::Defer,
        _ => return Err("begins with no verdict: write allow, report, ask-host or defer"),
    };
    let mut environment = Vec::new();
    let mut words = words.peekable();
    while let Some((name, value)) = words.peek().and_then(|word| word.split_once('=')) {
        if verdict != Verdict::Allow {
            return Err("sets a variable for what is not executed inside: only allow takes NAME=VALUE");
        }
        environment.push((name.to_owned(), value.to_owned()));
        words.next();
    }
    let command = words.next().ok_or("names no command: write its name after the verdict")?.to_owned();
    if command.contains(['/', '*']) {
        return Err(
            "names a path or a pattern where the name of one command belongs: a name covers all its paths",
        );
    }
    let words: Vec<&str> = words.collect();
    if words == [NO_ARGUMENTS] {
        return Ok(Rule { verdict, command, environment, pattern: Vec::new() });
    }
    let mut pattern = Vec::new();
    for word in words {
        pattern.push(match word {
            NO_ARGUMENTS => return Err("has `\"\"` beside other words: it stands for no argument, alone"),
            "..." => Word::Any,
            word => match word.strip_suffix('*') {
                Some(beginning) if !beginning.contains('*') => Word::Beginning(beginning.to_owned()),
                None if !word.contains('*') => Word::Exactly(word.to_owned()),
                _ => return Err("has a `*` inside a word: it stands at the end of a word, or alone"),
            },
        });
    }
    if verdict == Verdict::AskHost {
        if pattern.is_empty() {
            return Err(
                "lets everything be asked: write the arguments of the question, `*` for one that varies, `\"\"` for none",
            );
        }
        if pattern.contains(&Word::Any) {
            return Err(
                "lets options reach the host: write a line for each question, with `*` for one argument",
            );
        }
    } else if pattern.is_empty() {
        pattern.push(Word::Any);
    }
    Ok(Rule { verdict, command, environment, pattern })
}

/// Directories in which commands are, in the order in which a shell with the PATH of scripts looks through them. Those to
/// which a link leads, as `/bin` on merged systems, go by their real path.
pub(crate) fn command_dirs() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for directory in COMMAND_DIRS.iter().map(|directory| real(Path::new(directory))) {
        if directory.is_dir() && !found.contains(&directory) {
            found.push(directory);
        }
    }
    found
}

/// Path of a command on this host, as a shell with the PATH of scripts would find it.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    find(name, &command_dirs())
}

fn find(name: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    directories.iter().map(|directory| directory.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    impl Commands {
        fn verdict(&self, argv: &[String]) -> Option<Verdict> {
            self.rule(argv).map(|rule| rule.verdict)
        }
    }

    fn built_in() -> Commands {
        Commands::parse(Path::new("x"), DEFAULT_LIST).unwrap()
    }

    #[test]
    fn the_built_in_list_knows_questions_from_actions() {
        let commands = built_in();
        for (call, verdict) in [
            ("service postgresql stop", Verdict::Defer),
            ("service postgresql status", Verdict::AskHost),
            ("service postgresql frobnicate", Verdict::Report),
            ("systemctl restart nginx", Verdict::Defer),
            ("systemctl --no-block restart a b", Verdict::Defer),
            ("systemctl is-active --quiet nginx", Verdict::AskHost),
            ("systemctl is-active nginx", Verdict::AskHost),
            ("systemctl poweroff", Verdict::Report),
            ("systemctl enable nginx", Verdict::Allow),
            ("systemctl --quiet mask nginx", Verdict::Allow),
            ("systemctl enable --now nginx", Verdict::Defer),
            ("systemctl --now disable nginx", Verdict::Defer),
            ("systemctl is-enabled --quiet nginx", Verdict::Allow),
            ("sysctl -n kernel.hostname", Verdict::AskHost),
            ("sysctl kernel.hostname", Verdict::AskHost),
            ("sysctl kernel.hostname=evil", Verdict::Report),
            ("sysctl -w kernel.hostname=evil", Verdict::Report),
            ("ip addr show", Verdict::AskHost),
            ("ip link set lo down", Verdict::Report),
            ("reboot", Verdict::Report),
            ("mount", Verdict::AskHost),
            ("mount -a", Verdict::Defer),
            ("umount /srv", Verdict::Defer),
            ("hostname web1", Verdict::Report),
            ("hostname -F /etc/hostname", Verdict::Report),
            ("nginx -s reload", Verdict::Defer),
            ("apachectl -k graceful", Verdict::Defer),
            ("iptables -A INPUT -j DROP", Verdict::Report),
            ("kill -HUP 1", Verdict::Report),
        ] {
            assert_eq!(commands.verdict(&argv(call)), Some(verdict), "{call}");
        }
        for call in [
            "cat /etc/passwd",
            "nginx -t",
            "apachectl configtest",
            "hostname",
            "hostname -f",
            "date -s 12:00",
        ] {
            assert!(matches!(commands.verdict(&argv(call)), None | Some(Verdict::Allow)), "{call}");
        }
        assert_eq!(commands.verdict(&["mount".to_owned()]), Some(Verdict::AskHost));
    }

    #[test]
    fn nothing_but_a_plain_name_is_asked_of_the_host() {
        let commands = built_in();
        for call in [
            "service ../../tmp/evil status",
            "service --help status",
            "service postgresql status now",
            "systemctl is-active --host=evil.example",
            "systemctl is-active -Hevil.example",
            "systemctl status nginx --root=/tmp",
            "systemctl show *",
            "sysctl -n --system",
            "sysctl -n kernel.hostname=evil",
            "sysctl -n kernel/hostname",
            "sysctl --load=/tmp/x",
            "ip -batch /tmp/x",
            "ip addr show dev",
        ] {
            assert_ne!(commands.verdict(&argv(call)), Some(Verdict::AskHost), "{call}");
        }
        assert_ne!(
            commands.verdict(&["service".into(), String::new(), "status".into()]),
            Some(Verdict::AskHost)
        );
        assert_ne!(
            commands.verdict(&["service".into(), "a\nb".into(), "status".into()]),
            Some(Verdict::AskHost)
        );
    }

    #[test]
    fn the_closest_line_wins_and_of_equals_the_last() {
        let list = "allow x\nreport x a\ndefer x * b\nreport x ... b\nreport x c\nallow x c\nask-host x --p=* q\n\
             ask-host y \"\"\nreport y\n";
        let commands = Commands::parse(Path::new("x"), list).unwrap();
        for (call, verdict) in [
            ("x", Verdict::Allow),
            ("x z", Verdict::Allow),
            ("x a", Verdict::Report),
            ("x a b", Verdict::Defer),
            ("x -a b", Verdict::Report),
            ("x a a b", Verdict::Report),
            ("x c", Verdict::Allow),
            ("x --p=1 q", Verdict::AskHost),
            ("x --p=/1 q", Verdict::Allow),
            ("y", Verdict::AskHost),
            ("y a", Verdict::Report),
        ] {
            assert_eq!(commands.verdict(&argv(call)), Some(verdict), "{call}");
        }
    }

    #[test]
    fn noop_and_live_make_different_use_of_a_verdict() {
        let lists = "defer sh a\nreport sh b\nask-host sh c\nallow A=1 B= sh e ...\n";
        let commands = Commands::parse(Path::new("x"), lists).unwrap();
        let run = |environment: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            Decision::Run(environment.iter().map(owned).collect())
        };
        let decide = |mode, call, now| commands.decide(mode, &argv(call), now);
        assert_eq!(decide(Mode::Noop, "sh a", true), Decision::Hold);
        assert_eq!(decide(Mode::Noop, "sh b", false), Decision::Hold);
        assert!(matches!(decide(Mode::Noop, "sh c", false), Decision::Ask(path) if path.ends_with("sh")));
        assert_eq!(decide(Mode::Noop, "sh d", false), run(&[]));
        assert_eq!(decide(Mode::Live, "sh a", false), Decision::Defer);
        assert_eq!(decide(Mode::Live, "sh a", true), run(&[]));
        assert_eq!(decide(Mode::Live, "sh b", false), run(&[]));
        assert_eq!(decide(Mode::Noop, "sh e f", false), run(&[("A", "1"), ("B", "")]));
        assert_eq!(decide(Mode::Live, "sh e", false), run(&[("A", "1"), ("B", "")]));
        assert_eq!(commands.real_programs(Mode::Noop).len(), 1);
        let all = Commands::parse(Path::new("x"), "report sh\ndefer sh a\n").unwrap();
        assert_eq!(all.real_programs(Mode::Noop).len(), 0);
        assert_eq!(all.real_programs(Mode::Live).len(), 1);
    }

    #[test]
    fn a_line_that_means_nothing_is_named_with_its_cure() {
        for (line, why) in [
            ("forbid reboot", "begins with no verdict: write allow, report, ask-host or defer"),
            ("report", "names no command"),
            ("report /usr/bin/kill", "a name covers all its paths"),
            ("ask-host systemctl", "lets everything be asked"),
            ("ask-host systemctl status ...", "lets options reach the host"),
            ("defer x a*b", "has a `*` inside a word"),
            ("defer x a \"\"", "has `\"\"` beside other words"),
            ("report A=1 x", "only allow takes NAME=VALUE"),
            ("allow A=1", "names no command"),
        ] {
            let text = format!("# fine\nreport service\n{line}\n");
            let error = Commands::parse(Path::new("/etc/x.conf"), &text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("/etc/x.conf:3: `{}` ", line.escape_debug())), "{error}");
            assert!(error.contains(why), "{error}");
        }
    }
}
