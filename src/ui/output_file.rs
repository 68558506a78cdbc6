//! `--output-file`: a file that replaces standard output, for callers that cannot redirect it.
//!
//! The file is replaced atomically, at the end, and only its owner can read it. The output of a failed call goes to a
//! second file, so that the first is always the output of a complete call.

use std::fs::{self, Metadata};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tempfile::NamedTempFile;

use super::{Ui, stdio};
use crate::error::{Error, ErrorKind, Result};
use crate::paths;
use crate::sys::retry_while_open;

/// The option of the file that replaces standard output.
const OPTION: &str = "--output-file";

/// The value that selects standard output instead of a file.
const STANDARD_OUTPUT: &str = "-";

/// Runs `call` with a [`Ui`] that writes standard output to `path`, if there is one.
///
/// The output of a failed call goes to [`partial_path`]: a stream up to where it ended, or an answer from another session.
/// A [complete](crate::error::ErrorKind::keeps_output) one goes to `path`.
/// Missing directories are created with the file.
///
/// # Errors
///
/// A usage error if `path` cannot be replaced, before `call` runs. Otherwise the errors of `call`.
pub(crate) fn with_output_file(ui: &Ui, path: Option<&Path>, call: impl FnOnce(&Ui) -> Result<()>) -> Result<()> {
    let Some(path) = path.filter(|path| *path != Path::new(STANDARD_OUTPUT)) else { return call(ui) };
    let output = OutputFile::open(OPTION, path)?;
    let outcome = call(&ui.with_output(Arc::clone(&output.file)));
    match outcome {
        Ok(()) => output.put_in_place(ui, &output.file.target),
        Err(error) if error.kind.keeps_output() => {
            let Err(lost) = output.put_in_place(ui, &output.file.target) else { return Err(error) };
            Err(error.caused_by(lost.to_single_line()))
        }
        Err(error) if output.has_content() => {
            let Err(lost) = output.put_partial_in_place(ui) else { return Err(error) };
            Err(error.caused_by(lost.to_single_line()))
        }
        Err(error) => Err(error),
    }
}

/// Returns the path of the output of a failed call: `path` with `.partial` appended.
pub(crate) fn partial_path(path: &Path) -> PathBuf {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    partial.into()
}

/// The file that the caller passed.
struct OutputFile {
    /// The path that the caller passed.
    shown: String,
    file: Arc<PendingFile>,
}

/// The temporary file that contains the output until it is complete. It is created at the first write.
#[derive(Debug)]
pub(crate) struct PendingFile {
    /// The final path, without symlinks.
    target: PathBuf,
    dir: PathBuf,
    /// Whether `dir` was missing when the call began.
    creates_dir: bool,
    temp: OnceLock<NamedTempFile>,
    /// The error of a write. After an error, everything is written to standard output instead.
    failure: OnceLock<io::Error>,
}

impl OutputFile {
    /// Checks the file that `option` names. Nothing is written to it yet.
    fn open(option: &'static str, path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let refused = |why: &str| Err(Error::usage(format!("{option} {shown} {why}")));
        let failed = |error: io::Error| failed(option, &shown, &error);
        // these paths refer to open files, and a rename would not affect the processes that have opened them
        if ["/dev", "/proc"].iter().any(|system| path.starts_with(system)) {
            return refused("is not a regular file");
        }
        // without this check, `new/` and `new/.` would resolve to a file `new`
        if matches!(shown.rsplit(std::path::is_separator).next(), Some("" | "." | "..")) {
            return refused("names a directory");
        }
        let target = paths::resolve_unplanted(path).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                failed(error).with_hint("choose a file in a directory that only you can write to")
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
        let existing = dir.ancestors().find(|dir| fs::symlink_metadata(dir).is_ok()).unwrap_or(&dir);
        drop(create_temp(existing).map_err(failed)?); // an error is reported before the turn
        let creates_dir = existing != dir;
        let file = Arc::new(PendingFile { target, dir, creates_dir, temp: OnceLock::new(), failure: OnceLock::new() });
        Ok(Self { shown, file })
    }

    /// Returns whether anything was printed.
    fn has_content(&self) -> bool {
        self.file.failure.get().is_some() || self.file.length() > 0
    }

    /// Puts the output of a failed call beside the file, with a warning.
    fn put_partial_in_place(&self, ui: &Ui) -> Result<()> {
        self.put_in_place(ui, &partial_path(&self.file.target))?;
        let (shown, partial) = (&self.shown, partial_path(Path::new(&self.shown)));
        let state = if self.file.target.exists() { "is unchanged" } else { "was not created" };
        let partial = partial.display();
        ui.warn(&format!("the output of this call is in {partial}, because the call failed; {shown} {state}"));
        Ok(())
    }

    /// Renames the output to `target`. If that fails, it goes to standard output, because the turn cannot be repeated.
    fn put_in_place(&self, ui: &Ui, target: &Path) -> Result<()> {
        let file = &self.file;
        let partial = partial_path(Path::new(&self.shown)).display().to_string();
        let shown = if target == file.target { &self.shown } else { &partial };
        let cannot_write =
            |error: &io::Error| failed(OPTION, shown, error).with_turn_started().with_prompt_in_history(Some(true));
        let on_stdout = "read the answer on standard output";
        if let Some(error) = file.failure.get() {
            return Err(cannot_write(error).with_hint(on_stdout));
        }
        let placed = file.temp().and_then(|temp| {
            temp.as_file().sync_all()?;
            retry_while_open(|| fs::rename(temp.path(), target))
        });
        placed.map_err(|error| {
            let printed = file.content(file.length()).map(|bytes| ui.print_bytes(&bytes));
            let error = cannot_write(&error);
            if let Ok(Ok(())) = printed { error.with_hint(on_stdout) } else { error }
        })
    }
}

/// Another file that is replaced atomically and that only its owner can read.
pub(crate) struct ReplacedFile {
    option: &'static str,
    output: OutputFile,
}

impl ReplacedFile {
    /// Checks the file that `option` names.
    ///
    /// # Errors
    ///
    /// A usage error or [`ErrorKind::Io`] if `path` cannot be replaced.
    pub(crate) fn open(option: &'static str, path: &Path) -> Result<Self> {
        Ok(Self { option, output: OutputFile::open(option, path)? })
    }

    /// Replaces the file. Missing directories are created.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`].
    pub(crate) fn write(&self, text: &str) -> Result<()> {
        let OutputFile { shown, file } = &self.output;
        let written = file.temp().and_then(|temp| {
            stdio::write_all(&temp.as_file().try_clone()?, text.as_bytes())?;
            temp.as_file().sync_all()?;
            retry_while_open(|| fs::rename(temp.path(), &file.target))
        });
        written.map_err(|error| failed(self.option, shown, &error))
    }
}

/// Removes the temporary file. A blocked thread may hold it until the program exits, so it is not removed by its drop.
impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(temp) = self.file.temp.get() {
            let _ = fs::remove_file(temp.path());
        }
    }
}

impl PendingFile {
    fn create(&self) -> io::Result<NamedTempFile> {
        if self.creates_dir {
            fs::create_dir_all(&self.dir)?;
        }
        create_temp(&self.dir)
    }

    /// Returns the temporary file, and creates it at the first call.
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

    /// Appends `bytes`. If that fails, prints the content so far and `bytes` on standard output, and all later output too.
    ///
    /// # Errors
    ///
    /// The errors of standard output.
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

/// Creates a temporary file in `dir`. Its name does not contain the file's, which may be as long as names can be.
fn create_temp(dir: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".invoke-persist-").tempfile_in(dir)
}

/// Fails for a file that its owner has protected. Replacing it would not need write permission for the file itself.
#[cfg(unix)]
fn check_writable(file: &Path, metadata: &Metadata) -> io::Result<()> {
    if metadata.permissions().readonly() {
        return Err(io::ErrorKind::PermissionDenied.into()); // also for root
    }
    Ok(rustix::fs::access(file, rustix::fs::Access::WRITE_OK)?)
}

#[cfg(windows)]
fn check_writable(_file: &Path, metadata: &Metadata) -> io::Result<()> {
    if metadata.permissions().readonly() { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
}

fn failed(option: &str, shown: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write {option} {shown}")).with_io_cause(error)
}

#[cfg(all(test, unix))] // elsewhere the name of a removed file may stay until the file is closed
mod tests {
    use super::*;

    #[test]
    fn temporary_file_is_removed_although_a_thread_still_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let output = OutputFile::open(OPTION, &dir.path().join("out")).unwrap();
        let held = Arc::clone(&output.file);
        held.append(b"answer").unwrap();
        drop(output);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
