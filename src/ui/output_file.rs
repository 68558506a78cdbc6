//! `--output-file`: a file in the place of standard output, for callers whose shell cannot redirect.
//!
//! The file is replaced atomically, at the end, and only its owner can read it.

use std::fs::{self, Metadata};
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
    let placed = if outcome.is_ok() || output.has_content() { output.put_in_place(ui) } else { Ok(()) };
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
pub(crate) struct PendingFile {
    /// The path in the end, without symlinks.
    target: PathBuf,
    dir: PathBuf,
    temp: OnceLock<NamedTempFile>,
    /// Why it cannot be written. Everything goes to standard output instead.
    failure: OnceLock<io::Error>,
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
        let file = Arc::new(PendingFile { target, dir, temp: OnceLock::new(), failure: OnceLock::new() });
        drop(file.create().map_err(failed)?); // whether it can be created is known before the turn
        Ok(Self { shown, file })
    }

    /// Returns whether something was printed.
    fn has_content(&self) -> bool {
        self.file.failure.get().is_some() || self.file.length() > 0
    }

    /// Replaces the file. If that fails, its content goes to standard output, because the turn is complete.
    fn put_in_place(&self, ui: &Ui) -> Result<()> {
        let file = &self.file;
        let cannot_write = |error: &io::Error| failed(&self.shown, error).with_turn_started();
        let on_stdout = "read the answer on standard output";
        if let Some(error) = file.failure.get() {
            return Err(cannot_write(error).with_hint(on_stdout));
        }
        let placed = file.temp().and_then(|temp| {
            temp.as_file().sync_all()?;
            fs::rename(temp.path(), &file.target)
        });
        placed.map_err(|error| {
            let printed = file.content(file.length()).map(|bytes| ui.print_bytes(&bytes));
            let error = cannot_write(&error);
            if let Ok(Ok(())) = printed { error.with_hint(on_stdout) } else { error }
        })
    }
}

impl Drop for OutputFile {
    /// Removes the temporary file here, because a thread that wrote to it may hold it until the process exits.
    fn drop(&mut self) {
        if let Some(temp) = self.file.temp.get() {
            let _ = fs::remove_file(temp.path());
        }
    }
}

impl PendingFile {
    fn create(&self) -> io::Result<NamedTempFile> {
        // without the file's name, which may be as long as names can be
        tempfile::Builder::new().prefix(".invoke-persist-").tempfile_in(&self.dir)
    }

    /// Returns the temporary file. Creates it with the first call.
    fn temp(&self) -> io::Result<&NamedTempFile> {
        if self.temp.get().is_none() {
            let _ = self.temp.set(self.create()?);
        }
        Ok(self.temp.get().expect("it was just created"))
    }

    /// Returns the number of bytes so far.
    fn length(&self) -> u64 {
        let metadata = self.temp.get().and_then(|temp| temp.as_file().metadata().ok());
        metadata.map_or(0, |metadata| metadata.len())
    }

    /// Returns the first `length` bytes.
    fn content(&self, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if let Some(temp) = self.temp.get() {
            let mut file = temp.as_file();
            file.rewind()?;
            file.take(length).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }

    /// Appends `bytes`. If that fails, the content so far, `bytes` and everything after them go to standard output.
    ///
    /// # Errors
    ///
    /// Those of standard output.
    pub(super) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let stdout = if self.failure.get().is_some() {
            stdio::stdout()?
        } else {
            let before = self.length();
            let written = self.temp().and_then(|temp| stdio::write_all(&temp.as_file().try_clone()?, bytes));
            let Err(error) = written else { return Ok(()) };
            let _ = self.failure.set(error);
            let stdout = stdio::stdout()?;
            stdio::write_all(&stdout, &self.content(before)?)?;
            stdout
        };
        stdio::write_all(&stdout, bytes)
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

fn failed(shown: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write --output-file {shown}")).with_io_cause(error)
}

#[cfg(all(test, unix))] // elsewhere the name of a removed file may stay until the file is closed
mod tests {
    use super::*;

    #[test]
    fn temporary_file_is_removed_although_a_thread_still_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let output = OutputFile::open(&dir.path().join("out")).unwrap();
        let held = Arc::clone(&output.file);
        held.append(b"answer").unwrap();
        drop(output);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
