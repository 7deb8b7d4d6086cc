//! The runs of this node, kept on disk: numbered, the oldest ones forgotten.
//!
//! ```text
//! VARDIR/history/N.json         0600, one run; written beside, synced, renamed, and the directory synced
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::disco::report::Run;

/// How many runs are kept; the one before them is forgotten when a new one comes.
pub const KEPT: usize = 100;

/// A run that could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the report {}", path.display())]
pub struct HistoryError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HistoryError {
    let path = path.to_owned();
    move |source| HistoryError { action, path, source }
}

/// The runs that a state directory keeps.
#[derive(Debug, Clone)]
pub struct History {
    directory: PathBuf,
}

impl History {
    /// The history below the state directory `vardir`, whether or not there is one yet.
    pub fn of(vardir: &Path) -> Self {
        History { directory: vardir.join("history") }
    }

    /// Numbers of the runs that are kept, oldest first.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn numbers(&self) -> Result<Vec<u64>, HistoryError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("read", &self.directory)(error)),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed("read", &self.directory))?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".json"));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The number of the run that begins now, later than that of a run of which only the merge is known. The caller holds
    /// the lock.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn next_number_after(&self, merged: u64) -> Result<u64, HistoryError> {
        Ok(self.numbers()?.last().copied().unwrap_or(0).max(merged) + 1)
    }

    /// Keeps a run, and forgets the oldest ones beyond [`KEPT`].
    ///
    /// # Errors
    /// With the path that could not be written; the other runs are still there then.
    pub fn keep(&self, run: &Run) -> Result<(), HistoryError> {
        let path = self.path(run.id);
        let beside = self.directory.join(".new");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(failed("make the directory of", &path))?;
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .map_err(failed("write", &path))?;
        let text = serde_json::to_vec(run).map_err(|error| failed("write", &path)(error.into()))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed("write", &path))?;
        fs::rename(&beside, &path)
            .and_then(|()| File::open(&self.directory)?.sync_all())
            .map_err(failed("write", &path))?;
        let numbers = self.numbers()?;
        for old in &numbers[..numbers.len().saturating_sub(KEPT)] {
            let path = self.path(*old);
            fs::remove_file(&path).map_err(failed("forget", &path))?;
        }
        Ok(())
    }

    /// Reads a run; none if it is not kept.
    ///
    /// # Errors
    /// With the path that cannot be read or understood.
    pub fn run(&self, number: u64) -> Result<Option<Run>, HistoryError> {
        let path = self.path(number);
        match fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).map(Some).map_err(|error| failed("read", &path)(error.into()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// Reads the last run; none if there was none.
    ///
    /// # Errors
    /// As [`History::run`].
    pub fn last(&self) -> Result<Option<Run>, HistoryError> {
        self.numbers()?.last().map_or(Ok(None), |&last| self.run(last))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disco::Mode;

    fn run(id: u64) -> Run {
        Run::begin(id, Mode::Noop, "n")
    }

    #[test]
    fn the_last_runs_can_be_read_back_and_older_ones_are_forgotten() {
        let vardir = tempfile::tempdir().unwrap();
        let history = History::of(vardir.path());
        assert!(history.last().unwrap().is_none());
        for number in 1..=KEPT as u64 + 5 {
            assert_eq!(history.next_number_after(0).unwrap(), number);
            history.keep(&run(number)).unwrap();
        }
        let numbers = history.numbers().unwrap();
        assert_eq!((numbers.len(), numbers[0]), (KEPT, 6));
        assert_eq!(history.last().unwrap().unwrap().id, KEPT as u64 + 5);
        assert_eq!(history.run(6).unwrap().unwrap().id, 6);
        assert!(history.run(5).unwrap().is_none());
    }
}
