//! Times in the form in which this program stores and prints them.

use jiff::Timestamp;

/// Returns the current time in the format of Python's `datetime.now(timezone.utc).isoformat()`.
pub(crate) fn now() -> String {
    iso_format(Timestamp::now())
}

/// Returns `time` in the form of all times that this program stores and prints.
pub(crate) fn iso_format(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}
