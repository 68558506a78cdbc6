//! Splits a command into words like Python's `shlex.split`.

/// Splits a command into words by the rule of Python's `shlex.split`, which the original used.
///
/// Comments are not recognized. Within double quotes a backslash escapes only the quote and itself. The crates `shlex` and
/// `shell-words` differ in both points, because they follow the shell. On Windows a backslash is an ordinary
/// character, so that paths work.
pub(crate) fn split(command: &str) -> Result<Vec<String>, &'static str> {
    const ESCAPES: bool = cfg!(not(windows));
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = command.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("a single quote is not closed"),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('"') => break,
                        Some('\\') if ESCAPES => match rest.next() {
                            Some(c @ ('"' | '\\')) => word.push(c),
                            Some(c) => word.extend(['\\', c]),
                            None => return Err("a double quote is not closed"),
                        },
                        Some(c) => word.push(c),
                        None => return Err("a double quote is not closed"),
                    }
                }
            }
            '\\' if ESCAPES => {
                word.get_or_insert_default().push(rest.next().ok_or("nothing follows the last backslash")?);
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}
