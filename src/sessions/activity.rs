//! What is known of sessions beside their entries: when each was last used, and whether a call holds it.
//!
//! The agent's own files have the time, so that it counts if the session was used without this program too. Nothing is
//! written or locked.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::lock::{agent_home, session_key};
use crate::backend::{Backend, WriteTimes};
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
    let mut found: Vec<(Backend, &Path, WriteTimes)> = Vec::new();
    let at = |found: &[(Backend, &Path, WriteTimes)], subject: &Subject<'_>, home: &Path| {
        found.iter().position(|(backend, dir, _)| (*backend, *dir) == (subject.backend, home))
    };
    for (subject, home) in subjects.iter().zip(&homes) {
        let at = at(&found, subject, home).unwrap_or_else(|| {
            found.push((subject.backend, home, WriteTimes::new()));
            found.len() - 1
        });
        found[at].2.insert(key(subject), None);
    }
    for (backend, home, times) in &mut found {
        backend.spec().session_files.find(home, times);
    }
    let activity = |(subject, home): (&Subject<'_>, &PathBuf)| Activity {
        last_used: at(&found, subject, home).and_then(|at| found[at].2.get(&key(subject)).copied().flatten()),
        is_busy: lock::is_held(&session_key(subject.backend, home, subject.id)),
    };
    subjects.iter().zip(&homes).map(activity).collect()
}

/// Returns the ID as its file is looked for.
fn key(subject: &Subject<'_>) -> String {
    subject.id.as_str().to_ascii_lowercase()
}
