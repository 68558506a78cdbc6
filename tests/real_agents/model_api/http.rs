//! As much HTTP/1.1 as two well-behaved clients on loopback need: one request in, one answer out, close.
//!
//! Not a web server. It is written out because an answer has to leave piece by piece, at the pace a test sets, and the
//! small servers one could take instead gather a body before they send it.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

/// More headers than either agent sends (about 30).
const MOST_HEADERS: usize = 100;

/// A request, read to its end.
pub(super) struct Incoming {
    pub(super) method: String,
    /// The target as it was sent: a path here, a foreign `host:port` or URL where the client takes us for a proxy.
    pub(super) target: String,
    pub(super) body: Vec<u8>,
}

/// Reads one request. `None` is a client that hung up before it asked for anything.
///
/// A body needs a `content-length`: both agents send one, and one that stops to do so should be noticed here.
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

/// The request without its body, the bytes its head takes and the bytes its body will take; `None` if the head is not
/// whole yet.
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
            return Err(invalid("a body without content-length is not understood here"));
        }
    }
    Ok(Some((incoming, head, length)))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Sends a whole answer. The body of an answer to HEAD stays behind, as the protocol wants.
pub(super) fn send_json(stream: &mut TcpStream, method: &str, status: u16, body: &serde_json::Value) -> io::Result<()> {
    let body = body.to_string();
    write!(
        stream,
        "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )?;
    if method != "HEAD" {
        stream.write_all(body.as_bytes())?;
    }
    stream.flush()
}

/// Opens an answer of server-sent events; closing the connection ends it.
pub(super) fn open_events(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
}

/// Sends one event under the name its own `type` says, as both APIs do.
pub(super) fn send_event(stream: &mut TcpStream, event: &serde_json::Value) -> io::Result<()> {
    let name = event["type"].as_str().unwrap_or_default();
    stream.write_all(format!("event: {name}\ndata: {event}\n\n").as_bytes())?;
    stream.flush()
}
