//! Collects what is known of the turn of this call, for its summary and its record.

use std::io;
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::value::RawValue;

use super::dir::RecordDir;
use super::live::LiveRecord;
use super::record::{Record, shortened};
use crate::backend::{Backend, SessionMode, Tokens, Usage};
use crate::env;
use crate::error::{Error, ErrorKind, Result, io_message};
use crate::session::{AgentSessionId, SessionName};
use crate::sys;
use crate::time::now;
use crate::ui::json::to_line;
use crate::ui::{Ui, stdio};

/// Collects what is known of the turn of a call. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct TurnRecorder(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    facts: TurnFacts,
    live: Option<LiveRecord>,
    /// Set until the record is created: where its errors are reported.
    uncreated: Option<Ui>,
    /// Whether the caller of a detached turn has its record.
    accepted: bool,
    /// Whether the call was a turn, after its end.
    is_turn: bool,
    /// The directory of the record, even without a record.
    dir: Option<RecordDir>,
    usage: Usage,
    /// What the session had used before this turn.
    before: SessionUse,
    /// What waits until the agent was started.
    deferred: bool,
}

/// What a session had used before a turn.
#[derive(Debug)]
enum SessionUse {
    /// `None`: unknown.
    Found(Option<SessionTotals>),
    /// The records of the turns before have it.
    Resumed(Backend, AgentSessionId),
}

/// What is known of a turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct TurnFacts {
    pub(crate) record: Record,
    /// How the session was found. See [`crate::sessions::lookup::StoredSession`].
    pub(crate) source: Option<String>,
    pub(crate) answer: Option<String>,
    pub(crate) structured_answer: Option<Box<RawValue>>,
}

/// How the report of a detached turn begins. No output of a call begins with it.
pub(crate) const ACCEPTED: &str = "\0accepted\n";

/// What a session had used at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct SessionTotals {
    tokens: Option<Tokens>,
    cost: Option<f64>,
}

impl Default for TurnRecorder {
    /// Returns the recorder of a call that runs no turn.
    fn default() -> Self {
        Self::new(Instant::now())
    }
}

impl TurnRecorder {
    /// Creates the recorder of a call that began at `started`.
    pub(crate) fn new(started: Instant) -> Self {
        let record = Record { started_at: Some(now()), ..Record::default() };
        let facts = TurnFacts { record, ..TurnFacts::default() };
        Self(Arc::new(Mutex::new(Inner {
            started,
            facts,
            live: None,
            uncreated: None,
            accepted: false,
            is_turn: true,
            dir: None,
            usage: Usage::default(),
            before: SessionUse::Found(None),
            deferred: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known. The record is written if that changes it.
    pub(crate) fn update(&self, change: impl FnOnce(&mut TurnFacts)) {
        let mut inner = self.lock();
        let before = inner.live.is_some().then(|| inner.facts.record.clone());
        change(&mut inner.facts);
        if before.is_some_and(|before| before != inner.facts.record) {
            inner.write();
        }
    }

    /// Changes what is known when the agent is about to be started. The record is created now, in one write, if the call
    /// did not wait.
    pub(crate) fn update_at_start(&self, change: impl FnOnce(&mut TurnFacts)) {
        let mut inner = self.lock();
        change(&mut inner.facts);
        if !inner.create_if_missing() {
            inner.write();
        }
        inner.deferred = true;
    }

    /// Does what was deferred until the agent was started: the agent needs much longer for its own start.
    pub(crate) fn agent_started(&self) {
        let mut inner = self.lock();
        if !mem::take(&mut inner.deferred) {
            return;
        }
        inner.find_totals();
        if inner.live.is_some() && inner.facts.record.tries == 1 {
            inner.dir.iter().for_each(RecordDir::prune);
        }
    }

    /// Marks the turn as detached.
    pub(crate) fn set_detached(&self) {
        self.lock().facts.record.detached = true;
    }

    /// Returns whether the turn has a record that others can read.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().live.is_some()
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.lock().facts.record.detached
    }

    /// Prepares the record of the turn. That of a detached turn is created now. Others are created as soon as the call
    /// waits, or its agent is about to be started.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] for a detached turn, which cannot be found without its record. For other turns, an error is a
    /// note.
    pub(crate) fn open(&self, workspace: &Path, prompt: &[u8], ui: &Ui) -> Result<()> {
        let mut inner = self.lock();
        let needed = inner.facts.record.detached;
        inner.dir = RecordDir::of_workspace(workspace)?;
        if inner.dir.is_none() {
            return if needed { Err(cannot_detach("the home directory is unknown")) } else { Ok(()) };
        }
        inner.facts.record.prompt = Some(shortened(prompt));
        if needed {
            return inner.create().map_err(|why| cannot_detach(&why));
        }
        if env::var_os(env::RECORD).is_none_or(|value| value != "0") {
            inner.uncreated = Some(ui.clone());
        }
        Ok(())
    }

    /// Creates the record of a turn that waits.
    pub(crate) fn create(&self) {
        self.lock().create_if_missing();
    }

    /// Reports to the caller of a detached turn that the turn is accepted, as [`ACCEPTED`] and the record. From now on,
    /// the output of this process is in files beside the record. Does nothing for another turn, or if it is accepted
    /// already.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] if the files cannot be created, or if the caller is gone.
    pub(crate) fn accept(&self, ui: &Ui) -> Result<()> {
        let mut inner = self.lock();
        if !inner.facts.record.detached || mem::replace(&mut inner.accepted, true) {
            return Ok(());
        }
        let accepted = inner.live.as_ref().ok_or(io::ErrorKind::NotFound.into()).and_then(|live| {
            let (stdout, stderr) = live.create_outputs(&ui.take_stderr_copy())?;
            let caller = stdio::stdout()?;
            sys::replace_standard_streams(&stdout, &stderr)?; // nothing can fail after the report
            sys::outlive_parent();
            let report = format!("{ACCEPTED}{}\n", to_line(&inner.facts.record));
            stdio::write_all(&caller, report.as_bytes())
        });
        accepted.map_err(|error| {
            if let Some(live) = inner.live.take() {
                live.discard();
            }
            cannot_detach(&io_message(&error))
        })
    }

    /// Sets the session of the turn, for the count of what it used. Only the holder of the session may call this.
    pub(crate) fn begin(&self, backend: Backend, session: SessionMode<'_>) {
        self.lock().before = match session {
            SessionMode::New => {
                SessionUse::Found(Some(SessionTotals { tokens: Some(Tokens::default()), cost: Some(0.0) }))
            }
            SessionMode::Resume(id) => SessionUse::Resumed(backend, id.clone()),
            SessionMode::Fork(_) => SessionUse::Found(None), // it may begin with the totals of the original
        };
    }

    /// Records what the agent reported about its use.
    pub(crate) fn used(&self, usage: Usage) {
        self.lock().usage = usage;
    }

    /// Sets the outcome of the call. Returns what is known of its turn.
    pub(crate) fn set_outcome(&self, outcome: std::result::Result<i32, &Error>) -> TurnFacts {
        let mut inner = self.lock();
        inner.count();
        let elapsed = inner.started.elapsed();
        let record = &mut inner.facts.record;
        record.set_outcome(outcome);
        record.ended_at = Some(now());
        record.duration_seconds = Some((elapsed.as_secs_f64() * 1000.0).round() / 1000.0);
        // a call that kept the existing session, or did not get it, is not a turn
        inner.is_turn = match outcome {
            Ok(_) => inner.facts.record.tries > 0,
            Err(error) => error.turn.started || !is_refusal(error.kind),
        };
        if inner.is_turn {
            inner.create_if_missing();
        }
        inner.facts.clone()
    }

    /// Writes the outcome to the record, after all output of the call.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        let Some(live) = inner.live.take() else { return };
        let is_detached = inner.facts.record.detached;
        if inner.accepted || inner.is_turn && !is_detached {
            live.end(&inner.facts.record, is_detached);
        } else {
            live.discard();
        }
    }
}

impl TurnFacts {
    pub(crate) fn set_session(&mut self, name: Option<&SessionName>, id: Option<&AgentSessionId>) {
        self.record.alias = name.map(|name| name.as_str().to_owned());
        self.record.session_id = id.map(|id| id.as_str().to_owned());
    }
}

impl Inner {
    /// Creates the record unless that was done, or is not wanted. Returns whether it was created.
    fn create_if_missing(&mut self) -> bool {
        let Some(ui) = self.uncreated.take() else { return false };
        let created = self.create();
        if let Err(why) = &created {
            ui.note(&format!("this turn has no record: {why}"));
        }
        created.is_ok()
    }

    /// Creates the record. The error is a reason.
    fn create(&mut self) -> std::result::Result<(), String> {
        let dir = self.dir.clone().ok_or("the home directory is unknown")?;
        let path = dir.path().display().to_string();
        let created = LiveRecord::create(dir).and_then(|live| {
            self.facts.record.turn_id = Some(live.id.clone());
            self.facts.record.pid = Some(std::process::id());
            live.write(&self.facts.record)?;
            Ok(live)
        });
        self.live = Some(created.map_err(|error| {
            self.facts.record.turn_id = None;
            format!("{path} cannot be written: {}", io_message(&error))
        })?);
        Ok(())
    }

    /// Writes the record. An error does not matter, because the record is written again at the end.
    fn write(&mut self) {
        let _ = self.live.as_ref().map(|live| live.write(&self.facts.record));
    }

    /// Sets the tokens and the cost of the turn. For an agent that counts for the session, they are the difference to what
    /// was last seen of it.
    fn count(&mut self) {
        let Usage { turn, session, session_cost, agent_turns } = self.usage;
        let before = self.find_totals().unwrap_or_default();
        let turn = turn.or_else(|| session?.since(before.tokens?));
        let cost = session_cost.zip(before.cost).map(|(now, before)| now - before).filter(|cost| *cost >= 0.0);
        let record = &mut self.facts.record;
        record.input_tokens = turn.map(|tokens| tokens.input);
        record.cached_input_tokens = turn.map(|tokens| tokens.cached);
        record.output_tokens = turn.map(|tokens| tokens.output);
        record.cost_usd = cost.map(without_noise);
        record.session_input_tokens = session.map(|tokens| tokens.input);
        record.session_cached_input_tokens = session.map(|tokens| tokens.cached);
        record.session_output_tokens = session.map(|tokens| tokens.output);
        record.session_cost_usd = session_cost;
        record.agent_turns = agent_turns;
    }

    /// Returns what the session had used before this turn. Reads the records at the first call only.
    fn find_totals(&mut self) -> Option<SessionTotals> {
        let found = match &self.before {
            SessionUse::Found(totals) => return *totals,
            SessionUse::Resumed(backend, id) => self.last_totals(*backend, id),
        };
        self.before = SessionUse::Found(found);
        found
    }

    /// Returns what was last seen of a session in the records of this workspace.
    fn last_totals(&self, backend: Backend, id: &AgentSessionId) -> Option<SessionTotals> {
        let dir = self.dir.as_ref()?;
        let own = self.facts.record.turn_id.as_deref();
        let earlier = dir.ids().into_iter().filter(|id| Some(id.as_str()) != own);
        earlier.filter_map(|turn| dir.read_totals(&turn)).find_map(|record| {
            let is_same = record.backend.as_deref() == Some(backend.name())
                && record.session_id.as_deref().is_some_and(|reported| id.is_reported_as(reported));
            let tokens = record.session_input_tokens.zip(record.session_output_tokens).map(|(input, output)| {
                let cached = record.session_cached_input_tokens.unwrap_or_default();
                Tokens { input, cached, output }
            });
            let totals = SessionTotals { tokens, cost: record.session_cost_usd };
            (is_same && totals != SessionTotals::default()).then_some(totals)
        })
    }
}

/// Returns a difference of two costs without the digits that come from binary fractions.
fn without_noise(dollars: f64) -> f64 {
    const DIGITS: f64 = 1e12;
    (dollars * DIGITS).round() / DIGITS
}

/// Returns whether an error of this kind means that there was no turn.
fn is_refusal(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::SessionBusy | ErrorKind::SessionExists | ErrorKind::SessionNotFound | ErrorKind::Usage)
}

fn cannot_detach(why: &str) -> Error {
    Error::new(ErrorKind::Io, "cannot keep a record of the turn, which --detach needs")
        .caused_by(why)
        .with_hint(format!("set {} to a directory that you can write to", env::variable_of_state_dir()))
}
