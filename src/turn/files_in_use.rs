//! Refuses a file for output that the call also reads or writes.

use std::path::{Path, PathBuf};

use super::options::TurnOptions;
use crate::cli;
use crate::env;
use crate::error::{Error, Result};
use crate::paths;
use crate::store::Store;

/// The files that a call reads and writes, besides the mapping.
pub(crate) struct FilesInUse<'a>(Vec<(&'static str, &'a Path)>);

impl<'a> FilesInUse<'a> {
    /// Returns the files of a call with these options.
    pub(crate) fn of(options: &'a TurnOptions, others: &[(&'static str, Option<&'a Path>)]) -> Self {
        let env_file = ("the file of --env-file", options.in_force.env_file.as_deref().map(Path::new));
        let files = others.iter().copied().chain([env_file]);
        let files = files.filter_map(|(what, file)| Some((what, file?)));
        Self(files.filter(|(_, file)| *file != Path::new("-")).collect()) // a standard stream
    }

    /// Fails if the file of `--summary-file` is one of the files, the mapping, or the log.
    pub(crate) fn refuse_summary(&self, options: &cli::CallArgs, store: &Store) -> Result<()> {
        options.summary_file.iter().try_for_each(|file| self.refuse("--summary-file", file, store))
    }

    /// Fails if `file`, which `option` names, would replace one of the files, the mapping, or the log.
    pub(crate) fn refuse(&self, option: &str, file: &Path, store: &Store) -> Result<()> {
        let resolved = paths::resolve(file).ok();
        let is_same = |other: &Path| resolved.is_some() && paths::resolve(other).ok() == resolved;
        let log = env::var_os(env::LOG).map(PathBuf::from).filter(|log| log != Path::new("-"));
        let used_as = if store.would_be_replaced_by(file) {
            Some("the mapping")
        } else if log.is_some_and(|log| is_same(&log)) {
            Some("the log")
        } else {
            self.0.iter().find(|(_, other)| is_same(other)).map(|(what, _)| *what)
        };
        let Some(used_as) = used_as else { return Ok(()) };
        Err(Error::usage(format!("{option} {} is {used_as}", file.display()))
            .with_hint(format!("choose another file, such as {option} new.txt")))
    }
}
