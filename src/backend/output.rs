//! Parses the output of one turn as it arrives, and reports the result at the end.

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::AgentEvent;
use super::lines::{Line, Lines};
use super::usage::Usage;
use crate::json::{self, Members};
use crate::session::is_blank;

/// The limit on the bytes that are reported of a line that is not an event.
const LONGEST_NOISE: usize = 4 << 10;

/// The limit on the warnings that are kept of a turn.
const MOST_WARNINGS: usize = 1000;

/// The limit on the characters of a warning.
const LONGEST_WARNING: usize = 1000;

/// Parses an agent's standard output.
pub(crate) trait OutputParser: Send {
    /// Parses the next bytes, and calls `emit` with every event that they complete.
    fn feed(&mut self, chunk: &[u8], emit: &mut dyn FnMut(AgentEvent));

    /// Parses the last line if it has no newline. Further calls do nothing.
    fn end(&mut self, emit: &mut dyn FnMut(AgentEvent));

    /// Returns whether the last line only reports that the agent tries to reconnect.
    fn is_reconnecting(&self) -> bool {
        false
    }

    /// Returns the session ID that the agent has reported so far. It is not validated.
    fn session_id(&self) -> Option<&str> {
        None
    }

    /// Returns what the agent does now, as far as its output shows that, such as "running `cargo test`".
    fn activity(&self) -> Option<String> {
        None
    }

    /// Returns the result of the turn.
    fn into_report(self: Box<Self>) -> TurnReport;
}

/// The result of a turn, as the agent reported it.
#[derive(Debug, Default)]
pub(crate) struct TurnReport {
    /// The session ID that the agent reported. It is not validated.
    pub reported_id: Option<String>,
    /// Set if the agent reports that the turn failed.
    pub failure: Option<Failure>,
    /// A text that explains a bad exit status without a verdict.
    pub last_words: Option<String>,
    /// The JSON of the agent's last verdict.
    pub verdict: Option<Box<RawValue>>,
    /// When a limit ends that the agent has reached.
    pub limit_ends: Option<Timestamp>,
    /// Whether the agent reported that it began with the prompt, so that the session's history has it.
    pub prompt_stored: bool,
    /// What is wrong with output that is not of the promised form.
    pub malformed: Option<String>,
    /// The answer's text.
    pub answer: Option<String>,
    pub usage: Usage,
    /// Whether the agent ended the turn without any answer.
    pub answer_missing: bool,
    /// The tools that it was not allowed to use.
    pub denied: DeniedTools,
    /// The different warnings in its events. Those on standard error are not among them.
    pub warnings: Vec<AgentWarning>,
    /// The answer as JSON on one line, if a schema was given.
    pub structured: Option<Box<RawValue>>,
    /// Whether the failure is only that no answer matched the schema. The turn is then complete.
    pub unmet_schema: bool,
    /// The number of lines.
    pub lines: u64,
    /// The complete output, if it is printed unchanged ([`super::JsonOutput::PassThrough`]).
    pub whole: Vec<u8>,
}

impl TurnReport {
    /// Returns whether the answer of a successful turn has no text. That is false if the answer is not known.
    pub(crate) fn has_empty_answer(&self) -> bool {
        self.answer.as_deref().map_or(self.answer_missing, is_blank)
    }
}

/// A problem that an agent reported and that did not end the turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentWarning {
    /// One line that is not blank.
    pub text: String,
    /// Set if the problem is that the session continues with this model instead of another one.
    pub new_model: Option<String>,
}

impl AgentWarning {
    /// Returns the warning with this text, of which only the beginning is kept if it is long. Returns `None` if the text
    /// is blank.
    pub(super) fn new(text: &str) -> Option<Self> {
        let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((end, _)) = line.char_indices().nth(LONGEST_WARNING) {
            line.truncate(end);
            line.push('…');
        }
        (!line.is_empty()).then_some(Self { text: line, new_model: None })
    }

    /// Adds the warning to those of a turn, unless they have it already or are too many.
    pub(super) fn add_to(self, warnings: &mut Vec<Self>) {
        if warnings.len() < MOST_WARNINGS && !warnings.contains(&self) {
            warnings.push(self);
        }
    }
}

/// The calls of tools that an agent was not allowed to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeniedTools {
    /// The tool of each call, in order.
    pub names: Vec<String>,
    /// Whether the agent reports every such call. If not, there may be more.
    pub complete: bool,
}

impl DeniedTools {
    /// Returns the different tools, each with the number of its calls.
    pub(crate) fn by_name(&self) -> Vec<(&str, usize)> {
        let mut tools: Vec<(&str, usize)> = Vec::new();
        for name in &self.names {
            match tools.iter_mut().find(|(other, _)| other == name) {
                Some((_, calls)) => *calls += 1,
                None => tools.push((name, 1)),
            }
        }
        tools
    }
}

/// The agent's verdict on a turn that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub reason: Option<String>,
}

/// Finds the verdict in the lines of an agent.
pub(super) trait LineParser: Send {
    fn line(&mut self, line: Line<'_>);

    /// See [`OutputParser::is_reconnecting`].
    fn is_reconnecting(&self) -> bool {
        false
    }

    /// See [`OutputParser::session_id`].
    fn session_id(&self) -> Option<&str>;
    /// See [`OutputParser::activity`].
    fn activity(&self) -> Option<String>;

    fn into_report(self) -> TurnReport;
}

/// Converts an agent's events to [`AgentEvent`]s.
pub(super) trait EventReader: Send {
    fn event(&mut self, event: &Members<'_>, raw: &RawValue, emit: &mut dyn FnMut(AgentEvent));
}

/// The parser for an agent that writes one JSON event on each line.
pub(super) struct LineOutput<P, E> {
    parser: P,
    events: Option<E>,
    lines: Lines,
}

impl<P: LineParser, E: EventReader> LineOutput<P, E> {
    pub(super) fn new(parser: P, events: Option<E>) -> Self {
        Self { parser, events, lines: Lines::default() }
    }
}

impl<P: LineParser, E: EventReader> OutputParser for LineOutput<P, E> {
    fn feed(&mut self, chunk: &[u8], emit: &mut dyn FnMut(AgentEvent)) {
        let Self { parser, events, lines } = self;
        lines.feed(chunk, |line| {
            parser.line(line);
            if let Some(events) = events {
                read_event(events, line.bytes, emit);
            }
        });
    }

    fn end(&mut self, emit: &mut dyn FnMut(AgentEvent)) {
        let Self { parser, events, lines } = self;
        lines.end(|line| {
            parser.line(line);
            if let Some(events) = events {
                read_event(events, line.bytes, emit);
            }
        });
    }

    fn is_reconnecting(&self) -> bool {
        self.parser.is_reconnecting()
    }

    fn session_id(&self) -> Option<&str> {
        self.parser.session_id()
    }

    fn activity(&self) -> Option<String> {
        self.parser.activity()
    }

    fn into_report(mut self: Box<Self>) -> TurnReport {
        self.end(&mut |_| {});
        TurnReport { lines: self.lines.count, ..self.parser.into_report() }
    }
}

/// Passes a line to `reader`. Emits a line that is not JSON unchanged, up to [`LONGEST_NOISE`].
fn read_event(reader: &mut impl EventReader, line: &[u8], emit: &mut dyn FnMut(AgentEvent)) {
    let text = json::readable(line);
    let event = serde_json::from_str::<&RawValue>(&text).ok();
    match event.and_then(|raw| Some((serde_json::from_str::<Members<'_>>(raw.get()).ok()?, raw))) {
        Some((event, raw)) => reader.event(&event, raw, emit),
        None if line.trim_ascii().is_empty() => {}
        None => {
            let beginning = &line[..line.len().min(LONGEST_NOISE)];
            emit(AgentEvent::Noise(String::from_utf8_lossy(beginning).into_owned()));
        }
    }
}
