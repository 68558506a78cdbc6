//! Receives an agent's output while a turn runs: parses it, renders its events, and records what the agent does.

use std::time::{Duration, Instant};

use crate::backend::{AgentEvent, OutputParser, TurnReport};
use crate::process;
use crate::records::recorder::TurnRecorder;
use crate::render::Renderer;
use crate::ui::spinner::SpinnerHandle;

/// Parses an agent's output and renders its events.
pub(super) struct TurnSink {
    recorder: TurnRecorder,
    /// Whether the session ID is recorded.
    has_id: bool,
    activity_limit: RateLimit,
    parser: Box<dyn OutputParser>,
    renderer: Option<Renderer>,
    progress: Option<SpinnerHandle>,
}

/// Limits how often the activity is recorded, so that a fast stream is not slowed.
struct RateLimit {
    /// When the next event would be at its time, if they came regularly.
    next: Instant,
}

impl RateLimit {
    /// The longest average rate is one event in this time.
    const INTERVAL: Duration = Duration::from_millis(100);
    /// How far the events may be ahead of that rate. The last one before a pause is then hardly ever lost.
    const BURST: Duration = Duration::from_secs(2);

    fn allows(&mut self, now: Instant) -> bool {
        let allowed = self.next <= now + Self::BURST;
        if allowed {
            self.next = self.next.max(now) + Self::INTERVAL;
        }
        allowed
    }
}

impl TurnSink {
    pub(super) fn new(
        parser: Box<dyn OutputParser>,
        renderer: Option<Renderer>,
        progress: Option<SpinnerHandle>,
        recorder: TurnRecorder,
    ) -> Self {
        let activity_limit = RateLimit { next: Instant::now() };
        Self { recorder, has_id: false, activity_limit, parser, renderer, progress }
    }

    /// Returns the result of the turn.
    pub(super) fn into_report(self) -> TurnReport {
        self.parser.into_report()
    }

    /// Returns a function that shows an event.
    fn show<'a>(
        mut renderer: Option<&'a mut Renderer>,
        progress: Option<&'a SpinnerHandle>,
    ) -> impl FnMut(AgentEvent) + 'a {
        move |event| {
            if let Some(renderer) = &mut renderer {
                renderer.render(&event);
            }
            if let (Some(progress), AgentEvent::ToolStarted(tool)) = (progress, &event) {
                progress.set(&format!("{} {}", tool.name, tool.about));
            }
        }
    }
}

impl process::OutputSink for TurnSink {
    fn start(&mut self) {
        self.recorder.agent_started();
    }

    fn write(&mut self, chunk: &[u8]) {
        self.parser.feed(chunk, &mut Self::show(self.renderer.as_mut(), self.progress.as_ref()));
        if let Some(id) = self.parser.session_id().filter(|_| !self.has_id) {
            self.recorder.update(|turn| turn.record.session_id = Some(id.to_owned()));
            self.has_id = true;
        }
        if self.recorder.is_open() && self.activity_limit.allows(Instant::now()) {
            let activity = self.parser.activity();
            self.recorder.update(|turn| turn.record.activity = activity);
        }
    }

    fn is_reconnecting(&self) -> bool {
        self.parser.is_reconnecting()
    }

    fn activity(&self) -> Option<String> {
        self.parser.activity()
    }

    fn finish(&mut self) {
        self.parser.end(&mut Self::show(self.renderer.as_mut(), self.progress.as_ref()));
        self.renderer.iter_mut().for_each(Renderer::end_line);
    }

    fn drain(&mut self) -> Vec<u8> {
        self.renderer.as_mut().map(Renderer::take).unwrap_or_default()
    }
}
