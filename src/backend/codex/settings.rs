//! The settings of codex that a name can keep: how its options are spelled, and which of them replace each other.

use super::exec_options::EXEC_ONLY;
use crate::backend::{BackendArgs, option_words};

/// The short options of `codex exec` and their long names.
const SHORT: &[(&str, &str)] = &[
    ("-c", "--config"),
    ("-m", "--model"),
    ("-p", "--profile"),
    ("-s", "--sandbox"),
    ("-C", "--cd"),
    ("-i", "--image"),
];

/// The options that select what commands may do. codex lets one of them win without a warning.
const SANDBOX: &[&str] = &["--sandbox", "--full-auto", "--yolo", "--dangerously-bypass-approvals-and-sandbox"];

/// Returns the options that configure codex, as they are typed. Files are not settings.
pub(super) fn words(args: &BackendArgs) -> Vec<String> {
    let args = &args.codex;
    let lists = [("--config", &args.config), ("--enable", &args.enable), ("--disable", &args.disable)];
    let values = lists.into_iter().flat_map(|(option, values)| values.iter().map(move |value| (option, value)));
    let words = values.flat_map(|(option, value)| option_words(option, value));
    let flags = [
        ("--full-auto", args.full_auto),
        ("--dangerously-bypass-approvals-and-sandbox", args.dangerously_bypass_approvals_and_sandbox),
        ("--skip-git-repo-check", args.skip_git_repo_check),
    ];
    let flags = flags.into_iter().filter(|(_, given)| *given).map(|(option, _)| option);
    words.chain(flags.map(str::to_owned)).collect()
}

/// Returns the kind of an option, whose first word is its name.
pub(super) fn kind(group: &[&str]) -> String {
    let (option, value) = spelled(group);
    match option {
        "--config" => match value.split('=').next().unwrap_or_default().trim() {
            "sandbox_mode" => "sandbox".to_owned(),
            "model" => "model".to_owned(),
            "model_reasoning_effort" => "effort".to_owned(),
            key => format!("config {key}"),
        },
        "--enable" | "--disable" => format!("feature {value}"),
        "--model" => "model".to_owned(),
        option if SANDBOX.contains(&option) => "sandbox".to_owned(),
        option => option.to_owned(),
    }
}

/// Returns whether an option switches off a protection.
pub(super) fn is_unprotected(group: &[&str]) -> bool {
    const FULL_ACCESS: &str = "danger-full-access";
    let (option, value) = spelled(group);
    match option {
        "--sandbox" => value == FULL_ACCESS,
        "--config" => kind(group) == "sandbox" && value.contains(FULL_ACCESS),
        option => option == "--yolo" || option.starts_with("--dangerously-"),
    }
}

/// Returns whether an option is for one turn.
pub(super) fn is_for_one_turn(group: &[&str]) -> bool {
    ["--image", super::SCHEMA_OPTION].contains(&spelled(group).0)
}

/// Returns whether the interactive program lacks an option of `codex exec`.
pub(super) fn is_for_turns_only(group: &[&str]) -> bool {
    EXEC_ONLY.contains(&spelled(group).0)
}

/// Returns the long name and the value of an option. The value may be joined with the name.
fn spelled<'a>(group: &[&'a str]) -> (&'a str, &'a str) {
    let next = group.get(1).copied().unwrap_or_default();
    let Some(word) = group.first() else { return ("", "") };
    if word.starts_with("--") {
        return word.split_once('=').unwrap_or((word, next));
    }
    match SHORT.iter().find_map(|(short, long)| Some((*long, word.strip_prefix(short)?))) {
        Some((long, "")) => (long, next),
        Some((long, joined)) => (long, joined.strip_prefix('=').unwrap_or(joined)),
        None => (word, next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::codex::CodexArgs;

    #[test]
    fn options_that_exclude_each_other_are_of_one_kind() {
        let of = |line: &str| kind(&line.split(' ').collect::<Vec<_>>());
        for line in ["--sandbox x", "-s x", "-sx", "--full-auto", "-c sandbox_mode=x", "--config=sandbox_mode = \"x\""]
        {
            assert_eq!(of(line), "sandbox", "{line}");
        }
        assert_eq!(of("-c model_reasoning_effort=\"low\""), "effort");
        assert_eq!((of("-m x"), of("--config model=x")), ("model".to_owned(), "model".to_owned()));
        assert_eq!((of("--enable f"), of("--disable=f")), ("feature f".to_owned(), "feature f".to_owned()));
        assert_eq!((of("--config a.b=1"), of("-ca.b=2")), ("config a.b".to_owned(), "config a.b".to_owned()));
        assert_ne!(of("--config a=1"), of("--config b=1"));
        assert_eq!((of("-p x"), of("--add-dir x")), ("--profile".to_owned(), "--add-dir".to_owned()));
    }

    #[test]
    fn options_that_switch_off_the_sandbox_are_found() {
        let is = |line: &str| is_unprotected(&line.split(' ').collect::<Vec<_>>());
        for line in [
            "--sandbox danger-full-access",
            "-sdanger-full-access",
            "-c sandbox_mode=\"danger-full-access\"",
            "--dangerously-bypass-approvals-and-sandbox",
            "--dangerously-bypass-hook-trust",
            "--yolo",
        ] {
            assert!(is(line), "{line}");
        }
        for line in
            ["--sandbox workspace-write", "--full-auto", "-c a=danger-full-access", "--add-dir danger-full-access"]
        {
            assert!(!is(line), "{line}");
        }
    }

    #[test]
    fn words_are_the_options_as_typed() {
        let codex = CodexArgs {
            config: vec!["a=1".into()],
            disable: vec!["f".into()],
            image: vec!["i.png".into()],
            full_auto: true,
            ..CodexArgs::default()
        };
        assert_eq!(words(&BackendArgs { codex }), ["--config", "a=1", "--disable", "f", "--full-auto"]);
    }
}
