//! The model that the agents talk to: both APIs, on loopback, in this process.
//!
//! It has no opinions. Every reply tells what it was shown (see [`answer::text`]), every request is kept for the test
//! to look at, and a few knobs make it slow, make it refuse, or make it ask for a command. Each test has a server of
//! its own.
//!
//! It is also the proxy of everything the agents start: whatever they try to reach beyond this machine is turned away
//! and remembered as a [leak](ModelApi::leaks).

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

/// The reason in the body of every refusal, for tests to find again in what the program says.
pub(crate) const REFUSAL: &str = "this key opens no door";

/// A running server; dropping it ends it.
pub(crate) struct ModelApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Told at every change of the state.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    requests: Vec<ModelRequest>,
    leaks: Vec<String>,
    pause: Duration,
    refusal: Option<u16>,
    bash: Option<BashOnce>,
    script: VecDeque<Vec<Block>>,
    ended: bool,
}

struct BashOnce {
    prompt: String,
    command: String,
}

impl ModelApi {
    /// Starts a server on a free port.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("a listener knows its address");
        let shared = Arc::new(Shared::default());
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Where it listens, without a path.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, waits this long behind every piece of a reply. An answer that is under way takes note.
    pub(crate) fn pause_between_deltas(&self, pause: Duration) {
        self.shared.change(|state| state.pause = pause);
    }

    /// From now on, answers with this HTTP status and [`REFUSAL`].
    pub(crate) fn refuse_with(&self, status: u16) {
        self.shared.change(|state| state.refusal = Some(status));
    }

    /// Takes [`refuse_with`](Self::refuse_with) back.
    pub(crate) fn accept(&self) {
        self.shared.change(|state| state.refusal = None);
    }

    /// Answers the next turn of claude that has `prompt` in it with a call of its Bash tool.
    pub(crate) fn answer_with_bash_once(&self, prompt: &str, command: &str) {
        let once = BashOnce { prompt: prompt.to_owned(), command: command.to_owned() };
        self.shared.change(|state| state.bash = Some(once));
    }

    /// Answers the next calls with these replies, one for each.
    pub(crate) fn play(&self, replies: impl IntoIterator<Item = Vec<Block>>) {
        self.shared.change(|state| state.script.extend(replies));
    }

    /// Every call of a model so far, oldest first.
    pub(crate) fn requests(&self) -> Vec<ModelRequest> {
        self.shared.lock().requests.clone()
    }

    /// The latest call of a model.
    pub(crate) fn last_request(&self) -> ModelRequest {
        self.shared.lock().requests.last().cloned().expect("an agent has called its model")
    }

    /// What should not have happened: attempts to reach another machine, and requests that could not be read.
    pub(crate) fn leaks(&self) -> Vec<String> {
        self.shared.lock().leaks.clone()
    }
}

impl Drop for ModelApi {
    fn drop(&mut self) {
        self.shared.change(|state| state.ended = true);
        // The acceptor is waiting for a connection: give it one to look up from.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    /// A test that fails while it holds the lock must not take the server's account of what happened with it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits for the pause to pass, or to be called off.
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
        let shared = Arc::clone(shared);
        // Not joined: an agent may keep a connection for as long as it likes, and its thread owns nothing but that.
        thread::spawn(move || serve(stream, &shared));
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    match http::read(&mut stream) {
        // An error from here on is an agent that went away in mid-answer: ended by the program or by the test.
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
    shared.change(|state| state.requests.push(request.clone()));

    if let Some(status) = shared.lock().refusal {
        return http::send_json(stream, method, status, &refusal());
    }
    let scripted = shared.lock().script.pop_front();
    let blocks = scripted
        .or_else(|| take_bash(shared, &request).map(|command| vec![answer::bash(&command)]))
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

/// An error in the shape that both APIs share.
fn refusal() -> Value {
    json!({"type": "error", "error": {"type": "authentication_error", "message": REFUSAL}})
}

fn take_bash(shared: &Shared, request: &ModelRequest) -> Option<String> {
    if request.dialect != Dialect::Messages || request.returns_a_tool_result() {
        return None;
    }
    let mut state = shared.lock();
    state.bash.take_if(|once| request.last_turn().contains(&once.prompt)).map(|once| once.command)
}
