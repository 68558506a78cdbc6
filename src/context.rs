//! The context of every command: the global options, the output, and the mapping that the options select.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::backend::Backend;
use crate::cli::{self, Global, NormalizedArgs};
use crate::error::{Error, Result};
use crate::paths;
use crate::records::recorder::TurnRecorder;
use crate::store::Store;
use crate::store::location::MappingLocation;
use crate::ui::Ui;

/// The context of a command.
pub(crate) struct Context {
    /// The time at which this program started. Deadlines begin then.
    pub(crate) started: Instant,
    pub(crate) global: Global,
    /// The output.
    pub(crate) ui: Ui,
    /// What is known of the turn of this call.
    pub(crate) turn: TurnRecorder,
    /// The command line with unabbreviated options.
    pub(crate) normalized: NormalizedArgs,
    /// The name that this program was started with.
    pub(crate) program: OsString,
}

/// A workspace, with its path as passed and as resolved.
pub(crate) struct Workspace {
    /// The path that the caller passed, or the current directory.
    pub(crate) shown: String,
    /// The absolute path without symlinks.
    pub(crate) resolved: PathBuf,
    /// Whether an option selected it. The agent then runs there.
    pub(crate) given: bool,
}

impl Workspace {
    /// Returns the absolute path as text.
    pub(crate) fn text(&self) -> &str {
        self.resolved.to_str().expect("checked when it was resolved")
    }

    /// Returns the workspace that `--workspace-dir` selects, or the current directory.
    pub(crate) fn of(given: Option<&Path>) -> Result<Self> {
        let (path, shown) = match given {
            Some(path) => (path.to_owned(), paths::to_text(path)?.to_owned()),
            None => (paths::current_dir()?, String::new()),
        };
        if given.is_some() && shown.trim().is_empty() {
            return Err(Error::usage("--workspace-dir is blank").with_hint("pass a directory, or remove the option"));
        }
        let resolved = paths::resolve(&path).map_err(|error| {
            Error::usage(format!("cannot resolve the workspace {}", path.display())).with_io_cause(&error)
        })?;
        let text = paths::to_text(&resolved)?.to_owned();
        Ok(Self { shown: if given.is_some() { shown } else { text }, resolved, given: given.is_some() })
    }
}

impl Context {
    /// Returns the mapping of `backend` that `place` selects, and the workspace.
    pub(crate) fn store(&self, backend: Backend, place: &cli::LocationArgs) -> Result<(Store, Workspace)> {
        let workspace = Workspace::of(place.workspace_dir.as_deref())?;
        let place = match &place.mapping_file {
            Some(file) => MappingLocation::explicit(file)?,
            None => MappingLocation::of_workspace(backend, &workspace.resolved)?,
        };
        let text = workspace.text().to_owned();
        Ok((Store { backend, location: place, workspace: text, ui: self.ui.clone(), deadline: None }, workspace))
    }
}
