//! Durations on the command line: a number of seconds, or numbers with units.

use std::time::Duration;

use jiff::fmt::friendly::SpanParser;

use crate::error::{Error, Result};
use crate::session::trim;

/// Parses the value of `option`, which must be finite and above 0.
///
/// A plain number is seconds: everything that Python's `float` reads, as in the original. Anything else has units.
///
/// # Errors
///
/// A usage error that shows the accepted forms.
pub(super) fn duration(option: &str, text: &str) -> Result<Duration> {
    parse(text).filter(|duration| !duration.is_zero()).ok_or_else(|| {
        Error::usage(format!("{option} '{text}' is not a duration above 0"))
            .with_hint(format!("pass seconds, or a duration with units: {option} 300, 90s, 5m, 1h30m or 500ms"))
    })
}

/// Parses a duration, which may be zero.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let text = trim(text);
    match python_float(text) {
        Some(seconds) if seconds.is_finite() && seconds >= 0.0 => {
            Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
        }
        Some(_) => None,
        None => with_units(text),
    }
}

fn python_float(text: &str) -> Option<f64> {
    // Python takes single underscores between digits
    let digits = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let separates = |at: usize| at > 0 && digits(at - 1) && digits(at + 1);
    let plain: String = text.char_indices().filter(|&(at, c)| c != '_' || !separates(at)).map(|(_, c)| c).collect();
    plain.parse().ok()
}

fn with_units(text: &str) -> Option<Duration> {
    if text.contains(',') {
        return None; // "1,500ms" could be 1.5 or 1500
    }
    SpanParser::new().parse_unsigned_duration(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_numbers_are_seconds() {
        assert_eq!(duration("--x", " 1.5 ").unwrap(), Duration::from_millis(1500));
        assert_eq!(duration("--x", "1_0.5").unwrap(), Duration::from_millis(10_500));
        assert_eq!(duration("--x", "1e300").unwrap(), Duration::MAX);
        for bad in ["0", "-1", "nan", "inf", "infinity", "-inf", "x", "", "-0", "_1", "1__0", "1_"] {
            assert!(duration("--x", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn units_are_case_sensitive_and_up_to_hours() {
        for (text, milliseconds) in [
            ("5m", 300_000),
            ("90s", 90_000),
            ("2h", 7_200_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("500ms", 500),
            ("1.5h", 5_400_000),
            (" 2 minutes ", 120_000),
            ("+5m", 300_000),
        ] {
            assert_eq!(duration("--x", text).unwrap(), Duration::from_millis(milliseconds), "{text}");
        }
        let bad = [
            "5M",
            "5H",
            "1d",
            "1w",
            "1mo",
            "-5m",
            "0s",
            "0h0m",
            "5m ago",
            "m",
            "5mm",
            "1,500ms",
            "1h, 30m",
            "5 m x",
            "PT5M",
            "30m1h",
            "1.5h30m",
            "99999999999999999999h",
        ];
        for bad in bad {
            assert!(duration("--x", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn error_shows_the_accepted_forms() {
        let error = duration("--stall-seconds", "5M").unwrap_err();
        assert_eq!(error.message, "--stall-seconds '5M' is not a duration above 0");
        assert_eq!(
            error.hint.as_deref(),
            Some("pass seconds, or a duration with units: --stall-seconds 300, 90s, 5m, 1h30m or 500ms")
        );
    }
}
