//! When an agent last wrote to its sessions: the times of the files in which it keeps them. No file is opened.

use crate::sort::sort;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// How many names are read at most. A year of heavy use makes fewer files.
const MOST_NAMES: usize = 100_000;

/// Where an agent keeps a file for each session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionFiles {
    /// A directory in the agent's [`Home`](super::Home).
    pub dir: &'static str,
    /// How many levels of directories are between that one and the files.
    pub depth: usize,
    /// Returns the session ID in the name of a file.
    pub id_in: for<'a> fn(name: &'a str) -> Option<&'a str>,
}

/// When each session was last written to, by ID in lower case. `None` if its file was not found.
pub(crate) type WriteTimes = HashMap<String, Option<SystemTime>>;

impl SessionFiles {
    /// Sets when the files of the sessions in `times` were last written, for an agent whose home is `home`.
    pub(crate) fn find(&self, home: &Path, times: &mut WriteTimes) {
        self.search(&home.join(self.dir), self.depth, &mut { MOST_NAMES }, times);
    }

    /// Searches `dir`. Directories named by dates come newest first.
    fn search(&self, dir: &Path, depth: usize, names_left: &mut usize, times: &mut WriteTimes) {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten().take(*names_left);
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        *names_left -= names.len();
        sort(&mut names);
        for name in names.iter().rev() {
            if depth > 0 {
                self.search(&dir.join(name), depth - 1, names_left, times);
                continue;
            }
            let id = name.to_str().and_then(self.id_in).map(str::to_ascii_lowercase);
            if let Some(latest) = id.and_then(|id| times.get_mut(&id))
                && let Ok(metadata) = fs::metadata(dir.join(name))
                && let (true, Ok(written)) = (metadata.is_file(), metadata.modified())
            {
                *latest = (*latest).max(Some(written));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::backend::Backend;

    /// The ID in the names of these tests, which real agents wrote.
    const ID: &str = "0f12c83d-d554-4369-b6d8-9fed035c432c";

    fn write(path: PathBuf, seconds: u64) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        fs::File::create(path).unwrap().set_modified(time).unwrap();
    }

    fn find(backend: Backend, home: &Path) -> Vec<(String, u64)> {
        let mut times = WriteTimes::from([(ID.to_owned(), None)]);
        backend.spec().session_files.find(home, &mut times);
        let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        times.into_iter().filter_map(|(id, time)| Some((id, seconds(time?)))).collect()
    }

    #[test]
    fn latest_file_of_a_session_counts() {
        let home = tempfile::tempdir().unwrap();
        let projects = home.path().join("projects");
        assert!(find(Backend::Claude, home.path()).is_empty());
        write(projects.join(format!("-home-me-other/{ID}.jsonl")), 100);
        write(projects.join(format!("-home-me-project/{}.jsonl", ID.to_uppercase())), 200);
        write(projects.join(format!("-home-me-project/{ID}/subagents/agent-{ID}.jsonl")), 300);
        write(projects.join(format!("-home-me-project/{ID}.jsonl.bak")), 300);
        write(projects.join("-home-me-project/1.jsonl"), 300);
        assert_eq!(find(Backend::Claude, home.path()), [(ID.to_owned(), 200)]);
    }

    #[test]
    fn files_are_below_directories_of_dates() {
        let home = tempfile::tempdir().unwrap();
        let sessions = home.path().join("sessions");
        write(sessions.join(format!("2026/11/21/rollout-2026-11-21T10-55-33-{ID}.jsonl")), 100);
        write(sessions.join(format!("2026/11/21/{ID}.jsonl")), 300);
        write(sessions.join(format!("2026/11/rollout-2026-11-21T10-55-33-{ID}.jsonl")), 300);
        assert_eq!(find(Backend::Codex, home.path()), [(ID.to_owned(), 100)]);
    }
}
