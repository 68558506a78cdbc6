//! The programs that read skills, and the folders in which they look (measured with claude 2.1.329 and codex 0.169.0).

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{MAIN_FILE, Skill, name_in};
use crate::backend::Backend;
use crate::env;
use crate::error::{Error, Kind, Result};

/// For whom a skill is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scope {
    /// In the user's home: for all projects
    User,
    /// In the repository around the current folder, or in that folder
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

/// The folder in which `host` looks for skills of this scope. `here` is the current folder.
pub(crate) fn skills_folder(host: Backend, scope: Scope, here: &Path) -> Result<PathBuf> {
    Ok(match (host, scope) {
        (Backend::Claude, Scope::User) => claude_home()?.join("skills"),
        (Backend::Codex, Scope::User) => home()?.join(".agents").join("skills"),
        (Backend::Claude, Scope::Project) => project_root(here).join(".claude").join("skills"),
        (Backend::Codex, Scope::Project) => project_root(here).join(".agents").join("skills"),
    })
}

/// Whether the user seems to have this host: its program on PATH, or its folder at home.
pub(crate) fn is_there(host: Backend, here: &Path) -> bool {
    let path = env::raw("PATH");
    let folder = match host {
        Backend::Claude => claude_home(),
        Backend::Codex => codex_home(),
    };
    crate::launcher::find(host.name(), path.as_deref(), here).is_ok() || folder.is_ok_and(|folder| folder.is_dir())
}

/// Every folder in which codex, started in `here`, sees a skill of this name. Of more than one it takes none.
pub(crate) fn copies_codex_sees(skill: Skill, here: &Path) -> Vec<PathBuf> {
    let root = project_root(here);
    let up = here.ancestors().take_while(|folder| folder.starts_with(root));
    let mut places: Vec<PathBuf> = up.map(|folder| folder.join(".agents").join("skills")).collect();
    places.push(root.join(".codex").join("skills"));
    places.extend(home().map(|home| home.join(".agents").join("skills")));
    places.extend(codex_home().map(|home| home.join("skills")));
    let mut seen = Vec::new();
    let mut copies = Vec::new();
    for place in places {
        let mut folders: Vec<PathBuf> =
            std::fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        folders.sort_unstable();
        for folder in folders {
            let Some(main) = beginning(&folder.join(MAIN_FILE)) else { continue };
            let real = std::fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone());
            if name_in(&main) == Some(skill.name()) && !seen.contains(&real) {
                seen.push(real);
                copies.push(folder);
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
    here.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(here)
}

fn claude_home() -> Result<PathBuf> {
    env::raw("CLAUDE_CONFIG_DIR").map_or_else(|| Ok(home()?.join(".claude")), |folder| Ok(PathBuf::from(folder)))
}

fn codex_home() -> Result<PathBuf> {
    env::raw("CODEX_HOME").map_or_else(|| Ok(home()?.join(".codex")), |folder| Ok(PathBuf::from(folder)))
}

fn home() -> Result<PathBuf> {
    let variable = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    env::raw(variable).map(PathBuf::from).filter(|home| home.is_absolute()).ok_or_else(|| {
        Error::new(Kind::Io, format!("the variable {variable} names no absolute path"))
            .hint("set it, or name the folder for skills with --dir")
    })
}
