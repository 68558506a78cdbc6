//! Decides which agent a call is for: the first of many sources that names one (contract section 1).

use std::ffi::OsStr;
use std::path::Path;

use crate::backend::Backend;
use crate::cli;
use crate::context::Context;
use crate::env;
use crate::error::{Error, Result};
use crate::paths;
use crate::session::{SessionName, trim};
use crate::sessions::selector::SessionSelector;
use crate::sessions::suggest::{did_you_mean, found_above, similar_names};

/// Returns the backend that the environment names, else the name under which this program was started: a link
/// `claude-sessions` is for claude.
pub(crate) fn default_backend(program: &OsStr) -> Result<Option<Backend>> {
    if let Some(backend) = backend_in_environment()? {
        return Ok(Some(backend));
    }
    let name = Path::new(program).file_name().and_then(OsStr::to_str).unwrap_or_default();
    Ok(Backend::ALL.into_iter().find(|backend| name.starts_with(&format!("{backend}-"))))
}

/// Returns the backend that `INVOKE_PERSIST_BACKEND` names.
fn backend_in_environment() -> Result<Option<Backend>> {
    let name = env::BACKEND;
    let Some(value) = env::var(name)? else { return Ok(None) };
    Backend::from_name(trim(&value)).map(Some).ok_or_else(|| {
        Error::usage(format!("{name} is '{}', which is not a backend", trim(&value)))
            .with_hint(format!("set {name} to {}, or unset it", Backend::names()))
    })
}

/// Lists several backends in a sentence.
fn list(backends: &[Backend]) -> String {
    backends.iter().map(|backend| backend.name()).collect::<Vec<_>>().join(" and ")
}

impl Context {
    /// Returns the backend that `--backend`, the environment, a link or an option of one backend alone selects.
    ///
    /// # Errors
    ///
    /// A usage error for options of different backends.
    pub(crate) fn selected_backend(&self) -> Result<Option<Backend>> {
        let owners = self.backends_implied_by_options();
        match (self.named_backend()?, owners.as_slice()) {
            (Some(backend), owners) => match owners.iter().find(|(other, _)| *other != backend) {
                Some((other, option)) => {
                    Err(Error::usage(format!("--{option} is a {other} option, but the backend is {backend}"))
                        .with_hint(format!("remove it, or use --backend {other}")))
                }
                None => Ok(Some(backend)),
            },
            (None, []) => Ok(None),
            (None, [(only, _)]) => Ok(Some(*only)),
            (None, [(one, first), (other, second), ..]) => Err(Error::usage(format!(
                "--{first} is a {one} option and --{second} is a {other} option, but a call is for one agent"
            ))),
        }
    }

    /// Returns the backends that options name, for a command that can be about several; all if they name none.
    pub(crate) fn requested_backends(&self) -> Result<Vec<Backend>> {
        let owners = self.backends_implied_by_options();
        Ok(match self.named_backend()? {
            Some(_) => self.selected_backend()?.into_iter().collect(),
            None if owners.is_empty() => Backend::ALL.to_vec(),
            None => owners.into_iter().map(|(backend, _)| backend).collect(),
        })
    }

    /// Returns the backend that `--backend`, the environment or the program's name names.
    fn named_backend(&self) -> Result<Option<Backend>> {
        match self.global.backend {
            Some(backend) => Ok(Some(backend)),
            None => default_backend(&self.program),
        }
    }

    /// Returns the backends of which an option is used that no other has, each with that option.
    fn backends_implied_by_options(&self) -> Vec<(Backend, &str)> {
        let command = self.normalized.command.as_deref().unwrap_or_default();
        let owned = |backend: Backend| {
            let option = self.normalized.options.iter().find(|option| (backend.spec().owns_option)(command, option))?;
            Some((backend, option.as_str()))
        };
        Backend::ALL.into_iter().filter_map(owned).collect()
    }

    /// Returns the backend, from every source that may name it. `subject` is the session that the command is about.
    ///
    /// # Errors
    ///
    /// A usage error if no source names one, or several backends have the session.
    pub(crate) fn backend(&self, place: &cli::LocationArgs, subject: Option<&SessionSelector>) -> Result<Backend> {
        if let Some(backend) = self.selected_backend()? {
            return Ok(backend);
        }
        let mut holders = Vec::new();
        if let Some(subject) = subject {
            for backend in Backend::ALL {
                if self.holds(backend, place, subject)? {
                    holders.push(backend);
                }
            }
        }
        let decides = |candidates: Vec<Backend>| if let [only] = candidates[..] { Some(only) } else { None };
        let either = format!("add {}", Backend::ALL.map(|backend| format!("--backend {backend}")).join(" or "));
        if holders.len() > 1 {
            return Err(Error::usage(format!("{} have a session of that name or ID", list(&holders))).with_hint(either));
        }
        let with_command = || {
            Backend::ALL.into_iter().filter(|backend| matches!(env::var(backend.spec().command_variable), Ok(Some(_))))
        };
        let path = env::var_os("PATH");
        let dir = paths::current_dir().unwrap_or_default();
        let on_path = || {
            Backend::ALL
                .into_iter()
                .filter(|backend| paths::find_program(backend.name(), path.as_deref(), &dir).is_ok())
        };
        decides(holders)
            .or_else(|| decides(with_command().collect()))
            .or_else(|| decides(on_path().collect()))
            .ok_or_else(|| {
                let name = subject.and_then(|subject| subject.name.as_ref());
                let error = Error::usage(format!("cannot infer which agent to use, {}", Backend::names()));
                if let Some(above) = name.and_then(|name| self.found_above(place, name)) {
                    return error.with_hint(above);
                }
                let meant = name.map(|name| self.meant_names(place, name)).unwrap_or_default();
                error.with_hint(format!("{meant}{either}, or set {}", env::BACKEND))
            })
    }

    /// Returns a hint about a directory above the current one in which a session of any backend has this name.
    fn found_above(&self, place: &cli::LocationArgs, name: &SessionName) -> Option<String> {
        if place.mapping_file.is_some() || place.workspace_dir.is_some() {
            return None;
        }
        let workspace = paths::resolve(&paths::current_dir().ok()?).ok()?;
        found_above(&Backend::ALL, &workspace, name, &self.ui)
    }

    /// Returns a question about names of all backends that are similar to `name`; nothing if there are none.
    fn meant_names(&self, place: &cli::LocationArgs, name: &SessionName) -> String {
        let similar = Backend::ALL.into_iter().filter_map(|backend| {
            let mapping = self.store(backend, place).ok()?.0.read().ok()??;
            Some(similar_names(&mapping, name).into_iter().map(move |name| format!("{name} ({backend})")))
        });
        did_you_mean(&similar.flatten().collect::<Vec<_>>())
    }

    /// Returns whether the mapping of `backend` has the session. A mapping that cannot be read has none here; using it
    /// reports that.
    fn holds(&self, backend: Backend, place: &cli::LocationArgs, subject: &SessionSelector) -> Result<bool> {
        let Ok(Some(mapping)) = self.store(backend, place)?.0.read() else {
            return Ok(false);
        };
        Ok(match (&subject.id, &subject.name) {
            // in a file that the caller named, the key of the ID says whose an entry is, not the file's name
            (Some(id), _) if place.mapping_file.is_some() => mapping
                .entries()
                .any(|(name, _)| mapping.id_of(&SessionName::verbatim(name), backend).as_ref() == Some(id)),
            (None, Some(name)) if place.mapping_file.is_some() => mapping.id_of(name, backend).is_some(),
            (Some(id), _) => mapping.find(id).is_some(),
            (None, Some(name)) => mapping.get(name).is_some(),
            (None, None) => false,
        })
    }
}
