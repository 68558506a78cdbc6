//! What was looked at and how it is: lines for people, or JSON.

use console::style;

use crate::error::{Error, ErrorKind, Result};
use crate::ui::Ui;
use crate::ui::json::JsonObject;
use crate::ui::terminal::escape_control;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    /// Calls work, but not as they should.
    Warning,
    /// Calls will fail.
    Error,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

struct Check {
    /// What was looked at, in words joined by dots.
    what: String,
    state: State,
    message: String,
    hint: Option<String>,
}

/// All checks, in the order in which they were made.
#[derive(Default)]
pub(super) struct Report(Vec<Check>);

impl Report {
    pub(super) fn ok(&mut self, what: &str, message: impl Into<String>) {
        self.add(what, State::Ok, message.into(), None);
    }

    pub(super) fn warning(&mut self, what: &str, message: impl Into<String>, hint: &str) {
        self.add(what, State::Warning, message.into(), Some(hint.to_owned()));
    }

    pub(super) fn error(&mut self, what: &str, error: &Error) {
        self.add(what, State::Error, error.to_single_line(), error.hint.as_deref().map(str::to_owned));
    }

    fn add(&mut self, what: &str, state: State, message: String, hint: Option<String>) {
        self.0.push(Check { what: what.to_owned(), state, message, hint });
    }

    /// Prints the report. Fails where a check did.
    pub(super) fn tell(self, ui: &Ui, json: bool) -> Result<()> {
        let errors = self.0.iter().filter(|check| check.state == State::Error).count();
        if json {
            let checks = self.0.iter().map(|check| {
                JsonObject::new()
                    .with("check", check.what.as_str())
                    .with("status", check.state.name())
                    .with("message", check.message.as_str())
                    .with("hint", check.hint.as_deref())
            });
            ui.print_json(&JsonObject::new().with("ok", errors == 0).with_list("checks", checks.collect()))?;
        } else {
            ui.print(&self.to_text())?;
        }
        match errors {
            0 => Ok(()),
            1 => Err(Error::new(ErrorKind::Io, "one check failed").with_hint("see what it says on standard output")),
            many => Err(Error::new(ErrorKind::Io, format!("{many} checks failed"))
                .with_hint("see what they say on standard output")),
        }
    }

    fn to_text(&self) -> String {
        let widest = self.0.iter().map(|check| check.what.len()).max().unwrap_or_default();
        let lines = self.0.iter().flat_map(|Check { what, state, message, hint }| {
            let name = style(format!("{:<7}", state.name()));
            let name = match state {
                State::Ok => name.green(),
                State::Warning => name.yellow(),
                State::Error => name.red(),
            };
            let line = format!("{name}  {:<widest$}  {}\n", what.replace(['.', '_'], " "), escape_control(message));
            let hint = hint.as_deref().map(|hint| format!("{:9}{:widest$}  hint: {}\n", "", "", escape_control(hint)));
            [Some(line), hint]
        });
        lines.flatten().collect()
    }
}
