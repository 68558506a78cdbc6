//! The file in which codex records a thread, as far as it explains a failure. codex's events have no codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use memchr::memmem;
use serde_json::value::RawValue;

use super::{SPEC, thread_in_file_name};
use crate::backend::event::object;
use crate::input;
use crate::json::Members;

/// The time after which the code is taken as unknown. Reading it takes a few milliseconds.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The limit on the bytes that are read, from the end of the file. The end of a failed turn is a short line.
const TAIL: u64 = 256 << 10;

/// The limit on the names of one day that are read.
const MOST_NAMES: usize = 20_000;

/// Returns codex's code for the failure of a turn that began after `since`, and that was the last one of `thread`.
pub(super) fn failure_code(home: &Path, thread: &str, since: Timestamp) -> Option<Box<RawValue>> {
    let (sender, receiver) = mpsc::channel();
    let (home, thread) = (home.to_owned(), thread.to_owned());
    let read = move || {
        let tail = input::end_of_regular_file(&find(&home, &thread)?, TAIL).ok()?;
        last_code(&tail, since)
    };
    thread::Builder::new().spawn(move || drop(sender.send(read()))).ok()?;
    receiver.recv_timeout(TIMEOUT).ok()?
}

/// Returns the file of a thread. It is in the directory of the day on which the thread was started, in local time.
fn find(home: &Path, thread: &str) -> Option<PathBuf> {
    let day = started_at(thread)?.to_zoned(TimeZone::UTC).date();
    let days = [Ok(day), day.yesterday(), day.tomorrow()];
    let dirs = days.into_iter().flatten().map(|day| {
        let dir = home.join(SPEC.session_files.dir);
        dir.join(format!("{:04}", day.year())).join(format!("{:02}", day.month())).join(format!("{:02}", day.day()))
    });
    let is_named = |name: &str| thread_in_file_name(name).is_some_and(|id| id.eq_ignore_ascii_case(thread));
    let entries = dirs.flat_map(|dir| fs::read_dir(dir).into_iter().flatten().take(MOST_NAMES)).flatten();
    entries.map(|entry| entry.path()).find(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_named))
}

/// Returns the time in the ID of a thread, which is a UUID of version 7.
fn started_at(thread: &str) -> Option<Timestamp> {
    let groups: Vec<&str> = thread.split('-').collect();
    let [high, low, version, _, _] = groups[..] else { return None };
    if (high.len(), low.len()) != (8, 4) || !version.starts_with('7') {
        return None;
    }
    Timestamp::from_millisecond(i64::from_str_radix(&format!("{high}{low}"), 16).ok()?).ok()
}

/// Returns the code of the last turn in `tail`, unless that turn ended before `since`.
fn last_code(tail: &[u8], since: Timestamp) -> Option<Box<RawValue>> {
    let lines = tail.rsplit(|&byte| byte == b'\n').filter(|line| memmem::find(line, b"\"task_complete\"").is_some());
    let mut events = lines.filter_map(|line| serde_json::from_slice::<Members<'_>>(line).ok());
    let (time, payload) = events.find_map(|event| {
        let payload = object(event.get("payload")?)?;
        let is_end = payload.text("type").as_deref() == Some("task_complete");
        (is_end && event.text("type").as_deref() == Some("event_msg")).then(|| (event.text("timestamp"), payload))
    })?;
    let is_current = time?.parse::<Timestamp>().is_ok_and(|time| time >= since);
    let code = object(payload.get("error")?)?.get("codex_error_info")?;
    is_current.then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_has_the_time_of_the_thread() {
        let time = started_at("01a1ffa2-2adf-78c2-9502-ed55ca6a452f").unwrap();
        assert_eq!(time.to_string(), "2026-11-21T19:43:00.319Z");
        for other in ["", "i", "0f12c83d-d554-4369-b6d8-9fed035c432c", "01a1ffa2-2adf-78c2-9502", "zzzzzzzz-2adf-7-a-b"]
        {
            assert_eq!(started_at(other), None, "{other}");
        }
    }

    #[test]
    fn only_the_end_of_the_last_turn_counts() {
        let end = |time: &str, error: &str| {
            format!(r#"{{"timestamp":"{time}","type":"event_msg","payload":{{"type":"task_complete"{error}}}}}"#)
        };
        let failed = r#","error":{"message":"m","codex_error_info":"other"}"#;
        let code = |lines: &[String]| {
            let since = "2026-11-21T19:43:00Z".parse().unwrap();
            last_code((lines.join("\n") + "\n").as_bytes(), since).map(|code| code.get().to_owned())
        };
        let (before, after) = ("2026-11-21T19:42:59.999Z", "2026-11-21T19:43:00.100Z");
        assert_eq!(code(&[end(after, failed)]).as_deref(), Some("\"other\""));
        assert_eq!(code(&[end(before, failed)]), None);
        assert_eq!(code(&[end(after, failed), end(after, "")]), None);
        assert_eq!(code(&["{\"type\":\"task_complete\"".to_owned()]), None);
        assert_eq!(code(&[]), None);
    }
}
