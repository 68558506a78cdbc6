//! `doctor`: checks the setup. It calls no model, and changes nothing except for taking and releasing a lock.
//!
//! Each check is ok, a warning (calls work, with a limitation) or an error (calls will fail), with a hint.

mod report;

use std::ffi::OsString;
use std::path::Path;

use self::report::Report;
use crate::agent::command::AgentCommand;
use crate::agent::{login_shell, probe};
use crate::backend::{Backend, Support};
use crate::cli;
use crate::context::{Context, Workspace};
use crate::env;
use crate::error::{Error, ErrorKind, Result, io_message};
use crate::lock::{Key, Lock};
use crate::paths::is_writable;
use crate::random;
use crate::records::dir::RecordDir;
use crate::records::record::{Record, State};
use crate::store::format::Mapping;
use crate::store::location::MappingLocation;
use crate::store::{self, Store};

pub(super) fn run(context: &Context, options: &cli::Doctor) -> Result<()> {
    let chosen = context.requested_backends()?;
    let mut report = Report::default();
    report.check_program();
    report.check_agents(&chosen, options)?;
    let mut stores = Vec::new();
    for &backend in &chosen {
        stores.push(context.store(backend, &options.place)?.0);
    }
    report.check_mappings(&stores);
    report.check_turns(&Workspace::of(options.place.workspace_dir.as_deref())?)?;
    report.check_login_shell()?;
    report.finish(&context.ui, options.json)
}

impl Report {
    fn check_program(&mut self) {
        let path = std::env::current_exe().map(|path| format!(", {}", path.display())).unwrap_or_default();
        self.ok("program", format!("{} {}{path}", probe::PROGRAM, env!("CARGO_PKG_VERSION")));
    }

    /// Checks the agents. A missing agent is an error only if it was requested, or if all are missing.
    fn check_agents(&mut self, chosen: &[Backend], options: &cli::Doctor) -> Result<()> {
        let mut found = Vec::new();
        for &backend in chosen {
            let agent = AgentCommand::new(backend, &options.agent, None)?;
            let program = agent.program(None);
            found.push((agent, program));
        }
        let none = found.iter().all(|(_, program)| program.is_err());
        for (agent, program) in found {
            let backend = agent.backend;
            let what = format!("{backend}.command");
            match program {
                Ok(program) => {
                    let through = if agent.launcher.is_shell() { "in the shell " } else { "" };
                    self.ok(&what, format!("{through}{}", program.display()));
                    if let Some(version) = self.check_version(&agent, &program)? {
                        self.check_options(&agent, &program, &version)?;
                    }
                }
                Err(error) if none || chosen.len() == 1 || agent.launcher.name() != backend.name() => {
                    self.error(&what, &error);
                }
                Err(error) => {
                    let hint = error.hint.clone().unwrap_or_default();
                    self.warning(&what, error.to_single_line(), &hint);
                }
            }
        }
        Ok(())
    }

    /// Returns what the agent printed, or `None` if it did not run.
    fn check_version(&mut self, agent: &AgentCommand, program: &Path) -> Result<Option<String>> {
        let what = format!("{}.version", agent.backend);
        let hint = format!("run '{} --version' to see the error", agent.launcher.name());
        let answer = match run_agent(agent, program, &["--version"])? {
            Ok(answer) => answer,
            Err(error) => {
                self.error(&what, &error);
                return Ok(None);
            }
        };
        match (answer.failure(), answer.first_line()) {
            (Some(why), _) => {
                self.error(&what, &Error::new(ErrorKind::Io, why).with_hint(hint));
                return Ok(None);
            }
            (None, Some(version)) => self.ok(&what, version),
            (None, None) => self.warning(&what, "'--version' printed nothing", &hint),
        }
        Ok(Some(answer.first_line().unwrap_or_default().to_owned()))
    }

    /// Checks what works with this release of the agent.
    fn check_options(&mut self, agent: &AgentCommand, program: &Path, version: &str) -> Result<()> {
        let what = format!("{}.options", agent.backend);
        let spec = agent.backend.spec();
        let mut pages = Vec::new();
        for page in spec.help_pages {
            match run_agent(agent, program, page.arguments)? {
                Ok(answer) if answer.failure().is_none() => pages.push(answer.stdout),
                Ok(answer) => {
                    let (page, why) = (page.arguments.join(" "), answer.failure().unwrap_or_default());
                    self.warning(&what, format!("'{page}' failed: {why}"), "run it to see the error");
                    return Ok(());
                }
                Err(error) => {
                    self.error(&what, &error);
                    return Ok(());
                }
            }
        }
        let support = Support::of(spec, version, &pages);
        if support.is_unknown_program {
            let error = Error::new(ErrorKind::Io, "the help lists none of the required options");
            let hint = format!("check that '{}' is {}", agent.launcher.name(), spec.skill.agent);
            self.error(&what, &error.with_hint(hint));
            return Ok(());
        }
        match support.hint() {
            None => self.ok(&what, support.describe()),
            Some(hint) if support.is_too_old() => {
                self.error(&what, &Error::new(ErrorKind::Io, support.describe()).with_hint(hint));
            }
            Some(hint) => self.warning(&what, support.describe(), &hint),
        }
        Ok(())
    }

    fn check_mappings(&mut self, stores: &[Store]) {
        let Some(place) = stores.first().map(|store| &store.location) else { return };
        self.check_persistence(place);
        #[cfg(unix)]
        if let MappingLocation::Default { root, .. } = place {
            self.check_owner(&root.join(store::location::DIR));
        }
        for store in stores {
            let what = format!("{}.names", store.backend);
            let file = store.path().display();
            match store.read() {
                Ok(None) => self.ok(&what, format!("none yet: {file}")),
                Ok(Some(mapping)) => {
                    let names = Mapping::len(&mapping);
                    self.ok(&what, format!("{names} in {file}{}", owner(store.path())));
                    self.check_settings(store, &mapping);
                }
                Err(error) => self.error(&what, &error.into()),
            }
        }
        match stores.iter().try_for_each(Store::check_writable) {
            Ok(()) => self.ok("mapping.writable", "names can be saved"),
            Err(error) => self.error("mapping.writable", &error.into()),
        }
        match Lock::try_take(&Key::new(&[b"doctor", random::token().as_bytes()])) {
            Ok(Ok(lock)) => {
                let dirs: Vec<String> = lock.dirs().map(|dir| dir.display().to_string()).collect();
                self.ok("locks", dirs.join(", "));
            }
            Ok(Err(_)) => unreachable!("the key is random"),
            Err(error) => self.error("locks", &lock_error(&error)),
        }
    }

    /// Checks whether later calls can use the settings that names keep. Only the first problem is reported.
    fn check_settings(&mut self, store: &Store, mapping: &Mapping) {
        let what = format!("{}.settings", store.backend);
        let mut kept = 0;
        for (name, entry) in mapping.entries() {
            let settings = match store.settings(mapping, &entry) {
                Ok(Some(settings)) => settings,
                Ok(None) => continue,
                Err(store::Error::InvalidSettings { why, .. }) => {
                    let hint = "remove them with set-session --unset all";
                    return self.warning(&what, format!("the settings of '{name}' are invalid: {why}"), hint);
                }
                Err(error) => return self.error(&what, &error.into()),
            };
            if let Some(file) = settings.env_file.filter(|file| !Path::new(file).exists()) {
                let hint = "change it with set-session --env-file FILE, or remove it with --unset env-file";
                return self.warning(&what, format!("the environment file of '{name}' is missing: {file}"), hint);
            }
            kept += 1;
        }
        match kept {
            0 => {}
            1 => self.ok(&what, "1 name keeps settings"),
            _ => self.ok(&what, format!("{kept} names keep settings")),
        }
    }

    /// Checks where the records of turns are, whether they can be written, and whether turns were lost.
    fn check_turns(&mut self, workspace: &Workspace) -> Result<()> {
        let what = "turns.records";
        let hint = format!("set {} to a directory that you can write to", env::variable_of_state_dir());
        let Some(dir) = RecordDir::of_workspace(&workspace.resolved)? else {
            self.warning(what, "turns have no records, because the home directory is unknown", &hint);
            return Ok(());
        };
        let path = dir.path();
        let shown = path.display();
        let exists = match dir.check() {
            Ok(exists) => exists,
            Err(error) => {
                self.warning(what, format!("turns have no records: {}", io_message(&error)), &hint);
                return Ok(());
            }
        };
        let existing = path.ancestors().find(|dir| dir.exists()).unwrap_or(path);
        if !existing.is_dir() || !is_writable(existing) {
            self.warning(what, format!("turns have no records: {} is not writable", existing.display()), &hint);
        } else if env::var_os(env::RECORD).is_some_and(|value| value == "0") {
            self.ok(what, format!("off, because {} is 0", env::RECORD));
        } else if !exists {
            self.ok(what, format!("none yet: {shown}"));
        } else {
            self.ok(what, format!("{} in {shown}", dir.ids().len()));
        }
        let lost: Vec<Record> =
            dir.ids().iter().filter_map(|id| dir.read(id)).filter(|record| record.state == State::Lost).collect();
        if let Some(newest) = lost.first() {
            let id = newest.turn_id.as_deref().unwrap_or_default();
            let many = if lost.len() == 1 {
                "one turn was lost".to_owned()
            } else {
                format!("{} turns were lost", lost.len())
            };
            let hint = "list them with 'invoke-persist list-turns --state lost'";
            self.warning("turns.lost", format!("{many}, the last one {id}: its process ended without a result"), hint);
        }
        Ok(())
    }

    /// Checks whether names survive a reboot.
    fn check_persistence(&mut self, place: &MappingLocation) {
        let what = "mapping.place";
        let (dir, variable) = match place {
            MappingLocation::Default { root, private_root, .. } => {
                (root.clone(), Some(root).filter(|_| !private_root).and_then(|root| env::variable_of_temp_dir(root)))
            }
            MappingLocation::Explicit { resolved, .. } => (resolved.parent().unwrap_or(resolved).to_owned(), None),
        };
        let temp = env::temp_dirs().iter().any(|temp| dir.starts_with(temp));
        let shown = dir.display();
        let hint = format!("set {} to a persistent directory, or also keep the session IDs elsewhere", env::DIR);
        if is_in_memory(&dir) {
            self.warning(what, format!("{shown} is in memory: a reboot removes the names"), &hint);
        } else if let Some(variable) = variable {
            let message =
                format!("{shown} is the value of {variable}: a call with another {variable} does not find the names");
            self.warning(what, message, &hint);
        } else if temp && !dir.starts_with("/var/tmp") {
            let message = format!("{shown} is a temporary directory: a reboot or cleanup may remove the names");
            self.warning(what, message, &hint);
        } else {
            self.ok(what, format!("{shown} survives a reboot"));
        }
    }

    /// The owner of a sticky directory can still rename and remove what is in it.
    #[cfg(unix)]
    fn check_owner(&mut self, dir: &Path) {
        use std::os::unix::fs::MetadataExt;
        let what = "mapping.owner";
        let me = rustix::process::geteuid().as_raw();
        let shown = dir.display();
        match std::fs::symlink_metadata(dir) {
            Ok(metadata) if metadata.uid() == me => self.ok(what, format!("{shown} belongs to you")),
            Ok(metadata) => {
                let message = format!("{shown} belongs to user {}, who can remove your names", metadata.uid());
                self.warning(what, message, &format!("set {} to a directory that you own", env::DIR));
            }
            Err(_) => self.ok(what, format!("{shown} does not exist yet")),
        }
    }

    fn check_login_shell(&mut self) -> Result<()> {
        match login_shell::lookup()?.describe() {
            (message, None) => self.ok("login_shell", message),
            (message, Some(hint)) => self.warning("login_shell", message, hint),
        }
        Ok(())
    }
}

/// Runs the agent without a turn. The inner error means that it could not be started.
fn run_agent(agent: &AgentCommand, program: &Path, arguments: &[&str]) -> Result<Result<probe::Response>> {
    let arguments = agent.launcher.arguments(arguments.iter().map(OsString::from).collect())?;
    let set = agent.variables.iter().map(|(key, value)| (key.into(), value.into())).collect();
    let unset = agent.backend.spec().removed_env.iter().map(OsString::from).collect();
    match probe::run(program, arguments, set, unset) {
        Err(error) if matches!(error.kind, ErrorKind::Interrupted(_)) => Err(error),
        answer => Ok(answer),
    }
}

fn lock_error(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot take a lock")
        .with_io_cause(error)
        .with_hint(format!("set {} to a writable directory", env::DIR))
}

#[cfg(unix)]
fn owner(file: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::geteuid().as_raw();
    match std::fs::metadata(file) {
        Ok(metadata) if metadata.uid() == me => format!(", owned by you, mode {:04o}", metadata.mode() & 0o7777),
        Ok(metadata) => format!(", owned by user {}, mode {:04o}", metadata.uid(), metadata.mode() & 0o7777),
        Err(_) => String::new(),
    }
}

/// Returns an empty text, because the temporary directory is private to the user on Windows.
#[cfg(windows)]
fn owner(_file: &Path) -> String {
    String::new()
}

/// Returns whether `dir`, or its nearest existing parent, is on a file system in memory.
#[cfg(target_os = "linux")]
fn is_in_memory(dir: &Path) -> bool {
    /// statfs(2): tmpfs and ramfs.
    const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];
    let kind = dir.ancestors().find_map(|dir| rustix::fs::statfs(dir).ok());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the value has 32 bits, whatever its type"
    )]
    kind.is_some_and(|kind| IN_MEMORY.contains(&(kind.f_type as u32)))
}

/// Always false, because other systems are not checked.
#[cfg(not(target_os = "linux"))]
fn is_in_memory(_dir: &Path) -> bool {
    false
}
