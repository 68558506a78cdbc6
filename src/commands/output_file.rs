//! `--output-file`: what would go to standard output goes into a file, for callers whose shell lets them redirect nothing.
//! The file is there whole or not at all, and its user's alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Kind, Result};
use crate::stdio;
use crate::store::location;

/// Runs `call`, whose standard output becomes the content of `path`, if there is one.
///
/// What a failed call has printed is kept too: a stream up to where it ended, an answer from another session. A call that
/// printed nothing and failed leaves what was there.
pub(super) fn redirected(path: Option<&Path>, call: impl FnOnce() -> Result<()>) -> Result<()> {
    let Some(path) = path else { return call() };
    let output = OutputFile::create(path)?; // before anything is paid for
    let done = call();
    let placed = if done.is_ok() || output.holds_something() { output.put_in_place() } else { Ok(()) };
    match (done, placed) {
        (Ok(()), placed) => placed,
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(lost)) => Err(error.caused_by(lost.to_sentence())),
    }
}

struct OutputFile {
    /// As the caller named it.
    shown: String,
    /// Without links.
    target: PathBuf,
    temp: NamedTempFile,
}

impl OutputFile {
    fn create(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let refused = |why: &str| Err(Error::usage(format!("--output-file {shown} {why}")));
        let target = location::resolve(path).map_err(|error| failed(&shown, &error))?;
        match fs::symlink_metadata(&target) {
            Ok(metadata) if metadata.is_dir() => return refused("is a folder"),
            // a rename would put a file in the place of a device
            Ok(metadata) if !metadata.is_file() => return refused("is no regular file"),
            _ => {}
        }
        let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else { return refused("names no file") };
        let prefix = format!(".{}.", name.to_string_lossy());
        let temp =
            tempfile::Builder::new().prefix(&prefix).tempfile_in(folder).map_err(|error| failed(&shown, &error))?;
        stdio::redirect(temp.as_file().try_clone().map_err(|error| failed(&shown, &error))?);
        Ok(Self { shown, target, temp })
    }

    fn holds_something(&self) -> bool {
        self.temp.as_file().metadata().is_ok_and(|metadata| metadata.len() > 0)
    }

    fn put_in_place(self) -> Result<()> {
        let placed = self
            .temp
            .as_file()
            .sync_all()
            .and_then(|()| self.temp.persist(&self.target).map(drop).map_err(|error| error.error));
        placed.map_err(|error| failed(&self.shown, &error).turn_started())
    }
}

fn failed(shown: &str, error: &io::Error) -> Error {
    Error::new(Kind::Io, format!("--output-file {shown} cannot be written")).because(error)
}
