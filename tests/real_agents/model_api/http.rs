//! The part of HTTP/1.1 that two well-behaved clients on loopback need: one request and one answer per connection.
//!
//! This is not a web server. An answer must be sent piece by piece, with pauses that a test sets. Small HTTP servers do
//! not support that, because they buffer a body before they send it.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

/// More headers than either agent sends (about 30).
const MOST_HEADERS: usize = 100;

/// A complete request.
pub(super) struct Incoming {
    pub(super) method: String,
    /// The unchanged target: a path, or a foreign `host:port` or URL if the client uses the server as a proxy.
    pub(super) target: String,
    pub(super) body: Vec<u8>,
}

/// Reads one request. Returns `None` if the client closed the connection without a request.
///
/// A body needs a `content-length`. Both agents send it. An agent that no longer does causes an error.
pub(super) fn read(stream: &mut TcpStream) -> io::Result<Option<Incoming>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 8 * 1024];
    loop {
        let count = stream.read(&mut piece)?;
        if count == 0 && bytes.is_empty() {
            return Ok(None);
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&piece[..count]);

        let Some((mut incoming, head, length)) = parse_head(&bytes)? else {
            continue;
        };
        let mut body = bytes.split_off(head);
        let missing = length.saturating_sub(body.len() as u64);
        stream.take(missing).read_to_end(&mut body)?;
        if (body.len() as u64) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        incoming.body = body;
        return Ok(Some(incoming));
    }
}

/// Returns the request without its body, the length of its head, and the length of its body. Returns `None` if the head
/// is incomplete.
fn parse_head(bytes: &[u8]) -> io::Result<Option<(Incoming, usize, u64)>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(bytes).map_err(invalid)? else {
        return Ok(None);
    };
    let incoming = Incoming {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        body: Vec::new(),
    };
    let mut length = 0;
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(header.value).map_err(invalid)?.trim().parse().map_err(invalid)?;
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(invalid("a body without content-length is not supported"));
        }
    }
    Ok(Some((incoming, head, length)))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Sends a complete answer, without its body if the method is HEAD.
pub(super) fn send_json(stream: &mut TcpStream, method: &str, status: u16, body: &serde_json::Value) -> io::Result<()> {
    send(stream, method, status, &[], body)
}

/// Sends a complete answer with additional headers.
pub(super) fn send(
    stream: &mut TcpStream,
    method: &str,
    status: u16,
    headers: &[(&str, &str)],
    body: &serde_json::Value,
) -> io::Result<()> {
    let body = body.to_string();
    write!(stream, "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", body.len())?;
    for (name, value) in headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"connection: close\r\n\r\n")?;
    if method != "HEAD" {
        stream.write_all(body.as_bytes())?;
    }
    stream.flush()
}

/// Starts an answer of server-sent events. It ends when the connection is closed.
pub(super) fn open_events(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
}

/// Sends one event with its `type` as its name, as both APIs do.
pub(super) fn send_event(stream: &mut TcpStream, event: &serde_json::Value) -> io::Result<()> {
    let name = event["type"].as_str().unwrap_or_default();
    stream.write_all(format!("event: {name}\ndata: {event}\n\n").as_bytes())?;
    stream.flush()
}
