//! What is known of sessions beside their entries: when each was last used, and whether a call holds it.
//!
//! The agent's own files have the time, so that it counts if the session was used without this program too. Nothing is
//! written or locked.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::lock::{agent_home, session_key};
use crate::backend::Backend;
use crate::env;
use crate::lock;
use crate::session::AgentSessionId;

/// A stored session, and the directory in which its agent runs.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) backend: Backend,
    pub(crate) dir: Option<&'a Path>,
    pub(crate) id: &'a AgentSessionId,
}

/// What is known of one session; `None` if it cannot be known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Activity {
    pub(crate) last_used: Option<SystemTime>,
    pub(crate) is_busy: Option<bool>,
}

/// Returns what is known of each of these sessions, in their order.
pub(crate) fn activities(subjects: &[Subject<'_>]) -> Vec<Activity> {
    let homes: Vec<PathBuf> = subjects
        .iter()
        .map(|subject| agent_home(subject.backend, env::var_os, subject.dir.filter(|dir| dir.is_absolute())))
        .collect();
    let mut wanted: HashMap<(Backend, &Path), HashSet<String>> = HashMap::new();
    for (subject, home) in subjects.iter().zip(&homes) {
        wanted.entry((subject.backend, home)).or_default().insert(subject.id.as_str().to_ascii_lowercase());
    }
    let found: HashMap<_, _> = wanted
        .into_iter()
        .map(|((backend, home), ids)| {
            let times = backend.spec().session_files.last_written(home, |id| ids.contains(id));
            ((backend, home), times)
        })
        .collect();
    let activity = |(subject, home): (&Subject<'_>, &PathBuf)| {
        let times = &found[&(subject.backend, home.as_path())];
        Activity {
            last_used: times.get(&subject.id.as_str().to_ascii_lowercase()).copied(),
            is_busy: lock::is_held(&session_key(subject.backend, home, subject.id)),
        }
    };
    subjects.iter().zip(&homes).map(activity).collect()
}
