//! Times in the form in which this program stores and prints them.

use jiff::Timestamp;

/// The units of an age: their seconds, the letter, and the word.
const UNITS: [(i64, &str, &str); 4] =
    [(86400, "d", "day"), (3600, "h", "hour"), (60, "m", "minute"), (1, "s", "second")];

/// Returns the current time in the format of Python's `datetime.now(timezone.utc).isoformat()`.
pub(crate) fn now() -> String {
    iso_format(Timestamp::now())
}

/// Returns `time` in the form of all times that this program stores and prints.
pub(crate) fn iso_format(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

/// Returns the time since `past` in the largest full unit, such as `3h`.
pub(crate) fn age(past: Timestamp, now: Timestamp) -> String {
    let (count, unit, _) = largest_unit(past, now);
    format!("{count}{unit}")
}

/// Returns the time since `past` in words, such as `3 hours ago`.
pub(crate) fn ago(past: Timestamp, now: Timestamp) -> String {
    let (count, _, word) = largest_unit(past, now);
    format!("{count} {word}{} ago", if count == 1 { "" } else { "s" })
}

/// Returns the time since `past` in the largest full unit. It is 0 if the clock was set back.
fn largest_unit(past: Timestamp, now: Timestamp) -> (i64, &'static str, &'static str) {
    let seconds = now.duration_since(past).as_secs().max(0);
    let (size, unit, word) = UNITS.into_iter().find(|(size, ..)| seconds >= *size).unwrap_or(UNITS[3]);
    (seconds / size, unit, word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_in_their_largest_full_unit() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (past, short, long) in [
            ("2026-11-21T11:59:18.236249+00:00", "41s", "41 seconds ago"),
            ("2026-11-21T11:59:00+00:00", "1m", "1 minute ago"),
            ("2026-11-21T13:00:00.5+02:00", "59m", "59 minutes ago"),
            ("2026-11-20T12:00:01+00:00", "23h", "23 hours ago"),
            ("2025-11-21T12:00:00+00:00", "365d", "365 days ago"),
            ("2030-01-01T00:00:00+00:00", "0s", "0 seconds ago"),
        ] {
            let past = past.parse().unwrap();
            assert_eq!((age(past, now).as_str(), ago(past, now).as_str()), (short, long));
        }
    }
}
