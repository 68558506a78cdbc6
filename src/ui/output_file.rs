//! `--output-file`: a file in the place of standard output, for callers whose shell cannot redirect.
//!
//! The file is replaced atomically, at the end, and only its owner can read it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tempfile::NamedTempFile;

use super::{Ui, stdio};
use crate::error::{Error, ErrorKind, Result};
use crate::paths;

/// Stands for standard output in the place of a path.
const STANDARD_OUTPUT: &str = "-";

/// Runs `call` with a [`Ui`] whose standard output becomes the content of `path`, if that is given.
///
/// The output of a failed call is kept too: a stream up to where it ended, or an answer from another session. A call that
/// failed and printed nothing leaves the existing file alone.
///
/// # Errors
///
/// Those of `call`; a usage error if `path` cannot be replaced, before `call` runs.
pub(crate) fn with_output_file(ui: &Ui, path: Option<&Path>, call: impl FnOnce(&Ui) -> Result<()>) -> Result<()> {
    let Some(path) = path.filter(|path| *path != Path::new(STANDARD_OUTPUT)) else { return call(ui) };
    let output = OutputFile::open(path)?;
    let outcome = call(&ui.with_output(Arc::clone(&output.file)));
    let placed = if outcome.is_ok() || output.has_content() { output.put_in_place() } else { Ok(()) };
    match (outcome, placed) {
        (Ok(()), placed) => placed,
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(lost)) => Err(error.caused_by(lost.to_single_line())),
    }
}

/// The file that a caller named.
struct OutputFile {
    /// As the caller named it.
    shown: String,
    file: Arc<PendingFile>,
}

/// The content of the file until it is complete, under a temporary name. Created with the first write.
#[derive(Debug)]
pub(super) struct PendingFile {
    /// The path in the end, without symlinks.
    target: PathBuf,
    dir: PathBuf,
    temp: OnceLock<NamedTempFile>,
}

impl OutputFile {
    fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let refused = |why: &str| Err(Error::usage(format!("--output-file {shown} {why}")));
        let failed = |error: io::Error| failed(&shown, &error);
        // these lead to files that are open; a rename would replace them without a sign to those who opened them
        if ["/dev", "/proc"].iter().any(|system| path.starts_with(system)) {
            return refused("is not a regular file");
        }
        // resolved, `new/` and `new/.` would be a file `new`
        if matches!(shown.rsplit(std::path::is_separator).next(), Some("" | "." | "..")) {
            return refused("names a directory");
        }
        let target = paths::resolve_unplanted(path).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                failed(error).with_hint("name a file in a directory that only you can write to")
            }
            _ => failed(error),
        })?;
        match fs::symlink_metadata(&target) {
            Ok(metadata) if metadata.is_dir() => return refused("is a directory"),
            Ok(metadata) if !metadata.is_file() => return refused("is not a regular file"),
            Ok(metadata) if stdio::is_standard_stream(&metadata) => return refused("is one of the standard streams"),
            Ok(metadata) => check_writable(&target, &metadata).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let Some(dir) = target.parent().map(Path::to_owned) else { return refused("does not name a file") };
        let file = Arc::new(PendingFile { target, dir, temp: OnceLock::new() });
        drop(file.create().map_err(failed)?); // whether it can be created is known before the turn
        Ok(Self { shown, file })
    }

    fn has_content(&self) -> bool {
        let metadata = self.file.temp.get().and_then(|temp| temp.as_file().metadata().ok());
        metadata.is_some_and(|metadata| metadata.len() > 0)
    }

    /// Replaces the file. If that fails, its content goes to standard output, because the turn is complete.
    fn put_in_place(self) -> Result<()> {
        let file = self.file;
        let placed = file.open().and_then(|open| open.sync_all()).and_then(|()| {
            let temp = file.temp.get().expect("it was just opened");
            fs::rename(temp.path(), &file.target)
        });
        placed.map_err(|error| {
            let error = failed(&self.shown, &error).with_turn_started();
            match file.open().and_then(|mut open| copy_to_stdout(&mut open)) {
                Ok(()) => error.with_hint("read the answer on standard output"),
                Err(_) => error,
            }
        })
    }
}

impl PendingFile {
    fn create(&self) -> io::Result<NamedTempFile> {
        // without the file's name, which may be as long as names can be
        tempfile::Builder::new().prefix(".invoke-persist-").tempfile_in(&self.dir)
    }

    /// Returns another handle to the content so far, at its end.
    pub(super) fn open(&self) -> io::Result<File> {
        if self.temp.get().is_none() {
            let _ = self.temp.set(self.create()?);
        }
        self.temp.get().expect("it was just created").as_file().try_clone()
    }
}

/// Fails for a file that its owner has protected. Replacing it would not need write permission for the file itself.
#[cfg(unix)]
fn check_writable(file: &Path, _metadata: &Metadata) -> io::Result<()> {
    Ok(rustix::fs::access(file, rustix::fs::Access::WRITE_OK)?)
}

#[cfg(windows)]
fn check_writable(_file: &Path, metadata: &Metadata) -> io::Result<()> {
    if metadata.permissions().readonly() { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
}

fn copy_to_stdout(file: &mut File) -> io::Result<()> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    stdio::write_all(&mut stdio::stdout()?, &bytes)
}

fn failed(shown: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write --output-file {shown}")).with_io_cause(error)
}
