//! The results of the checks, printed as lines or as JSON.

use crate::error::{Error, ErrorKind, Result};
use crate::ui::Ui;
use crate::ui::color::{Style, paint};
use crate::ui::json::JsonObject;
use crate::ui::terminal::escape_control;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    /// Calls work, with a limitation.
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

    fn style(self) -> Style {
        match self {
            Self::Ok => Style::Green,
            Self::Warning => Style::Yellow,
            Self::Error => Style::Red,
        }
    }
}

struct Check {
    /// The name of the check: words joined by dots.
    name: String,
    state: State,
    message: String,
    hint: Option<String>,
}

/// All checks, in order.
#[derive(Default)]
pub(super) struct Report(Vec<Check>);

impl Report {
    pub(super) fn ok(&mut self, name: &str, message: impl Into<String>) {
        self.add(name, State::Ok, message.into(), None);
    }

    pub(super) fn warning(&mut self, name: &str, message: impl Into<String>, hint: &str) {
        self.add(name, State::Warning, message.into(), Some(hint.to_owned()));
    }

    pub(super) fn error(&mut self, name: &str, error: &Error) {
        self.add(name, State::Error, error.to_single_line(), error.hint.as_deref().map(str::to_owned));
    }

    fn add(&mut self, name: &str, state: State, message: String, hint: Option<String>) {
        self.0.push(Check { name: name.to_owned(), state, message, hint });
    }

    /// Prints the report. Fails if a check failed.
    pub(super) fn finish(self, ui: &Ui, json: bool) -> Result<()> {
        let errors = self.0.iter().filter(|check| check.state == State::Error).count();
        if json {
            let checks = self.0.iter().map(|check| {
                JsonObject::new()
                    .with("check", check.name.as_str())
                    .with("status", check.state.name())
                    .with("message", check.message.as_str())
                    .with("hint", check.hint.as_deref())
            });
            ui.print_json(&JsonObject::new().with("ok", errors == 0).with_list("checks", checks.collect()))?;
        } else {
            ui.print(&self.to_text(ui.shows_colors()))?;
        }
        match errors {
            0 => Ok(()),
            1 => Err(Error::new(ErrorKind::Io, "one check failed").with_hint("see its line on stdout")),
            many => {
                Err(Error::new(ErrorKind::Io, format!("{many} checks failed")).with_hint("see their lines on stdout"))
            }
        }
    }

    fn to_text(&self, colored: bool) -> String {
        let widest = self.0.iter().map(|check| check.name.len()).max().unwrap_or_default();
        let lines = self.0.iter().flat_map(|Check { name, state, message, hint }| {
            let label = format!("{:<7}", state.name());
            let label = if colored { paint(state.style(), &label) } else { label };
            let line = format!("{label}  {:<widest$}  {}\n", name.replace(['.', '_'], " "), escape_control(message));
            let hint = hint.as_deref().map(|hint| format!("{:9}{:widest$}  hint: {}\n", "", "", escape_control(hint)));
            [Some(line), hint]
        });
        lines.flatten().collect()
    }
}
