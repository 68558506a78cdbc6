//! What an agent writes in one turn: parsed as it comes, and summed up at the end.

use serde_json::value::RawValue;

use super::AgentEvent;
use super::lines::{Line, Lines};
use crate::json::{self, Members};

/// As much is reported of a line that is not an event.
const LONGEST_NOISE: usize = 4 << 10;

/// Parses an agent's standard output.
pub(crate) trait OutputParser: Send {
    /// Takes the next bytes, and calls `emit` with every event that they complete.
    fn feed(&mut self, chunk: &[u8], emit: &mut dyn FnMut(AgentEvent));

    /// Takes a last line that had no newline. Further calls do nothing.
    fn end(&mut self, emit: &mut dyn FnMut(AgentEvent));

    /// Sums up the turn.
    fn into_report(self: Box<Self>) -> TurnReport;
}

/// How a turn went, in the agent's words.
#[derive(Debug, Default)]
pub(crate) struct TurnReport {
    /// The session ID that the agent reported, whatever it is.
    pub reported_id: Option<String>,
    /// Set if the agent reports that the turn failed.
    pub failure: Option<Failure>,
    /// Words that explain a bad exit status without a verdict.
    pub last_words: Option<String>,
    /// The agent's last verdict as it wrote it.
    pub verdict: Option<Box<RawValue>>,
    /// What is wrong with output that is not of the promised form.
    pub malformed: Option<String>,
    /// The answer's text.
    pub answer: Option<String>,
    /// How many lines there were.
    pub lines: u64,
    /// Everything, if it is to be printed unchanged ([`super::JsonOutput::PassThrough`]).
    pub whole: Vec<u8>,
}

/// The agent's verdict on a turn that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub reason: Option<String>,
}

/// Finds the verdict in an agent's lines.
pub(super) trait LineParser: Send {
    fn line(&mut self, line: Line<'_>);

    fn into_report(self) -> TurnReport;
}

/// Makes events of an agent's lines.
pub(super) trait EventReader: Send {
    fn event(&mut self, event: &Members<'_>, raw: &RawValue, emit: &mut dyn FnMut(AgentEvent));
}

/// An agent that writes one JSON event a line.
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

    fn into_report(mut self: Box<Self>) -> TurnReport {
        self.end(&mut |_| {});
        TurnReport { lines: self.lines.count, ..self.parser.into_report() }
    }
}

/// Hands a line to `reader`. A line that is not an event is passed on as it is.
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
