//! `--output-file`: what would go to standard output goes into a file, for callers whose shell lets them redirect
//! nothing. The file changes in one step, at the end, and is its user's alone.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

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
    let output = OutputFile::open(path)?; // before anything is paid for
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
    temp: Arc<Temp>,
}

/// The file under another name, made when something is first written.
struct Temp {
    /// Where it goes in the end, without links.
    target: PathBuf,
    folder: PathBuf,
    file: OnceLock<NamedTempFile>,
}

impl OutputFile {
    fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let refused = |why: &str| Err(Error::usage(format!("--output-file {shown} {why}")));
        let failed = |error: io::Error| failed(&shown, &error);
        // these lead to what is open already; a rename would replace it behind the back of who opened it
        if ["/dev", "/proc"].iter().any(|system| path.starts_with(system)) {
            return refused("is no regular file");
        }
        let target = location::resolve(path).map_err(failed)?;
        match fs::symlink_metadata(&target) {
            Ok(metadata) if metadata.is_dir() => return refused("is a folder"),
            Ok(metadata) if !metadata.is_file() => return refused("is no regular file"),
            Ok(metadata) if stdio::is_standard_stream(&metadata) => return refused("is one of the standard streams"),
            _ => {}
        }
        let Some(folder) = target.parent().map(Path::to_owned) else { return refused("names no file") };
        let temp = Arc::new(Temp { target, folder, file: OnceLock::new() });
        drop(temp.make().map_err(failed)?);
        let opened = Arc::clone(&temp);
        stdio::redirect(move || opened.open());
        Ok(Self { shown, temp })
    }

    fn holds_something(&self) -> bool {
        let file = self.temp.file.get().and_then(|file| file.as_file().metadata().ok());
        file.is_some_and(|metadata| metadata.len() > 0)
    }

    /// What cannot be put in its place goes to standard output: it is paid for.
    fn put_in_place(self) -> Result<()> {
        let temp = self.temp;
        let placed = temp.open().and_then(|file| file.sync_all()).and_then(|()| {
            let file = temp.file.get().expect("it was just opened");
            fs::rename(file.path(), &temp.target)
        });
        placed.map_err(|error| {
            let error = failed(&self.shown, &error).turn_started();
            match temp.open().and_then(|mut file| copy_to_standard_output(&mut file)) {
                Ok(()) => error.hint("what belongs there went to standard output"),
                Err(_) => error,
            }
        })
    }
}

impl Temp {
    fn make(&self) -> io::Result<NamedTempFile> {
        let prefix = format!(".{}.", self.target.file_name().unwrap_or_default().to_string_lossy());
        tempfile::Builder::new().prefix(&prefix).tempfile_in(&self.folder)
    }

    fn open(&self) -> io::Result<File> {
        if self.file.get().is_none() {
            let _ = self.file.set(self.make()?);
        }
        self.file.get().expect("it was just made").as_file().try_clone()
    }
}

fn copy_to_standard_output(file: &mut File) -> io::Result<()> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    stdio::print_past_redirection(&bytes)
}

fn failed(shown: &str, error: &io::Error) -> Error {
    Error::new(Kind::Io, format!("--output-file {shown} cannot be written")).because(error)
}
