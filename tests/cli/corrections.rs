//! Wrong command lines, as callers type them who know `claude`, `codex`, `git` or `gh`: the hint has the right line.

use crate::support::*;

/// What was typed after the program's name, and the corrected line after it; or, if there is none, the whole hint.
const LINES: &[(&str, &str)] = &[
    // names without an option
    ("create-session one", "create-session --session-name one"),
    ("create-session one two", "create-session --session-name one --init-prompt two"),
    ("create-session one 'Read docs/'", "create-session --session-name one --init-prompt 'Read docs/'"),
    ("resolve one", "resolve --session-name one"),
    ("delete-session one", "delete-session --session-name one"),
    ("rename-session one two", "rename-session --session-name one --to two"),
    ("rename-session --session-name one two", "rename-session --session-name one --to two"),
    ("fork-session one two 'What if?'", "fork-session --session-name one --to two --prompt 'What if?'"),
    ("resume-json one 'Do it'", "resume-json --session-name one --prompt 'Do it'"),
    ("resume-stream one 'Do it'", "resume-stream --session-name one --prompt 'Do it'"),
    ("resume-json one -", "resume-json --session-name one --prompt -"),
    ("resume-json --session-name a 'Do it'", "resume-json --session-name a --prompt 'Do it'"),
    ("resume-json --session-name a Continue", "resume-json --session-name a --prompt Continue"),
    ("resume-json 'Do it'", "resume-json --session-name NAME --prompt 'Do it'"),
    (
        "resume-json 0b5b5ad5-f9b1-4a2c-8a2f-2f8d5a3c1e77 'Do it'",
        "resume-json --session-id 0b5b5ad5-f9b1-4a2c-8a2f-2f8d5a3c1e77 --prompt 'Do it'",
    ),
    ("list-sessions ../other", "list-sessions --workspace-dir ../other"),
    ("list-sessions codex", "list-sessions --backend codex"),
    ("list-sessions one", "resolve --session-name one"),
    ("delete-all-sessions one", "delete-session --session-name one"),
    // options of other programs
    ("create-session --name one", "create-session --session-name one"),
    ("create-session --name=one", "create-session --session-name one"),
    ("resolve -n one", "resolve --session-name one"),
    ("resolve --id i", "resolve --session-id i"),
    ("create-session --session-name a --prompt 'Hi you'", "create-session --session-name a --init-prompt 'Hi you'"),
    ("resume-json --session-name a --prompt p --format text", "resume-json --session-name a --prompt p --print-result"),
    ("resume-json --session-name a --prompt p --format=text", "resume-json --session-name a --prompt p --print-result"),
    ("resume-json --session-name a --prompt p --format json", "resume-json --session-name a --prompt p"),
    ("resume-json --session-name a --prompt p --json", "resume-json --session-name a --prompt p"),
    ("resume-stream --session-name a --prompt p --json", "resume-stream --session-name a --prompt p --format jsonl"),
    (
        "resume-json --session-name a --prompt p --timeout 600",
        "resume-json --session-name a --prompt p --deadline-seconds 600",
    ),
    (
        "resume-json --session-name a --prompt p --timeout=5m",
        "resume-json --session-name a --prompt p --deadline-seconds 5m",
    ),
    ("resume-json --session-name a --prompt p --output f", "resume-json --session-name a --prompt p --output-file f"),
    ("resume-json --session-name a --prompt p -o f", "resume-json --session-name a --prompt p --output-file f"),
    ("resume-json --session-name a --prompt p --cwd d", "resume-json --session-name a --prompt p --workspace-dir d"),
    ("resume-json --session-name a --prompt p --dir d", "resume-json --session-name a --prompt p --workspace-dir d"),
    ("resume-json --session-name a --prompt p -C d", "resume-json --session-name a --prompt p --workspace-dir d"),
    ("resume-json --session-name a --text 'Do it'", "resume-json --session-name a --prompt 'Do it'"),
    ("resume-json --session-name a --message 'Do it'", "resume-json --session-name a --prompt 'Do it'"),
    ("resume-json --session-name a -m 'Do it'", "resume-json --session-name a --prompt 'Do it'"),
    ("resume-json --session-name a -m opus --prompt p", "resume-json --session-name a --model opus --prompt p"),
    ("resume-json --session-name a -p 'Do it'", "resume-json --session-name a --prompt 'Do it'"),
    ("resume-json --session-name a --file p.txt", "resume-json --session-name a --prompt-file p.txt"),
    ("resume-json --resume a -p 'Do it'", "resume-json --session-name a --prompt 'Do it'"),
    (
        "resume-json --agent codex --session-name a --prompt p",
        "resume-json --backend codex --session-name a --prompt p",
    ),
    ("resume-json --session-name a --prompt p --create", "resume-json --session-name a --prompt p --if-missing create"),
    ("resume-json --session-name a --prompt p --no-wait", "resume-json --session-name a --prompt p --if-busy fail"),
    ("resume-json --session-name a --prompt p --fork", "fork-session --session-name a --prompt p --to NEW"),
    ("resume-json --session-name a --prompt p --stream", "resume-stream --session-name a --prompt p"),
    ("resume-json --session-name a --prompt-f p.txt", "resume-json --session-name a --prompt-file p.txt"),
    ("resume-json --session-name a --prompt p --output-format json", "resume-json --session-name a --prompt p"),
    (
        "resume-json --session-name a --prompt p --output-format stream-json",
        "resume-stream --session-name a --prompt p",
    ),
    (
        "resume-stream --session-name a --prompt p --output-format=text",
        "resume-stream --session-name a --prompt p --format text",
    ),
    (
        "resume-json --session-name a --prompt p --permission-mode acceptEdits",
        "resume-json --session-name a --prompt p -- --permission-mode acceptEdits",
    ),
    (
        "resume-json --session-name a --prompt p --sandbox=workspace-write -- --add-dir d",
        "resume-json --session-name a --prompt p -- --add-dir d --sandbox workspace-write",
    ),
    (
        "resume-json --session-name a --prompt p --yolo",
        "resume-json --session-name a --prompt p --dangerously-bypass-approvals-and-sandbox",
    ),
    (
        "resume-json --session-name a --prompt p -c model=x",
        "resume-json --session-name a --prompt p --config 'model=x'",
    ),
    ("create-session --session-name a --force", "create-session --session-name a --if-exists overwrite"),
    ("delete-session --session-name a --yes", "delete-session --session-name a"),
    ("delete-session --all", "delete-all-sessions"),
    ("list-sessions --json", "list-sessions --format json"),
    ("list-sessions --all", "list-sessions --all-workspaces"),
    ("list-sessions --format text", "list-sessions --format table"),
    (
        "resume-stream --session-name a --prompt p --format json",
        "resume-stream --session-name a --prompt p --format jsonl",
    ),
    ("list-sessions --backend claude-code", "list-sessions --backend claude"),
    ("list-sessions --quiet=true", "list-sessions --quiet"),
    ("--session-name a --prompt p resume-json", "resume-json --session-name a --prompt p"),
    ("--session-name a resolve", "resolve --session-name a"),
    // commands of other programs
    ("version", "--version"),
    ("history", "list-turns"),
    ("ls", "list-sessions"),
    ("list", "list-sessions"),
    ("list --json", "list-sessions --format json"),
    ("sessions", "list-sessions"),
    ("session list", "list-sessions"),
    ("session create one", "create-session --session-name one"),
    ("new one", "create-session --session-name one"),
    ("create --name one", "create-session --session-name one"),
    ("start one 'Read docs/'", "create-session --session-name one --init-prompt 'Read docs/'"),
    ("rm one", "delete-session --session-name one"),
    ("delete", "delete-session --session-name NAME"),
    ("mv one two", "rename-session --session-name one --to two"),
    ("rename one", "rename-session --session-name one --to NEW"),
    ("resume one", "resume-json --session-name one --prompt TEXT"),
    ("continue one 'Do it'", "resume-json --session-name one --prompt 'Do it'"),
    ("send one 'Do it'", "resume-json --session-name one --prompt 'Do it'"),
    ("run --name one 'Do it'", "resume-json --session-name one --prompt 'Do it'"),
    ("prompt one 'Do it'", "resume-json --session-name one --prompt 'Do it'"),
    ("exec 'Do it'", "resume-json --session-name NAME --prompt 'Do it'"),
    ("exec resume one 'Do it'", "resume-json --session-name one --prompt 'Do it'"),
    ("exec resume --last 'Do it'", "resume-json --session-name NAME --prompt 'Do it'"),
    ("-p 'Do it'", "resume-json --session-name NAME --prompt 'Do it'"),
    ("--resume one -p 'Do it'", "resume-json --session-name one --prompt 'Do it'"),
    ("--continue -p 'Do it'", "resume-json --session-name NAME --prompt 'Do it'"),
    ("'Do it'", "resume-json --session-name NAME --prompt 'Do it'"),
    ("claude -p 'Do it'", "--backend claude resume-json --session-name NAME --prompt 'Do it'"),
    ("codex exec 'Do it'", "--backend codex resume-json --session-name NAME --prompt 'Do it'"),
    ("resume --help", "resume-json --help"),
    ("rename-session --old one --new two", "rename-session --session-name one --to two"),
    ("delete-session --session-name a --force", "delete-session --session-name a"),
    ("install", "skill install"),
    ("skill add", "skill install"),
    ("skill install codex", "skill install --agent codex"),
    ("skill install claude-code-invoke-persist", "skill install --skill claude-code-invoke-persist"),
    ("completion bash", "completions bash"),
    // turns
    ("turns", "list-turns"),
    ("ps", "list-turns"),
    ("turn list", "list-turns"),
    ("status", "list-turns"),
    ("status --session-name a", "list-turns --session-name a"),
    ("status --turn-id 2026", "show-turn --turn-id 2026"),
    ("logs one", "show-turn --output --session-name one"),
    ("tail one", "show-turn --output --follow --session-name one"),
    ("attach one", "wait-turn --follow --session-name one"),
    ("wait 20261121-105533-k3f9", "wait-turn --turn-id 20261121-105533-k3f9"),
    ("wait", "wait-turn --session-name NAME"),
    ("wait-turn one --timeout 5m", "wait-turn --session-name one --timeout-seconds 5m"),
    ("wait-turn --job 2026", "wait-turn --turn-id 2026"),
    ("show-turn --session-name a --json", "show-turn --session-name a"),
    ("list-turns --json", "list-turns --format json"),
    ("list-turns --state done", "list-turns --state succeeded"),
    // misspelled
    ("creat-session --session-nam one", "create-session --session-name one"),
    ("resume_json --session_name a --promt p", "resume-json --session-name a --prompt p"),
    ("list-sessions --format tabel", "list-sessions --format table"),
    (
        "resume-json --session-name a --prompt p --if-miss create",
        "resume-json --session-name a --prompt p --if-missing create",
    ),
];

#[test]
fn hint_has_the_line_that_was_meant() {
    let sandbox = Sandbox::new();
    let mut wrong = Vec::new();
    for (typed, right) in LINES {
        let words = shell_words(typed);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let failure = sandbox.fails(&words, 2, "usage").before_the_turn();
        let hint = without_error_format(failure.hint);
        if hint.split_once(": invoke-persist ").map(|(_, line)| line) != Some(right) {
            wrong.push(format!("{typed}\n  wants {right}\n  hint: {hint}"));
        }
    }
    assert!(sandbox.calls().is_empty());
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), LINES.len(), wrong.join("\n"));
}

#[test]
fn hint_gives_advice_if_no_line_was_meant() {
    let sandbox = Sandbox::new();
    for (typed, hint) in [
        (
            &["create-session", "one"][..],
            "give the name with --session-name: invoke-persist create-session --session-name one",
        ),
        (
            &["resume-json", "--session-name", "a", "Do it"],
            "give the prompt with --prompt: invoke-persist resume-json --session-name a --prompt 'Do it'",
        ),
        (
            &["resume-json", "--session-name", "a", "--format", "text", "--prompt", "p"],
            "use --print-result, or resume-stream --format text for the whole turn: invoke-persist resume-json \
             --session-name a --print-result --prompt p",
        ),
        // nothing is close
        (&["frobnicate"], "see invoke-persist --help"),
        (&["resolve", "--frobnicate"], "see invoke-persist resolve --help"),
        (&["resolve", "--session-name", "a", "--frobnicate=x"], "see invoke-persist resolve --help"),
        (&["list-sessions", "--format", "xml"], "see invoke-persist list-sessions --help"),
        // the option is another command's
        (
            &["resolve", "--print-result"],
            "use --print-result with create-session, resume-json, resume-stream or fork-session; see invoke-persist resolve --help",
        ),
        (
            &["resume-json", "-e", "A=b"],
            "set the variable before the command, or write it to a file for --env-file; see invoke-persist resume-json \
             --help",
        ),
    ] {
        assert_eq!(without_error_format(sandbox.fails(typed, 2, "usage").hint), hint, "{typed:?}");
    }
}

#[test]
fn long_and_unprintable_words_are_left_out_of_the_hint() {
    let sandbox = Sandbox::new();
    for prompt in ["x ".repeat(5000), "a\nb".to_owned(), "a\u{1b}[2Jb".to_owned()] {
        let hint = sandbox.fails(&["resume-json", "a", &prompt], 2, "usage").hint;
        let words = "give the name with --session-name: invoke-persist resume-json --session-name a --prompt …";
        assert_eq!(without_error_format(hint), words);
    }
    let hint = sandbox.fails(&["resolve", "it's $HOME"], 2, "usage").hint;
    let words = "give the name with --session-name: invoke-persist resolve --session-name 'it'\\''s $HOME'";
    assert_eq!(without_error_format(hint), words);
}

/// Returns a hint without the option with which the tests read errors.
fn without_error_format(hint: Option<String>) -> String {
    hint.unwrap_or_default().replacen("--error-format json ", "", 1)
}

/// Splits a line of the table, in which words with spaces are in single quotes.
fn shell_words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(index, part)| {
        if index % 2 == 1 { vec![part.to_owned()] } else { part.split_whitespace().map(str::to_owned).collect() }
    });
    words.collect()
}
