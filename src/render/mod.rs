//! A turn as people read it while it runs: the answer, a line for every call of a tool, what went wrong, and what it
//! took. Knows no agent: it is told [`AgentEvent`]s.
//!
//! What is printed stays: no line is changed afterwards, so a pipe gets the same as a terminal but for colours and the
//! width. Colours end where the moment ends that has them, so that a turn may stop anywhere.

mod wrap;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use console::{measure_text_width, truncate_str};

use crate::backend::{AgentEvent, Outcome, Summary, TextKind, Tokens, Tool};
use crate::ui::terminal::is_terminal_control;
use wrap::Wrapper;

/// Where lines are not cut to a width, what tools are called for and tell still is, to so many columns.
const LONGEST: usize = 400;

/// How much of a line is kept for the outcome of a call.
const FOR_OUTCOME: usize = 14;

/// So many calls are remembered until their outcome comes.
const MOST_RUNNING: usize = 1000;

/// Stands before what the model thinks.
const REASONING: &str = "┊ ";

/// Where and how an account is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RenderOptions {
    pub color: bool,
    /// In columns; `None`: lines are as long as they are.
    pub width: Option<usize>,
}

/// The codes of "select graphic rendition".
#[derive(Clone, Copy)]
enum Style {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

/// What stands last, for what may follow it directly.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Text(TextKind),
    Tool,
    Warning,
    Summary,
    Noise,
}

/// A line that is not at its end.
enum Open {
    Text(Wrapper),
    /// The call of this id, up to this column.
    Tool(String, usize),
}

/// Makes the account of one turn.
pub(crate) struct Renderer {
    look: RenderOptions,
    began: Instant,
    out: String,
    last: Option<Part>,
    open: Option<Open>,
    /// Calls whose outcome has not come.
    running: Vec<Tool>,
}

impl Renderer {
    pub(crate) fn new(look: RenderOptions) -> Self {
        Self { look, began: Instant::now(), out: String::new(), last: None, open: None, running: Vec::new() }
    }

    /// What there is to print since this was last asked.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out).into_bytes()
    }

    /// Ends a line that is not at its end.
    pub(crate) fn settle(&mut self) {
        match self.open.take() {
            Some(Open::Text(wrapper)) => {
                let mut rest = String::new();
                wrapper.finish(&mut rest);
                self.put_text(rest.trim_end_matches('\n'));
                self.out.push('\n');
            }
            Some(Open::Tool(..)) => self.out.push('\n'),
            None => {}
        }
    }

    pub(crate) fn show(&mut self, moment: &AgentEvent) {
        match moment {
            AgentEvent::Text { kind, piece, last } => self.text(*kind, piece, *last),
            AgentEvent::ToolStarted(tool) => self.tool(tool),
            AgentEvent::ToolEnded(outcome) => self.outcome(outcome),
            AgentEvent::Warning(text) => {
                self.begin(Part::Warning);
                let text = format!("warning: {}", escape(text));
                self.paragraph(Style::Yellow, &text);
            }
            AgentEvent::Noise(line) => {
                self.begin(Part::Noise);
                let line = fit(&escape(line), self.look.width.unwrap_or(LONGEST)).into_owned();
                self.put(Style::Dim, &line);
                self.out.push('\n');
            }
            AgentEvent::TurnEnded(summary) => self.summary(summary),
        }
    }

    /// Makes place for a part of another kind, or for one more of the same.
    fn begin(&mut self, part: Part) {
        self.settle();
        let follows = self.last == Some(part) && !matches!(part, Part::Text(_));
        if self.last.is_some() && !follows {
            self.out.push('\n');
        }
        self.last = Some(part);
    }

    fn text(&mut self, kind: TextKind, piece: &str, last: bool) {
        let goes_on = matches!(self.open, Some(Open::Text(_))) && self.last == Some(Part::Text(kind));
        if !goes_on && piece.trim().is_empty() {
            return; // a text that says nothing does not begin
        }
        if !goes_on {
            self.begin(Part::Text(kind));
            let prefix = if kind == TextKind::Reasoning { REASONING } else { "" };
            self.open = Some(Open::Text(Wrapper::new(self.look.width, prefix)));
        }
        match &mut self.open {
            Some(Open::Text(wrapper)) if kind == TextKind::Answer => wrapper.push(piece, &mut self.out),
            Some(Open::Text(wrapper)) => {
                let mut shown = String::new();
                wrapper.push(piece, &mut shown);
                self.put(Style::Dim, &shown);
            }
            _ => {}
        }
        if last {
            self.settle();
        }
    }

    /// A call, on a line that its outcome may end.
    fn tool(&mut self, tool: &Tool) {
        self.begin(Part::Tool);
        if self.running.len() == MOST_RUNNING {
            self.running.remove(0);
        }
        self.running.push(Tool { about: escape(&tool.about), name: escape(&tool.name), ..tool.clone() });
        let (indent, name) = (indent(tool), escape(&tool.name));
        let name = fit(&name, LONGEST / 10).into_owned();
        let head = measure_text_width(&name) + indent.len() + 4;
        let room = self.look.width.map_or(LONGEST, |width| width.saturating_sub(head + FOR_OUTCOME));
        let about = fit(&escape(&tool.about), room).into_owned();
        self.out.push_str(indent);
        self.put(Style::Cyan, "▸");
        self.out.push(' ');
        self.put(Style::Bold, &name);
        let mut column = head - 2;
        if !about.is_empty() {
            self.out.push_str("  ");
            self.out.push_str(&about);
            column = head + measure_text_width(&about);
        }
        self.open = Some(Open::Tool(tool.id.clone(), column));
    }

    fn outcome(&mut self, outcome: &Outcome) {
        let Some(at) = self.running.iter().position(|tool| tool.id == outcome.id) else { return };
        let tool = self.running.remove(at);
        let told: Vec<String> = outcome.details.iter().map(|told| escape(told)).collect();
        let told = told.join(" · ");
        let space = if told.is_empty() { "" } else { " " };
        let width = self.look.width.unwrap_or(usize::MAX);
        if let Some(Open::Tool(id, column)) = &self.open
            && *id == outcome.id
        {
            if column + 3 + space.len() + measure_text_width(&told) <= width {
                self.open = None;
                self.out.push_str("  ");
            } else {
                self.settle();
                self.out.push_str(indent(&tool));
                self.out.push_str("  ");
                if outcome.failed {
                    self.reason(&tool, "✗", &told);
                    return;
                }
            }
        } else {
            // others stand between: it is told again which one it is
            self.begin(Part::Tool);
            let name = fit(&tool.name, LONGEST / 10).into_owned();
            self.out.push_str(indent(&tool));
            self.out.push_str("  ");
            let mark = format!("{name}  {}", tool.about);
            let room = self.look.width.map_or(LONGEST, |width| (width / 2).max(FOR_OUTCOME));
            let mark = fit(mark.trim_end(), room).into_owned();
            let left = width.saturating_sub(measure_text_width(&mark) + indent(&tool).len() + 7);
            if outcome.failed && measure_text_width(&told) > left {
                self.end_tool(true, &mark, "", 0);
                self.out.push_str(indent(&tool));
                self.out.push_str("  ");
                self.reason(&tool, " ", &told);
            } else {
                self.end_tool(outcome.failed, &mark, &told, left);
            }
            return;
        }
        self.end_tool(outcome.failed, "", &told, width.saturating_sub(indent(&tool).len() + 4));
    }

    /// Why a call failed, on as many lines as it takes.
    fn reason(&mut self, tool: &Tool, sign: &str, told: &str) {
        let prefix = if tool.inner { "      " } else { "    " };
        let (mut wrapper, mut shown) = (Wrapper::new(self.look.width, prefix), String::new());
        wrapper.push(told, &mut shown);
        wrapper.finish(&mut shown);
        self.put(Style::Red, &format!("{sign} {}", shown.trim()));
        self.out.push('\n');
    }

    /// The outcome itself, of which `room` columns are shown.
    fn end_tool(&mut self, failed: bool, mark: &str, told: &str, room: usize) {
        let told = fit(told, room.min(LONGEST)).into_owned();
        let (paint, sign) = if failed { (Style::Red, "✗") } else { (Style::Green, "✓") };
        self.put(paint, sign);
        if !mark.is_empty() {
            self.out.push(' ');
            self.out.push_str(mark);
        }
        if !told.is_empty() {
            self.out.push_str(if mark.is_empty() { " " } else { " · " });
            self.put(if failed { Style::Red } else { Style::Dim }, &told);
        }
        self.out.push('\n');
    }

    fn summary(&mut self, summary: &Summary) {
        self.begin(Part::Summary);
        let took = duration(summary.took.unwrap_or_else(|| self.began.elapsed()));
        let mut parts = vec![if summary.failed { format!("turn failed after {took}") } else { format!("turn {took}") }];
        let mut session = Vec::new();
        if let Some(tokens) = summary.tokens.filter(|tokens| tokens.input > 0 || tokens.output > 0) {
            let told = spent(tokens);
            if tokens.of_session { session.extend(told) } else { parts.extend(told) }
        }
        session.extend(summary.cost.map(cost));
        if let Some(first) = session.first_mut() {
            *first = format!("session {first}");
        }
        parts.extend(session);
        let mut text = String::new();
        let mut column = 0;
        for (at, part) in parts.iter().enumerate() {
            let width = part.chars().count();
            let fits = self.look.width.is_none_or(|all| column + 3 + width <= all);
            match at {
                0 => {}
                _ if fits => text.push_str(" · "),
                _ => text.push('\n'),
            }
            column = if at > 0 && fits { column + 3 + width } else { width };
            text.push_str(part);
        }
        self.put(if summary.failed { Style::Red } else { Style::Dim }, &text);
        self.out.push('\n');
    }

    /// A text that came whole.
    fn paragraph(&mut self, paint: Style, text: &str) {
        let (mut wrapper, mut shown) = (Wrapper::new(self.look.width, ""), String::new());
        wrapper.push(text, &mut shown);
        wrapper.finish(&mut shown);
        self.put(paint, shown.trim_end());
        self.out.push('\n');
    }

    /// A piece of what the model says, which is dimmed where it only thinks.
    fn put_text(&mut self, text: &str) {
        match self.last {
            Some(Part::Text(TextKind::Reasoning)) => self.put(Style::Dim, text),
            _ => self.out.push_str(text),
        }
    }

    fn put(&mut self, paint: Style, text: &str) {
        if self.look.color && !text.is_empty() {
            let _ = write!(self.out, "\u{1b}[{}m{text}\u{1b}[0m", paint as u8); // a string takes everything
        } else {
            self.out.push_str(text);
        }
    }
}

fn indent(tool: &Tool) -> &'static str {
    if tool.inner { "  " } else { "" }
}

/// The beginning of `text` on one line, with nothing in it that a terminal obeys.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.trim().chars().take(4 * LONGEST) {
        if is_terminal_control(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// As much of `text` as fits into `width` columns.
fn fit(text: &str, width: usize) -> Cow<'_, str> {
    truncate_str(text, width, "…")
}

fn spent(tokens: Tokens) -> Vec<String> {
    let cached = if tokens.cached > 0 { format!(" ({} cached)", grouped(tokens.cached)) } else { String::new() };
    vec![format!("{} in{cached}", grouped(tokens.input)), format!("{} out", grouped(tokens.output))]
}

fn cost(dollars: f64) -> String {
    match dollars.abs() {
        ..1.0 => format!("${dollars:.4}"),
        ..1e9 => format!("${dollars:.2}"),
        _ => format!("${dollars:.2e}"), // nobody's cost, and up to 300 digits
    }
}

/// `1234567` as `1,234,567`.
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
