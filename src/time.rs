//! Times in the form in which this program stores and prints them. They are written here, because `strftime` takes 30 KB
//! of the program.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// The units of an age: their seconds, the letter, and the word.
const UNITS: [(i64, &str, &str); 4] =
    [(86400, "d", "day"), (3600, "h", "hour"), (60, "m", "minute"), (1, "s", "second")];

/// Returns the current time in the format of Python's `datetime.now(timezone.utc).isoformat()`.
pub(crate) fn now() -> String {
    iso_format(Timestamp::now())
}

/// Returns `time` in the form of all times that this program stores and prints.
pub(crate) fn iso_format(time: Timestamp) -> String {
    let time = Offset::UTC.to_datetime(time);
    let microseconds = time.subsec_nanosecond() / 1000;
    format!("{}T{}.{microseconds:06}+00:00", time.date(), clock(time, ":"))
}

/// Returns `time` in UTC with digits only, to name a file: `20261121-105533`.
pub(crate) fn digits(time: Timestamp) -> String {
    let time = Offset::UTC.to_datetime(time);
    format!("{:04}{:02}{:02}-{}", time.year(), time.month(), time.day(), clock(time, ""))
}

/// Returns the time of day on a clock with twelve hours, such as `1:05`, and whether it is after noon.
pub(crate) fn twelve_hours(time: DateTime) -> (String, bool) {
    let hour = match time.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    (format!("{hour}:{:02}", time.minute()), time.hour() >= 12)
}

fn clock(time: DateTime, separator: &str) -> String {
    format!("{:02}{separator}{:02}{separator}{:02}", time.hour(), time.minute(), time.second())
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

    #[test]
    fn times_have_the_forms_of_python_and_of_clocks() {
        let time: Timestamp = "2026-01-02T13:04:05.0678909Z".parse().unwrap();
        assert_eq!(iso_format(time), "2026-01-02T13:04:05.067890+00:00");
        assert_eq!(digits(time), "20260102-130405");
        let at = |hour, minute| twelve_hours(DateTime::constant(2026, 1, 2, hour, minute, 0, 0));
        assert_eq!(at(0, 5), ("12:05".to_owned(), false));
        assert_eq!(at(12, 0), ("12:00".to_owned(), true));
        assert_eq!(at(23, 59), ("11:59".to_owned(), true));
    }
}
