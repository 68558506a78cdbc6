//! `doctor`: is everything there that a call needs? Looks and asks, changes nothing but that it takes and gives back a
//! lock. Each line is ok, a warning (calls work, but …) or an error (calls will fail) with what to do.

mod report;

use std::ffi::OsString;
use std::path::Path;

use self::report::Report;
use crate::agent::command::AgentCommand;
use crate::agent::{login_shell, probe};
use crate::backend::Backend;
use crate::cli;
use crate::context::Context;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::{Key, Lock};
use crate::random;
use crate::store::Store;
use crate::store::format::Mapping;
use crate::store::location::MappingLocation;

pub(super) fn run(context: &Context, options: &cli::Doctor) -> Result<()> {
    let chosen = context.requested_backends()?;
    let mut report = Report::default();
    report.this_program();
    report.agents(&chosen, options)?;
    let mut stores = Vec::new();
    for &backend in &chosen {
        stores.push(context.store(backend, &options.place)?.0);
    }
    report.place(&stores);
    report.login_shell()?;
    report.tell(options.json)
}

impl Report {
    fn this_program(&mut self) {
        let path = std::env::current_exe().map(|path| format!(", {}", path.display())).unwrap_or_default();
        self.ok("program", format!("{} {}{path}", probe::PROGRAM, env!("CARGO_PKG_VERSION")));
    }

    /// One agent will do, unless the caller says which.
    fn agents(&mut self, chosen: &[Backend], options: &cli::Doctor) -> Result<()> {
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
                    let through = if agent.launcher.is_shell() { "through " } else { "" };
                    self.ok(&what, format!("{through}{}", program.display()));
                    if self.version(&agent, &program)? {
                        self.options(&agent, &program)?;
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

    /// Tells whether the agent answered.
    fn version(&mut self, agent: &AgentCommand, program: &Path) -> Result<bool> {
        let what = format!("{}.version", agent.backend);
        let hint = format!("run it by hand: {} --version", agent.launcher.name());
        let answer = match ask(agent, program, &["--version"])? {
            Ok(answer) => answer,
            Err(error) => {
                self.error(&what, &error);
                return Ok(false);
            }
        };
        match (answer.failure(), answer.first_line()) {
            (Some(why), _) => {
                self.error(&what, &Error::new(ErrorKind::Io, why).with_hint(hint));
                return Ok(false);
            }
            (None, Some(version)) => self.ok(&what, version),
            (None, None) => self.warning(&what, "it printed nothing", &hint),
        }
        Ok(true)
    }

    /// Whether the agent's help has every option that we use.
    fn options(&mut self, agent: &AgentCommand, program: &Path) -> Result<()> {
        let what = format!("{}.options", agent.backend);
        let mut missing = Vec::new();
        let mut known = 0;
        for page in agent.backend.spec().help_pages {
            let answer = match ask(agent, program, page.arguments)? {
                Ok(answer) if answer.failure().is_none() => answer,
                Ok(answer) => {
                    let (page, why) = (page.arguments.join(" "), answer.failure().unwrap_or_default());
                    self.warning(&what, format!("'{page}' failed: {why}"), "run it by hand");
                    return Ok(());
                }
                Err(error) => {
                    self.error(&what, &error);
                    return Ok(());
                }
            };
            for option in page.options {
                if has_option(&answer.stdout, option) {
                    known += 1;
                } else {
                    missing.push(format!("{option} ('{}')", page.arguments.join(" ")));
                }
            }
        }
        if known == 0 {
            let error = Error::new(ErrorKind::Io, "its help names no option that is used");
            self.error(&what, &error.with_hint(format!("is '{}' really {}?", agent.launcher.name(), agent.backend)));
        } else if missing.is_empty() {
            self.ok(&what, format!("its help has all {known} that are used"));
        } else {
            let message = format!("its help does not name {}", missing.join(", "));
            self.warning(&what, message, "a call that needs one may fail: another release may have it");
        }
        Ok(())
    }

    fn place(&mut self, stores: &[Store]) {
        let Some(place) = stores.first().map(|store| &store.location) else { return };
        self.lasting(place);
        #[cfg(unix)]
        if let MappingLocation::Default { root, .. } = place {
            self.shared_dir(&root.join(crate::store::location::DIR));
        }
        for store in stores {
            let what = format!("{}.names", store.backend);
            let file = store.path().display();
            match store.read() {
                Ok(None) => self.ok(&what, format!("none yet: {file}")),
                Ok(Some(mapping)) => {
                    let names = Mapping::len(&mapping);
                    self.ok(&what, format!("{names} in {file}{}", owner(store.path())));
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
            Ok(Err(_)) => unreachable!("nobody else has this key"),
            Err(error) => self.error("locks", &no_lock(&error)),
        }
    }

    /// Whether names outlive a reboot.
    fn lasting(&mut self, place: &MappingLocation) {
        let what = "mapping.place";
        let dir = match place {
            MappingLocation::Default { root, .. } => root.clone(),
            MappingLocation::Explicit { resolved, .. } => resolved.parent().unwrap_or(resolved).to_owned(),
        };
        let temp = env::temp_dirs().iter().any(|temp| dir.starts_with(temp));
        let shown = dir.display();
        let hint = format!("set {} to a directory that lasts, or keep the ids elsewhere too", env::DIR);
        if is_in_memory(&dir) {
            self.warning(what, format!("{shown} is in memory: names are gone after a reboot"), &hint);
        } else if temp && !dir.starts_with("/var/tmp") {
            let message = format!("{shown} is a temp directory: names may be gone after a reboot or a clean-up");
            self.warning(what, message, &hint);
        } else {
            self.ok(what, format!("{shown} outlives a reboot"));
        }
    }

    /// The owner of a sticky directory can still rename and remove what is in it.
    #[cfg(unix)]
    fn shared_dir(&mut self, dir: &Path) {
        use std::os::unix::fs::MetadataExt;
        let what = "mapping.owner";
        let me = rustix::process::geteuid().as_raw();
        let shown = dir.display();
        match std::fs::symlink_metadata(dir) {
            Ok(metadata) if metadata.uid() == me => self.ok(what, format!("{shown} is yours")),
            Ok(metadata) => {
                let message = format!("{shown} belongs to user {}, who can take your names away", metadata.uid());
                self.warning(what, message, &format!("set {} to a directory of your own", env::DIR));
            }
            Err(_) => self.ok(what, format!("{shown} is not there yet")),
        }
    }

    fn login_shell(&mut self) -> Result<()> {
        match login_shell::lookup()?.describe() {
            (message, None) => self.ok("login_shell", message),
            (message, Some(hint)) => self.warning("login_shell", message, hint),
        }
        Ok(())
    }
}

/// Asks the agent something that costs nothing. The error inside: it could not be started.
fn ask(agent: &AgentCommand, program: &Path, arguments: &[&str]) -> Result<Result<probe::Response>> {
    let arguments = agent.launcher.arguments(arguments.iter().map(OsString::from).collect())?;
    let set = agent.variables.iter().map(|(key, value)| (key.into(), value.into())).collect();
    let unset = agent.backend.spec().removed_env.iter().map(OsString::from).collect();
    match probe::probe(program, arguments, set, unset) {
        Err(error) if matches!(error.kind, ErrorKind::Interrupted(_)) => Err(error),
        answer => Ok(answer),
    }
}

/// Whether `help` names `option`, and not just a longer one that begins with it.
fn has_option(help: &str, option: &str) -> bool {
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    help.match_indices(option)
        .any(|(at, _)| !help[..at].ends_with(in_word) && !help[at + option.len()..].starts_with(in_word))
}

fn no_lock(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "no lock can be taken")
        .with_io_cause(error)
        .with_hint(format!("set {} to a directory that you can write to", env::DIR))
}

#[cfg(unix)]
fn owner(file: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::geteuid().as_raw();
    match std::fs::metadata(file) {
        Ok(metadata) if metadata.uid() == me => format!(", yours, mode {:04o}", metadata.mode() & 0o7777),
        Ok(metadata) => format!(", of user {}, mode {:04o}", metadata.uid(), metadata.mode() & 0o7777),
        Err(_) => String::new(),
    }
}

/// Windows has no owner that would matter in a temp directory of the user's own.
#[cfg(windows)]
fn owner(_file: &Path) -> String {
    String::new()
}

/// Whether `dir`, or what there is of its path, lies on a file system that a reboot empties.
#[cfg(target_os = "linux")]
fn is_in_memory(dir: &Path) -> bool {
    /// statfs(2): tmpfs and ramfs.
    const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];
    let kind = dir.ancestors().find_map(|dir| rustix::fs::statfs(dir).ok());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "32 bits in a type of the system's own"
    )]
    kind.is_some_and(|kind| IN_MEMORY.contains(&(kind.f_type as u32)))
}

/// Other systems are not asked.
#[cfg(not(target_os = "linux"))]
fn is_in_memory(_dir: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_found_as_a_word_of_its_own() {
        let help = "  -o, --output-last-message <FILE>\n  --json\n  --append-system-prompt[-file]\n";
        for (option, there) in [
            ("--json", true),
            ("-o", true),
            ("--output", false),
            ("--output-last-message", true),
            ("--append-system-prompt", true),
            ("--js", false),
            ("-json", false),
        ] {
            assert_eq!(has_option(help, option), there, "{option}");
        }
    }
}
