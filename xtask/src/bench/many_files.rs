//! Diff and merge of many changed files, beside reading and writing the same files without any ado.
//!
//! Half of the files are modified, a quarter is created, a quarter deleted; each holds 1.6 KB of text.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use md5::{Digest, Md5};
use serde_json::Value;

use crate::bench::Row;
use crate::bench::dance::CLIENT;
use crate::bench::timing::{self, Figures};

/// From so many files on, a diff is measured by what reading them takes.
const MANY: usize = 10_000;

/// Where the files lie on the node.
const TREE: &str = "/srv/bench";

/// A universe of one module, in a directory of the node: nothing is fetched over a network.
const UNIVERSE: &str = "/srv/universe";

/// What the module does to the tree: files 0 to 3 of each four are modified, modified, created, deleted.
const SCRIPT: &str = r#"
cd /srv/bench
for d in */; do
    cd "$d"
    for f in *.m; do echo "one more line" >> "$f"; done
    rm -f ./*.d
    cd ..
done
"#;

/// Measures one number of changes: the diff and the merge.
pub(crate) fn rows(count: usize, runs: usize) -> Result<Vec<Row>> {
    let files = Files::of(count);
    universe(&files)?;
    let (mut diffs, mut merges) = (Vec::new(), Vec::new());
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        files.lay_out()?;
        let run = live()?;
        ensure!(run["merged"] == Value::Bool(true), "the dance merged nothing: {run}");
        diffs.push(seconds_of(&run["modules"][0]["steps"], "diff")?);
        merges.push(seconds_of(&run["internal"], "merge")?);
        files.lay_out()?;
        reads.push(timing::call(|| files.read_and_hash())?);
        writes.push(timing::call(|| files.write_plainly())?);
    }
    let plural = if count == 1 { "file" } else { "files" };
    Ok(vec![
        Row {
            what: format!("diff of {count} changed {plural}"),
            ours: Figures::new(diffs),
            beside: "reading and hashing the old and the new content".into(),
            floor: Figures::new(reads),
            // Of fewer files the set-up of the look itself is most.
            target: (count >= MANY).then_some(1.5),
        },
        Row {
            what: format!("merge of {count} changed {plural}"),
            ours: Figures::new(merges),
            beside: "writing, renaming and removing them, and one sync".into(),
            floor: Figures::new(writes),
            target: None,
        },
    ])
}

/// The files of one measurement.
struct Files {
    count: usize,
}

impl Files {
    fn of(count: usize) -> Self {
        Files { count }
    }

    /// Path of a file without its ending; a hundred files a directory.
    fn stem(number: usize) -> String {
        format!("{TREE}/{:03}/{number:05}", number / 100)
    }

    fn modified(&self) -> impl Iterator<Item = String> {
        (0..self.count).filter(|number| number % 4 < 2).map(|number| Self::stem(number) + ".m")
    }

    fn created(&self) -> impl Iterator<Item = String> {
        (0..self.count).filter(|number| number % 4 == 2).map(|number| Self::stem(number) + ".c")
    }

    fn deleted(&self) -> impl Iterator<Item = String> {
        (0..self.count).filter(|number| number % 4 == 3).map(|number| Self::stem(number) + ".d")
    }

    /// Puts the tree in the state that a dance is to find.
    fn lay_out(&self) -> Result<()> {
        if Path::new(TREE).exists() {
            fs::remove_dir_all(TREE)?;
        }
        for number in 0..self.count {
            let parent =
                Path::new(&Self::stem(number)).parent().context("a file lies in a directory")?.to_owned();
            fs::create_dir_all(parent)?;
        }
        for path in self.modified().chain(self.deleted()) {
            fs::write(&path, text(&path))?;
        }
        nix::unistd::sync();
        Ok(())
    }

    /// The least that a diff can do: every content on both sides read once and hashed.
    fn read_and_hash(&self) -> Result<()> {
        for path in self.modified().chain(self.modified()).chain(self.deleted()).chain(self.created()) {
            let content = match fs::read(&path) {
                Ok(content) => content,
                // A created file is not there on this side; its content is as long as the others'.
                Err(_) => text(&path).into_bytes(),
            };
            std::hint::black_box(Md5::digest(content));
        }
        Ok(())
    }

    /// The least that a merge can do: new contents beside their places, renamed; old files removed; one sync.
    fn write_plainly(&self) -> Result<()> {
        for path in self.modified().chain(self.created()) {
            let beside = format!("{path}.new");
            fs::write(&beside, text(&path))?;
            fs::rename(&beside, &path)?;
        }
        for path in self.deleted() {
            fs::remove_file(path)?;
        }
        Ok(nix::unistd::syncfs(File::open(TREE)?.as_fd())?)
    }
}

/// 1.6 KB of lines that differ from file to file.
fn text(path: &str) -> String {
    (0..40).map(|line| format!("{line:03} {path:<35}\n")).collect()
}

/// Writes the universe of one module that makes the changes.
fn universe(files: &Files) -> Result<()> {
    let module = format!("{UNIVERSE}/change-1.0");
    if Path::new(UNIVERSE).exists() {
        fs::remove_dir_all(UNIVERSE)?;
    }
    fs::create_dir_all(format!("{module}/scripts"))?;
    fs::create_dir_all(format!("{UNIVERSE}/parameters/{}/modules", testbed::universe::EXAMPLE_NODE))?;
    fs::write(format!("{UNIVERSE}/parameters/{}/modules/change-1.0", testbed::universe::EXAMPLE_NODE), "")?;
    fs::write(format!("{module}/scripts/change.sh"), SCRIPT)?;
    for path in files.created() {
        let target = format!("{module}/files{path}");
        fs::create_dir_all(Path::new(&target).parent().context("a file lies in a directory")?)?;
        fs::write(target, text(&path))?;
    }
    Ok(())
}

/// One live dance to it, as JSON.
fn live() -> Result<Value> {
    let output = std::process::Command::new(CLIENT)
        .args(["dance", "--server", UNIVERSE, "--json"])
        .output()
        .with_context(|| format!("cannot start {CLIENT}"))?;
    ensure!(output.status.success(), "the dance failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// How long a step took, by the client's own clock.
fn seconds_of(steps: &Value, kind: &str) -> Result<Duration> {
    let steps = steps.as_array().context("the run has no steps")?;
    let step = steps.iter().find(|step| step["kind"] == kind).with_context(|| format!("no step {kind}"))?;
    Ok(Duration::from_secs_f64(step["usage"]["real"].as_f64().context("a step has no time")?))
}
