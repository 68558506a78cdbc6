//! What an agent said in one turn, listened to as it comes and summed up at the end.

use serde_json::value::RawValue;

use super::lines::{Line, Lines};
use super::{AgentEvent, Backend, OutputMode, claude, codex};
use crate::json::{self, Members};

/// The most of an answer that is kept where it is passed on only at the end.
const LONGEST_ANSWER: usize = 512 << 20;

/// As much is told of a line that is no event.
const MOST_NOISE: usize = 4 << 10;

/// Hears in words what the agent is doing.
pub(super) type Watcher = Box<dyn Fn(&str) + Send>;

/// Listens to an agent's standard output.
pub(crate) struct AgentOutput {
    form: Listener,
    reader: Option<Reader>,
    lines: Lines,
    whole: Vec<u8>,
    overflow: bool,
}

enum Listener {
    /// claude's single JSON is understood at the end.
    ClaudeJson,
    ClaudeStream(Box<claude::Listener>),
    Codex(Box<codex::Listener>),
}

/// Makes moments of an agent's lines.
enum Reader {
    Claude(claude::events::Reader),
    Codex(codex::events::Reader),
}

impl Reader {
    /// Takes one line. A line that is no event is told as it is.
    fn line(&mut self, line: &[u8], tell: &mut dyn FnMut(AgentEvent)) {
        let text = json::readable(line);
        let event = serde_json::from_str::<&RawValue>(&text).ok();
        let event = event.and_then(|raw| Some((serde_json::from_str::<Members<'_>>(raw.get()).ok()?, raw)));
        match (event, self) {
            (Some((event, raw)), Self::Claude(reader)) => reader.event(&event, raw, tell),
            (Some((event, _)), Self::Codex(reader)) => reader.event(&event, tell),
            (None, _) if line.trim_ascii().is_empty() => {}
            (None, _) => {
                let beginning = &line[..line.len().min(MOST_NOISE)];
                tell(AgentEvent::Noise(String::from_utf8_lossy(beginning).into_owned()));
            }
        }
    }
}

/// How a turn went, in the agent's words.
#[derive(Debug, Default)]
pub(crate) struct TurnReport {
    /// The id the agent told, whatever it is.
    pub reported_id: Option<String>,
    /// Set where the agent itself says that the turn failed.
    pub failure: Option<Failure>,
    /// Words that explain a bad exit status where there is no verdict.
    pub last_words: Option<String>,
    /// The agent's last verdict as it wrote it.
    pub verdict: Option<Box<RawValue>>,
    /// What is wrong with the output, where it is not of the promised form.
    pub malformed: Option<String>,
    /// The answer's text.
    pub answer: Option<String>,
    /// How many lines there were.
    pub lines: u64,
    /// Everything, where it is to be passed on unchanged (claude's JSON).
    pub whole: Vec<u8>,
}

/// The agent's verdict on a turn that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub reason: Option<String>,
}

impl AgentOutput {
    pub(crate) fn new(backend: Backend, form: OutputMode) -> Self {
        let form = match (backend, form) {
            (Backend::Claude, OutputMode::Json) => Listener::ClaudeJson,
            (Backend::Claude, OutputMode::Stream { .. }) => Listener::ClaudeStream(Box::default()),
            (Backend::Codex, _) => Listener::Codex(Box::default()),
        };
        Self { form, reader: None, lines: Lines::default(), whole: Vec::new(), overflow: false }
    }

    /// Tells `watcher` what the agent is doing, where it says so.
    pub(crate) fn watched_by(mut self, watcher: impl Fn(&str) + Send + 'static) -> Self {
        if let Listener::Codex(listener) = &mut self.form {
            listener.watcher = Some(Box::new(watcher));
        }
        self
    }

    /// Makes moments of what a stream holds, for [`hear`](Self::hear) to tell. The agent runs in `dir`.
    #[must_use]
    pub(crate) fn telling(mut self, dir: String) -> Self {
        self.reader = match self.form {
            Listener::ClaudeJson => None,
            Listener::ClaudeStream(_) => Some(Reader::Claude(claude::events::Reader::new(dir))),
            Listener::Codex(_) => Some(Reader::Codex(codex::events::Reader::new(dir))),
        };
        self
    }

    /// Takes the next piece of standard output.
    pub(crate) fn hear(&mut self, chunk: &[u8], tell: &mut dyn FnMut(AgentEvent)) {
        let reader = &mut self.reader;
        let mut read = |line: Line<'_>| reader.iter_mut().for_each(|reader| reader.line(line.bytes, tell));
        match &mut self.form {
            Listener::ClaudeJson => {
                if self.whole.len() + chunk.len() > LONGEST_ANSWER {
                    self.overflow = true;
                } else {
                    self.whole.extend_from_slice(chunk);
                }
            }
            Listener::ClaudeStream(listener) => self.lines.feed(chunk, |line| {
                listener.line(line.bytes);
                read(line);
            }),
            Listener::Codex(listener) => self.lines.feed(chunk, |line| {
                listener.line(line);
                read(line);
            }),
        }
    }

    /// Takes a last line that had no newline.
    pub(crate) fn end(&mut self, tell: &mut dyn FnMut(AgentEvent)) {
        let reader = &mut self.reader;
        let mut read = |line: Line<'_>| reader.iter_mut().for_each(|reader| reader.line(line.bytes, tell));
        match &mut self.form {
            Listener::ClaudeJson => {}
            Listener::ClaudeStream(listener) => self.lines.end(|line| {
                listener.line(line.bytes);
                read(line);
            }),
            Listener::Codex(listener) => self.lines.end(|line| {
                listener.line(line);
                read(line);
            }),
        }
    }

    /// Sums up what was heard.
    pub(crate) fn conclude(mut self) -> TurnReport {
        self.end(&mut |_| {});
        let account = match self.form {
            Listener::ClaudeJson if self.overflow => TurnReport {
                malformed: Some(format!("it wrote more than {} MiB", LONGEST_ANSWER >> 20)),
                ..TurnReport::default()
            },
            Listener::ClaudeJson => claude::conclude(self.whole),
            Listener::ClaudeStream(listener) => listener.conclude(),
            Listener::Codex(listener) => listener.conclude(),
        };
        TurnReport { lines: self.lines.count, ..account }
    }
}
