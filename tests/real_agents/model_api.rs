//! The model of the agents: a server in this process that offers both APIs on loopback.
//!
//! Every reply repeats parts of its request (see [`answer::text`]), and every request is kept for the test. A test can
//! make the server slow, make it refuse requests, or make it request a command. Each test starts a separate server.
//!
//! It is also the proxy of all processes of the agents. It refuses every connection to another machine, and records it
//! as a [leak](ModelApi::leaks).

mod answer;
mod http;
mod request;

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::{Value, json};

pub(crate) use answer::Block;
use request::Dialect;
pub(crate) use request::ModelRequest;

/// The reason in the body of every refusal, which tests expect in the program's output.
pub(crate) const REFUSAL: &str = "this key opens no door";

/// An error of the API. With status 200, the body is an event in an otherwise empty stream.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) headers: &'static [(&'static str, &'static str)],
    pub(crate) body: Value,
}

/// A running server. Stopped when dropped.
pub(crate) struct ModelApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified of every change of the state.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    requests: Vec<ModelRequest>,
    leaks: Vec<String>,
    pause: Duration,
    refusal: Option<Refusal>,
    /// The only model whose requests are refused, if it is set.
    refused_model: Option<String>,
    hangs_up: bool,
    holds: bool,
    bash: Option<BashOnce>,
    script: VecDeque<Vec<Block>>,
    structured: Option<Value>,
    ended: bool,
}

struct BashOnce {
    prompt: String,
    command: String,
}

impl ModelApi {
    /// Starts a server on a free port.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback is free");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared::default());
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Returns the URL of the server, without a path.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the pause after every piece of a reply, also for replies in progress.
    pub(crate) fn pause_between_deltas(&self, pause: Duration) {
        self.shared.change(|state| state.pause = pause);
    }

    /// Answers later requests with this HTTP status and [`REFUSAL`].
    pub(crate) fn refuse_with(&self, status: u16) {
        let body = json!({"type": "error", "error": {"type": "authentication_error", "message": REFUSAL}});
        self.refuse_as(&Refusal { status, headers: &[], body });
    }

    /// Answers later requests with this error.
    pub(crate) fn refuse_as(&self, refusal: &Refusal) {
        self.shared.change(|state| state.refusal = Some(refusal.clone()));
    }

    /// Answers later requests for this model with this error.
    pub(crate) fn refuse_model_as(&self, model: &str, refusal: &Refusal) {
        self.refuse_as(refusal);
        self.shared.change(|state| state.refused_model = Some(model.to_owned()));
    }

    /// Closes later connections without an answer.
    pub(crate) fn hang_up(&self) {
        self.shared.change(|state| state.hangs_up = true);
    }

    /// Reverts [`refuse_with`](Self::refuse_with).
    pub(crate) fn accept(&self) {
        self.shared.change(|state| state.refusal = None);
    }

    /// Delays all later answers until [`release`](Self::release), except calls of a shell tool from
    /// [`answer_with_bash_once`](Self::answer_with_bash_once).
    pub(crate) fn hold(&self) {
        self.shared.change(|state| state.holds = true);
    }

    /// Reverts [`hold`](Self::hold), also for requests that wait.
    pub(crate) fn release(&self) {
        self.shared.change(|state| state.holds = false);
    }

    /// Returns whether the model was called with a turn that contains `prompt`.
    pub(crate) fn has_received(&self, prompt: &str) -> bool {
        self.shared.lock().requests.iter().any(|request| request.last_turn().contains(prompt))
    }

    /// Answers the next turn that contains `prompt` with a call of the agent's shell tool.
    pub(crate) fn answer_with_bash_once(&self, prompt: &str, command: &str) {
        let once = BashOnce { prompt: prompt.to_owned(), command: command.to_owned() };
        self.shared.change(|state| state.bash = Some(once));
    }

    /// Answers the next calls with these replies, in order.
    pub(crate) fn play(&self, replies: impl IntoIterator<Item = Vec<Block>>) {
        self.shared.change(|state| state.script.extend(replies));
    }

    /// Answers later requests that have a schema with this JSON, which need not match it.
    pub(crate) fn answer_structured(&self, answer: &Value) {
        self.shared.change(|state| state.structured = Some(answer.clone()));
    }

    /// Returns all calls of a model, oldest first, without those that no test caused.
    pub(crate) fn requests(&self) -> Vec<ModelRequest> {
        self.shared.lock().requests.clone()
    }

    /// Returns the latest call of a model.
    pub(crate) fn last_request(&self) -> ModelRequest {
        self.shared.lock().requests.last().cloned().expect("an agent has called its model")
    }

    /// Returns unexpected requests: attempts to reach another machine, and invalid requests.
    pub(crate) fn leaks(&self) -> Vec<String> {
        self.shared.lock().leaks.clone()
    }
}

impl Drop for ModelApi {
    fn drop(&mut self) {
        self.shared.change(|state| state.ended = true);
        // The acceptor waits for a connection, so this one wakes it.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    /// Locks the state, even if a test panicked while it held the lock, so that its requests can still be reported.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits while answers are held.
    fn wait_for_release(&self) {
        drop(self.changed.wait_while(self.lock(), |state| state.holds && !state.ended));
    }

    /// Waits until the pause has passed or is cancelled.
    fn pause(&self) {
        let state = self.lock();
        let pause = state.pause;
        let unchanged = |state: &mut State| !state.ended && state.pause == pause;
        drop(self.changed.wait_timeout_while(state, pause, unchanged));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.lock().ended {
            return;
        }
        let Ok(stream) = stream else { continue };
        if shared.lock().hangs_up {
            continue;
        }
        let shared = Arc::clone(shared);
        // Not joined: an agent may keep a connection open, and the thread owns only that connection.
        thread::spawn(move || serve(stream, &shared));
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    match http::read(&mut stream) {
        // An error during the answer means that the program or the test ended the agent.
        Ok(Some(incoming)) => drop(answer(&mut stream, &incoming, shared)),
        Ok(None) => {}
        Err(error) => shared.change(|state| state.leaks.push(format!("a request that cannot be read: {error}"))),
    }
}

fn answer(stream: &mut TcpStream, incoming: &http::Incoming, shared: &Shared) -> io::Result<()> {
    let http::Incoming { method, target, body } = incoming;
    if !target.starts_with('/') {
        shared.change(|state| state.leaks.push(format!("{method} {target}")));
        return http::send_json(stream, method, 403, &json!({}));
    }
    let path = target.split('?').next().unwrap_or_default();
    let dialect = match (method.as_str(), path) {
        ("POST", "/v1/messages") => Dialect::Messages,
        ("POST", "/v1/responses") => Dialect::Responses,
        ("POST", "/v1/messages/count_tokens") => {
            return http::send_json(stream, method, 200, &json!({"input_tokens": 10}));
        }
        ("HEAD" | "GET", _) => return http::send_json(stream, method, 200, &json!({"data": [], "models": []})),
        _ => return http::send_json(stream, method, 404, &json!({})),
    };
    let body = match serde_json::from_slice(body) {
        Ok(body) => body,
        Err(error) => {
            shared.change(|state| state.leaks.push(format!("{target}: not JSON: {error}")));
            return http::send_json(stream, method, 400, &json!({}));
        }
    };
    let request = ModelRequest { dialect, body };
    if request.is_warmup() {
        http::open_events(stream)?;
        let events = answer::events(&request, &[Block::Text("ready".to_owned())]);
        return events.iter().try_for_each(|event| http::send_event(stream, event));
    }
    shared.change(|state| state.requests.push(request.clone()));

    let refused_model = shared.lock().refused_model.clone();
    let is_refused = refused_model.is_none_or(|model| request.model() == model);
    let refusal = shared.lock().refusal.clone().filter(|_| is_refused);
    match refusal {
        Some(Refusal { status: 200, body, .. }) => {
            http::open_events(stream)?;
            return http::send_event(stream, &body);
        }
        Some(Refusal { status, headers, body }) => return http::send(stream, method, status, headers, &body),
        None => {}
    }
    let bash = take_bash(shared, &request);
    if bash.is_none() {
        shared.wait_for_release();
    }
    let scripted = shared.lock().script.pop_front();
    let structured = shared.lock().structured.clone().filter(|_| request.schema().is_some());
    let blocks = scripted
        .or_else(|| structured.map(|answer| vec![answer::structured(&request, answer)]))
        .or_else(|| bash.map(|command| vec![answer::shell(&request, &command)]))
        .unwrap_or_else(|| vec![Block::Text(answer::text(&request))]);
    let events = answer::events(&request, &blocks);
    http::open_events(stream)?;
    for event in &events {
        http::send_event(stream, event)?;
        if answer::is_delta(event) {
            shared.pause();
        }
    }
    Ok(())
}

fn take_bash(shared: &Shared, request: &ModelRequest) -> Option<String> {
    if request.returns_a_tool_result() {
        return None;
    }
    let mut state = shared.lock();
    state.bash.take_if(|once| request.last_turn().contains(&once.prompt)).map(|once| once.command)
}
