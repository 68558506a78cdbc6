//! The programs that read skills, and the directories in which they look (measured with claude 2.1.329 and codex 0.169.0).

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{MAIN_FILE, Skill, name_in};
use crate::backend::{Backend, Home, UserDir};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::paths;

/// For whom a skill is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scope {
    /// In the user's home: for all projects
    User,
    /// In the repository around the current directory, or in that directory
    Project,
}

impl Scope {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Project => "project",
        }
    }
}

/// The directory in which `host` looks for skills of this scope. `here` is the current directory.
pub(crate) fn skills_dir(host: Backend, scope: Scope, here: &Path) -> Result<PathBuf> {
    let dirs = &host.spec().skill_dirs;
    match scope {
        Scope::User => user_dir(host, dirs.user),
        Scope::Project => Ok(project_root(here).join(dirs.project)),
    }
}

/// Whether the user seems to have this host: its program on PATH, or its directory at home.
pub(crate) fn is_available(host: Backend, here: &Path) -> bool {
    let path = env::var_os("PATH");
    paths::find_program(host.name(), path.as_deref(), here).is_ok() || agent_home(host).is_ok_and(|dir| dir.is_dir())
}

/// Every directory in which `host`, started in `here`, finds a skill of this name, for a host that takes none of several.
pub(crate) fn duplicate_skill_dirs(host: Backend, skill: Skill, here: &Path) -> Vec<PathBuf> {
    let Some(dirs) = host.spec().skill_dirs.duplicates else { return Vec::new() };
    let root = project_root(here);
    let up = here.ancestors().take_while(|dir| dir.starts_with(root));
    let mut places: Vec<PathBuf> = up.map(|dir| dir.join(dirs.up_to_root)).collect();
    places.push(root.join(dirs.root));
    places.extend(dirs.user.iter().filter_map(|dir| user_dir(host, *dir).ok()));
    let mut seen = Vec::new();
    let mut copies = Vec::new();
    for place in places {
        let mut dirs: Vec<PathBuf> =
            std::fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        dirs.sort_unstable();
        for dir in dirs {
            let Some(main) = beginning(&dir.join(MAIN_FILE)) else { continue };
            let real = std::fs::canonicalize(&dir).unwrap_or_else(|_| dir.clone());
            if name_in(&main) == Some(skill.name()) && !seen.contains(&real) {
                seen.push(real);
                copies.push(dir);
            }
        }
    }
    copies
}

/// The beginning of a file, where its name and description stand. What is no file, or a link to something else, may be
/// endless: repositories of strangers have skills too.
fn beginning(path: &Path) -> Option<String> {
    const ENOUGH: u64 = 64 << 10;
    if !std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(ENOUGH).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The repository that `here` is in, or `here` itself.
fn project_root(here: &Path) -> &Path {
    here.ancestors().find(|dir| dir.join(".git").exists()).unwrap_or(here)
}

fn user_dir(host: Backend, dir: UserDir) -> Result<PathBuf> {
    Ok(match dir {
        UserDir::Agent(below) => agent_home(host)?.join(below),
        UserDir::Home(below) => home()?.join(below),
    })
}

/// The directory in which an agent keeps what is its own.
fn agent_home(host: Backend) -> Result<PathBuf> {
    let Home { variable, default_dir } = host.spec().home;
    env::var_os(variable).map_or_else(|| Ok(home()?.join(default_dir)), |dir| Ok(PathBuf::from(dir)))
}

fn home() -> Result<PathBuf> {
    let variable = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    env::var_os(variable).map(PathBuf::from).filter(|home| home.is_absolute()).ok_or_else(|| {
        Error::new(ErrorKind::Io, format!("the variable {variable} names no absolute path"))
            .with_hint("set it, or name the directory for skills with --dir")
    })
}
