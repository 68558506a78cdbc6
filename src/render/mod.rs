//! A turn as readable text while it runs: the answer, a line for each tool call, failures, and a summary.
//!
//! Rendering is independent of the agents, because its input is [`AgentEvent`]s. No line changes after it is printed, so
//! a pipe receives the same text as a terminal except for colors and width. Each event resets the colors that it sets, so
//! that a turn may end anywhere.

mod wrap;

use std::borrow::Cow;
use std::time::{Duration, Instant};

use console::{measure_text_width, truncate_str};

use crate::backend::{AgentEvent, Outcome, Summary, TextKind, Tokens, Tool};
use crate::ui::color::{Style, paint};
use crate::ui::terminal::is_terminal_control;
use wrap::Wrapper;

/// The limit on the columns of a summary or of details, if lines have no width.
const MAX_WIDTH: usize = 400;

/// The limit on the columns of a tool's name.
const MAX_NAME_WIDTH: usize = 40;

/// The columns that are reserved for the outcome on the line of a call.
const OUTCOME_WIDTH: usize = 14;

/// The limit on the calls that wait for their outcome.
const MAX_RUNNING: usize = 1000;

/// Precedes each line of reasoning.
const REASONING: &str = "┊ ";

/// Indents an outcome below its call.
const OUTCOME_INDENT: &str = "  ";

#[derive(Clone, Copy, Debug)]
pub(crate) struct RenderOptions {
    pub color: bool,
    /// The columns of a line, or `None` if lines are not wrapped.
    pub width: Option<usize>,
}

/// A group of lines. A blank line separates different blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Text(TextKind),
    Tool,
    Warning,
    Summary,
    Noise,
}

/// An unfinished line.
enum OpenLine {
    Text(Wrapper),
    /// The line of a call, which its outcome may end.
    Tool {
        id: String,
        width: usize,
    },
}

/// A line with its width in columns.
#[derive(Default)]
struct StyledLine {
    spans: Vec<(Option<Style>, String)>,
    width: usize,
}

impl StyledLine {
    fn push(&mut self, style: impl Into<Option<Style>>, text: impl Into<String>) {
        let text = text.into();
        self.width += measure_text_width(&text);
        self.spans.push((style.into(), text));
    }
}

/// Renders one turn.
pub(crate) struct Renderer {
    options: RenderOptions,
    started: Instant,
    out: String,
    last: Option<Block>,
    open: Option<OpenLine>,
    /// Calls without an outcome.
    running: Vec<Tool>,
}

impl Renderer {
    pub(crate) fn new(options: RenderOptions) -> Self {
        Self { options, started: Instant::now(), out: String::new(), last: None, open: None, running: Vec::new() }
    }

    /// Sets how long the turn has taken already.
    #[must_use]
    pub(crate) fn after(self, elapsed: Duration) -> Self {
        Self { started: self.started.checked_sub(elapsed).unwrap_or(self.started), ..self }
    }

    /// Returns the text since the last call.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out).into_bytes()
    }

    /// Ends an unfinished line.
    pub(crate) fn end_line(&mut self) {
        match self.open.take() {
            Some(OpenLine::Text(wrapper)) => {
                let mut rest = String::new();
                wrapper.finish(&mut rest);
                self.push_text(rest.trim_end_matches('\n'));
                self.out.push('\n');
            }
            Some(OpenLine::Tool { .. }) => self.out.push('\n'),
            None => {}
        }
    }

    pub(crate) fn render(&mut self, event: &AgentEvent) {
        match event {
            AgentEvent::Text { kind, piece, last } => self.text(*kind, piece, *last),
            AgentEvent::ToolStarted(tool) => self.tool(tool),
            AgentEvent::ToolEnded(outcome) => self.outcome(outcome),
            AgentEvent::Warning(text) => {
                self.begin(Block::Warning);
                let text = format!("warning: {}", escape(text));
                self.paragraph(Style::Yellow, &text);
            }
            AgentEvent::Noise(line) => {
                self.begin(Block::Noise);
                let line = truncate(&escape(line), self.options.width.unwrap_or(MAX_WIDTH)).into_owned();
                self.push_styled(Style::Dim, &line);
                self.out.push('\n');
            }
            AgentEvent::TurnEnded(summary) => self.summary(summary),
        }
    }

    /// Begins a block, or the next line of the same block. Texts always begin a new block.
    fn begin(&mut self, block: Block) {
        self.end_line();
        let continues = self.last == Some(block) && !matches!(block, Block::Text(_));
        if self.last.is_some() && !continues {
            self.out.push('\n');
        }
        self.last = Some(block);
    }

    fn text(&mut self, kind: TextKind, piece: &str, last: bool) {
        let continues = matches!(self.open, Some(OpenLine::Text(_))) && self.last == Some(Block::Text(kind));
        if !continues && piece.trim().is_empty() {
            return; // a blank text does not begin a block
        }
        if !continues {
            self.begin(Block::Text(kind));
            let prefix = if kind == TextKind::Reasoning { REASONING } else { "" };
            self.open = Some(OpenLine::Text(Wrapper::new(self.options.width, prefix)));
        }
        match &mut self.open {
            Some(OpenLine::Text(wrapper)) if kind == TextKind::Answer => wrapper.push(piece, &mut self.out),
            Some(OpenLine::Text(wrapper)) => {
                let mut lines = String::new();
                wrapper.push(piece, &mut lines);
                self.push_styled(Style::Dim, &lines);
            }
            _ => {}
        }
        if last {
            self.end_line();
        }
    }

    /// Renders a call on a line that its outcome may end.
    fn tool(&mut self, tool: &Tool) {
        self.begin(Block::Tool);
        if self.running.len() == MAX_RUNNING {
            self.running.remove(0);
        }
        let tool = Tool { about: escape(&tool.about), name: escape(&tool.name), ..tool.clone() };
        let mut line = StyledLine::default();
        line.push(None, indent(&tool));
        line.push(Style::Cyan, "▸");
        line.push(None, " ");
        line.push(Style::Bold, truncate(&tool.name, MAX_NAME_WIDTH));
        let room = self.options.width.map_or(MAX_WIDTH, |width| width.saturating_sub(line.width + 2 + OUTCOME_WIDTH));
        let about = truncate(&tool.about, room);
        if !about.is_empty() {
            line.push(None, "  ");
            line.push(None, about);
        }
        self.push_line(&line);
        self.open = Some(OpenLine::Tool { id: tool.id.clone(), width: line.width });
        self.running.push(tool);
    }

    /// Renders an outcome on the line of its call, on the next line, or after other lines with the call repeated.
    ///
    /// Details are truncated, except those of a failure, which are wrapped.
    fn outcome(&mut self, outcome: &Outcome) {
        let Some(at) = self.running.iter().position(|tool| tool.id == outcome.id) else { return };
        let tool = self.running.remove(at);
        let details: Vec<String> = outcome.details.iter().map(|detail| escape(detail)).collect();
        let details = details.join(" · ");
        let call_width = match &self.open {
            Some(OpenLine::Tool { id, width }) if *id == outcome.id => Some(*width),
            _ => None,
        };
        let (style, sign) = if outcome.failed { (Style::Red, "✗") } else { (Style::Green, "✓") };
        let mut line = StyledLine::default();
        line.push(style, sign);
        let label = if call_width.is_none() { self.label(&tool) } else { String::new() };
        if !label.is_empty() {
            line.push(None, format!(" {label}"));
        }
        let separator = if label.is_empty() { " " } else { " · " };
        let details_style = if outcome.failed { Style::Red } else { Style::Dim };
        let width = self.options.width.unwrap_or(usize::MAX);
        let details_width = measure_text_width(&details);
        let separator_width = if details.is_empty() { 0 } else { measure_text_width(separator) };
        if call_width.is_some_and(|call| call + 2 + line.width + separator_width + details_width <= width) {
            self.open = None;
            self.out.push_str("  ");
            self.end_outcome(line, separator, details_style, &details, MAX_WIDTH);
            return;
        }
        self.begin(Block::Tool);
        let indent = format!("{}{OUTCOME_INDENT}", indent(&tool));
        self.out.push_str(&indent);
        let room = width.saturating_sub(indent.len() + line.width + measure_text_width(separator));
        let is_wrapped = outcome.failed && (call_width.is_some() || details_width > room);
        if !is_wrapped {
            self.end_outcome(line, separator, details_style, &details, room);
        } else if call_width.is_some() {
            self.failure(&tool, sign, &details);
        } else {
            self.push_line(&line);
            self.out.push('\n');
            self.out.push_str(&indent);
            self.failure(&tool, " ", &details);
        }
    }

    /// Names a call again after other lines.
    fn label(&self, tool: &Tool) -> String {
        let label = format!("{}  {}", truncate(&tool.name, MAX_NAME_WIDTH), tool.about);
        let room = self.options.width.map_or(MAX_WIDTH, |width| (width / 2).max(OUTCOME_WIDTH));
        truncate(label.trim_end(), room).into_owned()
    }

    /// Ends `line` with details of at most `room` columns.
    fn end_outcome(&mut self, mut line: StyledLine, separator: &str, style: Style, details: &str, room: usize) {
        let details = truncate(details, room.min(MAX_WIDTH));
        if !details.is_empty() {
            line.push(None, separator);
            line.push(style, details);
        }
        self.push_line(&line);
        self.out.push('\n');
    }

    /// Ends a line with the wrapped details of a failure.
    fn failure(&mut self, tool: &Tool, sign: &str, details: &str) {
        let prefix = if tool.inner { "      " } else { "    " };
        let wrapped = self.wrap(details, prefix);
        self.push_styled(Style::Red, &format!("{sign} {}", wrapped.trim()));
        self.out.push('\n');
    }

    fn summary(&mut self, summary: &Summary) {
        self.begin(Block::Summary);
        let took = duration(summary.took.unwrap_or_else(|| self.started.elapsed()));
        let mut parts = vec![if summary.failed { format!("turn failed after {took}") } else { format!("turn {took}") }];
        let mut session = Vec::new();
        let counts = |tokens: Option<Tokens>| {
            tokens.filter(|tokens| tokens.input > 0 || tokens.output > 0).map(token_counts).unwrap_or_default()
        };
        let usage = &summary.usage;
        parts.extend(counts(usage.turn));
        if usage.turn.is_none() {
            session.extend(counts(usage.session));
        }
        session.extend(usage.session_cost.map(cost));
        if let Some(first) = session.first_mut() {
            *first = format!("session {first}");
        }
        parts.extend(session);
        let mut text = String::new();
        let mut column = 0;
        for (at, part) in parts.iter().enumerate() {
            let width = part.chars().count();
            let fits = self.options.width.is_none_or(|line_width| column + 3 + width <= line_width);
            match at {
                0 => {}
                _ if fits => text.push_str(" · "),
                _ => text.push('\n'),
            }
            column = if at > 0 && fits { column + 3 + width } else { width };
            text.push_str(part);
        }
        self.push_styled(if summary.failed { Style::Red } else { Style::Dim }, &text);
        self.out.push('\n');
    }

    /// Renders a complete text.
    fn paragraph(&mut self, style: Style, text: &str) {
        let wrapped = self.wrap(text, "");
        self.push_styled(style, wrapped.trim_end());
        self.out.push('\n');
    }

    fn wrap(&self, text: &str, prefix: &'static str) -> String {
        let (mut wrapper, mut lines) = (Wrapper::new(self.options.width, prefix), String::new());
        wrapper.push(text, &mut lines);
        wrapper.finish(&mut lines);
        lines
    }

    /// Adds a piece of the current text, dimmed if it is reasoning.
    fn push_text(&mut self, text: &str) {
        match self.last {
            Some(Block::Text(TextKind::Reasoning)) => self.push_styled(Style::Dim, text),
            _ => self.out.push_str(text),
        }
    }

    fn push_line(&mut self, line: &StyledLine) {
        for (style, text) in &line.spans {
            match style {
                Some(style) => self.push_styled(*style, text),
                None => self.out.push_str(text),
            }
        }
    }

    fn push_styled(&mut self, style: Style, text: &str) {
        if self.options.color && !text.is_empty() {
            self.out.push_str(&paint(style, text));
        } else {
            self.out.push_str(text);
        }
    }
}

fn indent(tool: &Tool) -> &'static str {
    if tool.inner { "  " } else { "" }
}

/// Returns the beginning of `text` with terminal control characters escaped.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.trim().chars().take(4 * MAX_WIDTH) {
        if is_terminal_control(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Shortens `text` to `width` columns.
fn truncate(text: &str, width: usize) -> Cow<'_, str> {
    truncate_str(text, width, "…")
}

fn token_counts(tokens: Tokens) -> Vec<String> {
    let cached = if tokens.cached > 0 { format!(" ({} cached)", grouped(tokens.cached)) } else { String::new() };
    vec![format!("{} in{cached}", grouped(tokens.input)), format!("{} out", grouped(tokens.output))]
}

/// Formats a cost in dollars.
pub(crate) fn cost(dollars: f64) -> String {
    match dollars.abs() {
        ..1.0 => format!("${dollars:.4}"),
        ..1e9 => format!("${dollars:.2}"),
        _ => format!("${dollars:.2e}"), // not a real cost, and up to 300 digits long
    }
}

/// Formats `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

fn duration(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(width: usize, events: &[AgentEvent]) -> String {
        let mut renderer = Renderer::new(RenderOptions { color: false, width: Some(width) });
        for event in events {
            renderer.render(event);
        }
        String::from_utf8(renderer.take()).unwrap()
    }

    #[test]
    fn outcome_ends_the_line_of_its_call_if_it_fits() {
        let started = AgentEvent::ToolStarted(Tool {
            id: "1".to_owned(),
            name: "Read".to_owned(),
            about: String::new(),
            inner: false,
        });
        let ended = |details: &[&str]| {
            let details = details.iter().map(|&detail| detail.to_owned()).collect();
            AgentEvent::ToolEnded(Outcome { id: "1".to_owned(), failed: false, details })
        };
        for (details, line) in
            [(&["12 lines"][..], "▸ Read  ✓ 12 lines"), (&["12", "34"], "▸ Read  ✓ 12 · 34"), (&[], "▸ Read  ✓")]
        {
            let events = [started.clone(), ended(details)];
            let width = measure_text_width(line);
            assert_eq!(rendered(width, &events), format!("{line}\n"));
            assert_eq!(rendered(width - 1, &events), format!("{}\n", line.replace("  ✓", "\n  ✓")));
        }
    }
}
