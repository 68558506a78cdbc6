//! The settings of claude that a name can keep: which of its options replace each other.

/// Returns the kind of an option, whose first word is its name.
pub(super) fn kind(group: &[&str]) -> String {
    let (option, _) = spelled(group);
    let kind = match option {
        "--allowedTools" => "--allowed-tools",
        "--disallowedTools" => "--disallowed-tools",
        "--dangerously-skip-permissions" => "--permission-mode",
        "--model" => "model",
        "--effort" => "effort",
        option => option,
    };
    kind.to_owned()
}

/// Returns whether an option switches off a protection.
pub(super) fn is_unprotected(group: &[&str]) -> bool {
    match spelled(group) {
        ("--permission-mode", mode) => mode == "bypassPermissions",
        (option, _) => option.contains("-dangerously-"),
    }
}

/// Returns the name and the first value of an option.
fn spelled<'a>(group: &[&'a str]) -> (&'a str, &'a str) {
    let next = group.get(1).copied().unwrap_or_default();
    group.first().map_or(("", ""), |word| word.split_once('=').unwrap_or((word, next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_exclude_each_other_are_of_one_kind() {
        assert_eq!(kind(&["--allowedTools", "Bash"]), kind(&["--allowed-tools=Read"]));
        assert_eq!(kind(&["--dangerously-skip-permissions"]), kind(&["--permission-mode", "plan"]));
        assert_ne!(kind(&["--allowedTools", "Bash"]), kind(&["--disallowedTools", "Bash"]));
        assert_eq!((kind(&["--model", "x"]), kind(&["--effort=low"])), ("model".to_owned(), "effort".to_owned()));
    }

    #[test]
    fn options_that_switch_off_permissions_are_found() {
        for group in [
            &["--permission-mode", "bypassPermissions"][..],
            &["--permission-mode=bypassPermissions"],
            &["--dangerously-skip-permissions"],
            &["--allow-dangerously-skip-permissions"],
        ] {
            assert!(is_unprotected(group), "{group:?}");
        }
        assert!(!is_unprotected(&["--permission-mode", "acceptEdits"]) && !is_unprotected(&["--allowedTools", "Bash"]));
    }
}
