//! `--output-file`: what would go to standard output goes into a file, for callers whose shell lets them redirect
//! nothing. The file changes in one step, at the end, and is its user's alone.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tempfile::NamedTempFile;

use super::stdio;
use crate::error::{Error, ErrorKind, Result};
use crate::paths;

/// What stands for standard output in the place of a path.
const STANDARD_OUTPUT: &str = "-";

/// Runs `call`, whose standard output becomes the content of `path`, if there is one.
///
/// What a failed call has printed is kept too: a stream up to where it ended, an answer from another session. A call that
/// printed nothing and failed leaves what was there.
pub(crate) fn redirected(path: Option<&Path>, call: impl FnOnce() -> Result<()>) -> Result<()> {
    let Some(path) = path.filter(|path| *path != Path::new(STANDARD_OUTPUT)) else { return call() };
    let output = OutputFile::open(path)?; // before anything is paid for
    let done = call();
    let placed = if done.is_ok() || output.holds_something() { output.put_in_place() } else { Ok(()) };
    match (done, placed) {
        (Ok(()), placed) => placed,
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(lost)) => Err(error.caused_by(lost.to_single_line())),
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
    dir: PathBuf,
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
        // resolved, `new/` and `new/.` would be a file `new`
        if matches!(shown.rsplit(std::path::is_separator).next(), Some("" | "." | "..")) {
            return refused("names a directory");
        }
        let target = paths::resolve_unplanted(path).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => failed(error).with_hint("name a file in a directory of your own"),
            _ => failed(error),
        })?;
        match fs::symlink_metadata(&target) {
            Ok(metadata) if metadata.is_dir() => return refused("is a directory"),
            Ok(metadata) if !metadata.is_file() => return refused("is no regular file"),
            Ok(metadata) if stdio::is_standard_stream(&metadata) => return refused("is one of the standard streams"),
            Ok(metadata) => check_writable(&target, &metadata).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let Some(dir) = target.parent().map(Path::to_owned) else { return refused("names no file") };
        let temp = Arc::new(Temp { target, dir, file: OnceLock::new() });
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
            let error = failed(&self.shown, &error).with_turn_started();
            match temp.open().and_then(|mut file| copy_to_standard_output(&mut file)) {
                Ok(()) => error.with_hint("what belongs there went to standard output"),
                Err(_) => error,
            }
        })
    }
}

impl Temp {
    fn make(&self) -> io::Result<NamedTempFile> {
        // without the file's name, which may be as long as names can be
        tempfile::Builder::new().prefix(".invoke-persist-").tempfile_in(&self.dir)
    }

    fn open(&self) -> io::Result<File> {
        if self.file.get().is_none() {
            let _ = self.file.set(self.make()?);
        }
        self.file.get().expect("it was just made").as_file().try_clone()
    }
}

/// Fails for a file that its user protects from being written. To replace it takes no right to the file itself.
#[cfg(unix)]
fn check_writable(file: &Path, _metadata: &Metadata) -> io::Result<()> {
    Ok(rustix::fs::access(file, rustix::fs::Access::WRITE_OK)?)
}

#[cfg(windows)]
fn check_writable(_file: &Path, metadata: &Metadata) -> io::Result<()> {
    if metadata.permissions().readonly() { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
}

fn copy_to_standard_output(file: &mut File) -> io::Result<()> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    stdio::print_to_real_stdout(&bytes)
}

fn failed(shown: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("--output-file {shown} cannot be written")).with_io_cause(error)
}
