//! Reviews a turn that succeeded: refused tools, an empty answer and warnings of the agent are reported, and `--fail-on`
//! may not accept the turn.

use super::outcome::{CompletedRun, TurnOutput, shorten};
use super::recovery_hint::resume_hint;
use super::request::TurnRequest;
use super::runner::TurnRunner;
use crate::backend::{AgentWarning, StderrLine, TurnReport};
use crate::cli::FailOn;
use crate::error::{Error, ErrorKind};
use crate::session::AgentSessionId;

/// The limit on the warnings of an agent that are printed.
const MOST_WARNINGS: usize = 10;

/// The limit on the tools that a message names.
const MOST_TOOLS: usize = 10;

/// How an agent's warning begins.
const WARNINGS: [&str; 2] = ["Warning: ", "warning: "];

impl TurnRunner<'_> {
    /// Returns the output of a turn that succeeded, and prints its warnings.
    pub(super) fn review(&self, request: &TurnRequest<'_>, run: CompletedRun, exit_status: i32) -> TurnOutput {
        let backend = self.options.agent.backend;
        let (ui, fail_on) = (self.ui, &self.options.fail_on);
        let effort_ignored = self.hand_on_warnings(request, &run);
        let mut rejected = self.options.schema.as_ref().and_then(|schema| {
            let error = schema.error(backend, &run.report)?.with_agent_exit_status(Some(exit_status));
            Some(error.with_hint(schema.hint(self.options, request)))
        });
        let found = [
            (FailOn::Denied, self.denial(&run.report)),
            (FailOn::Empty, run.report.has_empty_answer().then(|| format!("{backend}'s answer is empty"))),
        ];
        for (what, message) in found {
            match message {
                Some(message) if rejected.is_none() && fail_on.contains(&what) => {
                    rejected = Some(self.rejection(request, &run.report, what, message));
                }
                Some(message) => ui.warn(&message),
                None => {}
            }
        }
        TurnOutput { report: run.report, copied: run.copied, effort_ignored, rejected }
    }

    /// Prints the warnings on an agent's standard error and in its events. Returns whether one of them is that it ignored
    /// the effort.
    fn hand_on_warnings(&self, request: &TurnRequest<'_>, run: &CompletedRun) -> bool {
        let backend = self.options.agent.backend;
        let text = String::from_utf8_lossy(&run.stderr);
        let mut warnings: Vec<String> = Vec::new();
        let mut effort_ignored = false;
        for line in text.lines() {
            let Some(text) = WARNINGS.iter().find_map(|beginning| line.strip_prefix(beginning)) else { continue };
            let text = shorten(text);
            let warning = match (backend.spec().stderr_line)(line) {
                StderrLine::IgnoredEffort => {
                    effort_ignored = true;
                    match (&self.options.effort, request.model_and_effort.effort) {
                        (Some(_), _) => format!("{backend} ignored the reasoning effort, so it is not saved: {text}"),
                        (None, Some(saved)) => {
                            format!("{backend} ignored the saved reasoning effort '{saved}': {text}")
                        }
                        (None, None) => format!("{backend}: {text}"),
                    }
                }
                StderrLine::Message => format!("{backend}: {text}"),
                _ => continue,
            };
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        for warning in run.report.warnings.iter().filter(|warning| self.prints(warning)) {
            let warning = format!("{backend}: {}", warning.text);
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        for warning in warnings.iter().take(MOST_WARNINGS) {
            self.ui.warn(warning);
        }
        if let Some(more) = warnings.len().checked_sub(MOST_WARNINGS).filter(|more| *more > 0) {
            self.ui.warn(&format!("{backend} printed {more} more warnings"));
        }
        effort_ignored
    }

    /// Returns whether to print a warning in the agent's events. A rendered stream shows it already. A change to the model
    /// that the call names is what the caller asked for.
    fn prints(&self, warning: &AgentWarning) -> bool {
        let is_asked = warning.new_model.is_some() && warning.new_model == self.options.model;
        self.options.render.is_none() && !is_asked
    }

    /// Describes the tools that the agent was not allowed to use, if there are any.
    fn denial(&self, report: &TurnReport) -> Option<String> {
        let tools = report.denied.by_name();
        let count = tools.len();
        let describe = |(name, calls): &(&str, usize)| match calls {
            1 => (*name).to_owned(),
            calls => format!("{name} ({calls} times)"),
        };
        let mut names = tools.iter().take(MOST_TOOLS).map(describe).collect::<Vec<_>>().join(", ");
        if count > MOST_TOOLS {
            names = format!("{names} and {} more", count - MOST_TOOLS);
        }
        let least = if report.denied.complete { "" } else { "at least " };
        let noun = if count == 1 { "tool" } else { "tools" };
        (count > 0).then(|| format!("{} was refused {least}{count} {noun}: {names}", self.options.agent.backend))
    }

    /// Returns the error for a turn that `--fail-on` does not accept.
    fn rejection(&self, request: &TurnRequest<'_>, report: &TurnReport, what: FailOn, message: String) -> Error {
        let spec = self.options.agent.backend.spec();
        let (kind, value) = match what {
            FailOn::Denied => (ErrorKind::PermissionDenied, "denied"),
            FailOn::Empty => (ErrorKind::EmptyAnswer, "empty"),
        };
        let error = Error::new(kind, message)
            .caused_by(format!(
                "--fail-on {value} does not accept that; the turn is complete, and its answer is printed"
            ))
            .with_verdict(report.verdict.clone());
        let reported = || AgentSessionId::new(report.reported_id.as_deref()?).ok();
        let Some(id) = request.session.known().cloned().or_else(reported) else { return error };
        let resume = |prompt: &str, extra: &[String]| resume_hint(self.options, request.name, &id, prompt, extra);
        error.with_hint(match what {
            FailOn::Denied => {
                let tools: Vec<&str> = report.denied.by_name().iter().map(|(name, _)| *name).take(MOST_TOOLS).collect();
                let resume = resume("Continue", &(spec.allowing_arguments)(&tools));
                format!("allow the tools and resume the session, for example: {resume}")
            }
            FailOn::Empty => format!("ask for the answer: {}", resume("Print your answer as text", &[])),
        })
    }
}
