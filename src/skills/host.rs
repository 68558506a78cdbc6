//! The programs that read skills, and their directories for skills (tested with claude 2.1.330 and codex 0.169.0).

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{MAIN_FILE, Skill, name_in};
use crate::backend::{Backend, Home, UserDir};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::paths;
use crate::sort::sort;

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

/// Returns the directory for skills of `host` and `scope`.
pub(crate) fn skills_dir(host: Backend, scope: Scope, current_dir: &Path) -> Result<PathBuf> {
    let dirs = &host.spec().skill_dirs;
    match scope {
        Scope::User => user_dir(host, dirs.user),
        Scope::Project => Ok(project_root(current_dir).join(with_native_separators(dirs.project))),
    }
}

/// Returns whether this host seems to be installed: its program is on PATH, or its directory exists in the user's home.
pub(crate) fn is_available(host: Backend, current_dir: &Path) -> bool {
    let path = env::var_os("PATH");
    paths::find_program(host.name(), path.as_deref(), current_dir).is_ok()
        || agent_home(host).is_ok_and(|dir| dir.is_dir())
}

/// Returns all directories in which `host`, started in `current_dir`, finds skills. Returns none for a host that
/// accepts several skills of one name.
pub(crate) fn duplicates_dirs(host: Backend, current_dir: &Path) -> Vec<PathBuf> {
    let Some(dirs) = host.spec().skill_dirs.duplicates else { return Vec::new() };
    let root = project_root(current_dir);
    let up_to_root = current_dir.ancestors().take_while(|dir| dir.starts_with(root));
    let mut skills_dirs: Vec<PathBuf> =
        up_to_root.map(|dir| dir.join(with_native_separators(dirs.up_to_root))).collect();
    skills_dirs.push(root.join(with_native_separators(dirs.root)));
    skills_dirs.extend(dirs.user.iter().filter_map(|dir| user_dir(host, *dir).ok()));
    skills_dirs
}

/// Returns all directories in which `host`, started in `current_dir`, finds a skill of this name.
///
/// Returns none for a host that accepts several.
pub(crate) fn duplicate_skill_dirs(host: Backend, skill: Skill, current_dir: &Path) -> Vec<PathBuf> {
    let mut seen = Vec::new();
    let mut found = Vec::new();
    for skills_dir in duplicates_dirs(host, current_dir) {
        let mut dirs: Vec<PathBuf> =
            std::fs::read_dir(skills_dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        sort(&mut dirs);
        for dir in dirs {
            let Some(main) = read_beginning(&dir.join(MAIN_FILE)) else { continue };
            let real = std::fs::canonicalize(&dir).unwrap_or_else(|_| dir.clone());
            if name_in(&main) == Some(skill.name()) && !seen.contains(&real) {
                seen.push(real);
                found.push(dir);
            }
        }
    }
    found
}

/// Reads the beginning of a regular file, which contains the name and the description.
///
/// A repository may come from someone else, so its files may be endless.
pub(super) fn read_beginning(path: &Path) -> Option<String> {
    const ENOUGH: u64 = 64 << 10;
    if !std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(ENOUGH).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the root of the repository around `current_dir`, or `current_dir` itself.
fn project_root(current_dir: &Path) -> &Path {
    current_dir.ancestors().find(|dir| dir.join(".git").exists()).unwrap_or(current_dir)
}

fn user_dir(host: Backend, dir: UserDir) -> Result<PathBuf> {
    Ok(match dir {
        UserDir::Agent(below) => agent_home(host)?.join(below),
        UserDir::Home(below) => home()?.join(with_native_separators(below)),
    })
}

/// Returns a path from an agent's specification as this system prints it.
fn with_native_separators(path: &str) -> PathBuf {
    Path::new(path).components().collect()
}

/// Returns the agent's directory in the user's home.
fn agent_home(host: Backend) -> Result<PathBuf> {
    let Home { variable, default_dir } = host.spec().home;
    env::var_os(variable).map_or_else(|| Ok(home()?.join(default_dir)), |dir| Ok(PathBuf::from(dir)))
}

fn home() -> Result<PathBuf> {
    let variable = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    env::var_os(variable).map(PathBuf::from).filter(|home| home.is_absolute()).ok_or_else(|| {
        Error::new(ErrorKind::Io, format!("the variable {variable} is not an absolute path"))
            .with_hint("set it, or pass the directory for skills with --dir")
    })
}
