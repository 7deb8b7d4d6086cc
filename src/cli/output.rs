//! How things look: the line grammar of the original, and colour where a person is looking.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use crate::cli::error::CommandError;
use crate::cli::exit;
use crate::cli::progress::Progress;
use crate::disco::changes::HostPath;
use crate::disco::changes::diff::Content;
use crate::disco::changes::{Change, Entry, FLAGS, Kind};
use crate::disco::dance::Event;
use crate::disco::deferred::Deferred;
use crate::disco::merge::Recovered;

/// Whether prefixes are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Plain,
    Terminal,
}

impl Colour {
    /// Colour for a terminal, unless `NO_COLOR` is set (no-color.org).
    pub(super) fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if stream.is_terminal() && !refused { Colour::Terminal } else { Colour::Plain }
    }

    fn paint(self, prefix: &str) -> String {
        let code = match prefix {
            "warning" => "33",
            "error" => "31",
            _ => "36",
        };
        match self {
            Colour::Plain => format!("{prefix}:"),
            Colour::Terminal => format!("\u{1b}[{code}m{prefix}:\u{1b}[0m"),
        }
    }
}

/// Writes the lines of a dance or a report to standard output.
pub(super) struct Lines {
    colour: Colour,
    diffs: bool,
    progress: Progress,
    out: Box<dyn Write>,
    broken: Option<io::Error>,
}

impl Lines {
    /// Lines on standard output; `diffs` decides whether contents are shown.
    pub(super) fn on_stdout(diffs: bool) -> Self {
        let out = io::stdout().lock();
        let colour = Colour::of(&out);
        Lines { colour, diffs, progress: Progress::on_stderr(), out: Box::new(out), broken: None }
    }

    /// The same on standard error, where standard output belongs to somebody else.
    pub(super) fn on_stderr(diffs: bool) -> Self {
        let out = io::stderr();
        let colour = Colour::of(&out);
        Lines { colour, diffs, progress: Progress::on_stderr(), out: Box::new(out), broken: None }
    }

    /// One line with its prefix: `info`, `warning`, `error` or `report`.
    pub(super) fn say(&mut self, prefix: &str, text: &str) {
        let line = format!("{} {text}\n", self.colour.paint(prefix));
        self.write(&line);
    }

    /// Text as it is.
    pub(super) fn write(&mut self, text: &str) {
        self.progress.clear();
        if self.broken.is_none() {
            let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
            self.broken = written.err();
        }
    }

    fn recovered(&mut self, Recovered { run, how, because, spared, lost }: &Recovered) {
        let why = because.as_ref().map_or(String::new(), |why| format!(", because: {why}"));
        let what = format!("Recovered : the merge of run {run} was interrupted; it was {how}{why}");
        self.say(if because.is_some() { "warning" } else { "info" }, &what);
        for path in spared {
            let path = HostPath(path.clone());
            self.say("warning", &format!("Recovered : {path} is left as it is: somebody changed it since"));
        }
        for mount in lost {
            let mount = HostPath(mount.clone());
            let what = format!("what the merge did on the file system of {mount} is gone with it");
            self.say("warning", &format!("Recovered : {what}"));
        }
    }

    /// One event of a dance.
    pub(super) fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Busy { with } => self.progress.say(with),
            Event::Absent { module, line } => self.say("error", &format!("{module}: {line}")),
            Event::Discovered { module, by } => {
                self.say("info", &format!("Discovered dependency : {module} (required by {by})"));
            }
            Event::Recovered { recovered } => self.recovered(recovered),
            Event::Note { text } => self.say("warning", text),
            Event::Processing { module } => self.say("info", &format!("Processing {module}")),
            Event::Output { line, .. } => self.own_line(line),
            Event::HeldBack { call, .. } => self.say("warning", &call.warning()),
            Event::Deferred { call, .. } => self.say("info", &format!("Deferred : {}", call.line())),
            Event::Executed { deferred } => self.executed(deferred),
            Event::Dropped { deferred, why } => {
                self.say("warning", &format!("Not executed : {} : {why}", deferred.line()));
            }
            Event::Interrupted { run } => {
                self.say("info", &format!("Recovered : run {run} was interrupted after its merge"));
            }
            Event::Pending { run, deferred } => self.say("warning", &pending(*run, deferred)),
            Event::Unknown { run, deferred } => self.say("error", &unknown(*run, deferred)),
            Event::Skipped { module, because } => {
                self.say("warning", &format!("Skipping {module} : it requires {because}, which failed"));
            }
            Event::Failed { module, why } => self.say("error", &format!("{module}: {why}")),
            Event::Changed { change } if change.noise => {}
            Event::Changed { change } => self.change(change),
        }
    }

    /// What a deferred command wrote, and how it ended.
    fn executed(&mut self, deferred: &Deferred) {
        let Some(ended) = &deferred.ended else { return };
        for line in ended.output.lines() {
            self.write(&format!("{}\n", line.escape_debug()));
        }
        match &ended.failed {
            None => self.say("info", &format!("Executed : {}", deferred.line())),
            Some(why) => self.say("error", &format!("Executed : {} : {why}", deferred.line())),
        }
    }

    /// A line of a script. A shadow's warning comes this way too, and looks like one of ours.
    fn own_line(&mut self, line: &str) {
        match line.strip_prefix("warning: Would execute : ") {
            Some(command) => self.say("warning", &format!("Would execute : {command}")),
            None => self.write(&format!("{line}\n")),
        }
    }

    /// One change: its line, and what differs inside.
    pub(super) fn change(&mut self, change: &Change) {
        self.say("info", &change_line(change));
        if self.diffs {
            let text = content_text(change, change.withheld.as_ref().unwrap_or(&change.content));
            self.write(&text);
        }
    }

    /// Whether everything could be written. A reader that went away is nobody's failure.
    pub(super) fn finish(self) -> io::Result<()> {
        match self.broken {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}

/// A deferred command that a run which died did not come to.
pub(super) fn pending(run: u64, deferred: &Deferred) -> String {
    let line = deferred.line();
    format!("Pending : {line} : run {run} was interrupted before it; the next live run executes it")
}

/// A deferred command during which a run died.
pub(super) fn unknown(run: u64, deferred: &Deferred) -> String {
    let line = deferred.line();
    format!(
        "Executed : {line} : run {run} was interrupted meanwhile, so how it ended is not known; it is not executed again \
         by itself, see whether it has to be"
    )
}

/// What differs inside a path, or why that is not shown; nothing where nothing differs.
pub(super) fn content_text(change: &Change, content: &Content) -> String {
    let sizes = || {
        let side = |entry: &Option<Entry>| match entry {
            Some(entry) => {
                let digest = entry.md5.as_deref().map(|md5| format!(" with md5 {md5}"));
                format!("{} bytes{}", entry.size, digest.unwrap_or_default())
            }
            None => "nothing".to_owned(),
        };
        format!("{} => {}", side(&change.before), side(&change.after))
    };
    match content {
        Content::Same => String::new(),
        Content::Text(text) if text.starts_with("@@ ") => {
            let side = |entry: &Option<Entry>| match entry {
                Some(_) => change.path.to_string(),
                None => "/dev/null".to_owned(),
            };
            format!("--- {}\n+++ {}\n{text}", side(&change.before), side(&change.after))
        }
        Content::Text(text) => text.clone(),
        Content::Binary => "(binary content, not shown)\n".to_owned(),
        Content::Long => "(long content, not shown)\n".to_owned(),
        Content::Secret => format!("(secret content, not shown: {})\n", sizes()),
    }
}

/// Writes an answer to standard output. A reader that went away is nobody's failure.
pub(super) fn answer(text: &str) -> Result<u8, CommandError> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(exit::FINE),
    }
}

/// Rows of cells as text, each column as wide as its widest cell; the last one ragged.
pub(super) fn columns(rows: &[Vec<String>], indent: &str) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from(indent);
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "{cell:<width$}  ").expect("text grows in memory");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The grammar of the original: `File: file: PATH : Created : field=[value] …`.
fn change_line(change: &Change) -> String {
    let mut line = format!("File: file: {} : ", change.path);
    line.push_str(match change.kind() {
        Kind::Created => "Created :",
        Kind::Modified => "Modified :",
        Kind::Deleted => "Deleted",
    });
    for (name, value) in change_fields(change) {
        write!(line, " {name}=[{value}]").expect("text grows in memory");
    }
    line
}

/// The fields of a change: all of what was created, those that differ of what was modified, none of what is gone.
pub(super) fn change_fields(change: &Change) -> Vec<(&'static str, String)> {
    match (&change.before, &change.after) {
        (None, Some(after)) => fields(after),
        (Some(before), Some(after)) => {
            let (old, new) = (fields(before), fields(after));
            let value = |fields: &[(&'static str, String)], name: &str| {
                let found = fields.iter().find(|(field, _)| *field == name);
                found.map_or_else(|| unsaid(name).to_owned(), |(_, value)| value.clone())
            };
            // The documented order of a modification.
            ["type", "target", "md5", "perms", "mode", "selinux", "attributes", "links", "flags"]
                .into_iter()
                .map(|name| (name, value(&old, name), value(&new, name)))
                .filter(|(_, old, new)| old != new)
                .map(|(name, old, new)| (name, format!("{old} => {new}")))
                .collect()
        }
        (_, None) => Vec::new(),
    }
}

/// The value of a field of which nothing was said.
fn unsaid(field: &str) -> &'static str {
    match field {
        "links" => "1",
        "flags" => "none",
        _ => "?",
    }
}

fn fields(entry: &Entry) -> Vec<(&'static str, String)> {
    let unknown = || "?".to_owned();
    let label = entry.attributes.get("security.selinux").map(|hex| label_text(hex));
    let mut fields = vec![
        ("type", entry.kind.clone()),
        ("device", format!("{:x}", entry.device)),
        ("mode", format!("{:x}", entry.mode)),
        ("selinux", label.unwrap_or_else(unknown)),
        ("md5", entry.md5.clone().unwrap_or_else(unknown)),
        ("perms", format!("{}:{} {:o}", entry.owner, entry.group, entry.mode & 0o7777)),
    ];
    fields.extend(entry.target.clone().map(|target| ("target", target)));
    let others: Vec<String> = entry
        .attributes
        .iter()
        .filter(|(name, _)| *name != "security.selinux")
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if !others.is_empty() {
        fields.push(("attributes", others.join(",")));
    }
    if entry.names > 1 {
        fields.push(("links", entry.names.to_string()));
    }
    let flags = FLAGS.iter().filter(|(flag, _)| entry.flags & flag.bits() != 0).map(|(_, name)| *name);
    let flags: Vec<&str> = flags.collect();
    if !flags.is_empty() {
        fields.push(("flags", flags.join(",")));
    }
    fields
}

/// A label is kept in hex; it is text with a closing NUL.
fn label_text(hex: &str) -> String {
    let bytes =
        hex.as_bytes().chunks(2).filter_map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
    bytes.take_while(|byte| *byte != 0).map(|byte| char::from(byte).escape_default().to_string()).collect()
}
