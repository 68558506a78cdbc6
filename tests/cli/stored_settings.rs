//! The settings that a name keeps (contract section 15): `--remember`, `set-session` and `--forget-settings`.

use std::fs;
use std::time::Duration;

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use serde_json::{Value, json};

use crate::support::*;

/// A timeout that even a slow machine does not reach.
const LIMIT: Duration = Duration::from_secs(30);

/// Words that must be adjacent on the agent's command line.
type Words = &'static [&'static str];

/// Options of this program and arguments of the agent, and what reaches the agent for each.
fn settings_of(backend: Backend) -> (Words, &'static [Words]) {
    match backend {
        Backend::Claude => (
            &["--", "--permission-mode", "acceptEdits", "--allowedTools", "Bash(git:*)", "Read", "--add-dir", "../lib"],
            &[
                &["--permission-mode", "acceptEdits"],
                &["--allowedTools", "Bash(git:*)", "Read"],
                &["--add-dir", "../lib"],
            ],
        ),
        Backend::Codex => (
            &[
                "--config",
                "a=1",
                "--enable",
                "f",
                "--skip-git-repo-check",
                "--",
                "--sandbox",
                "workspace-write",
                "-p",
                "x",
            ],
            &[
                &["--config", "a=1"],
                &["--enable", "f"],
                &["--skip-git-repo-check"],
                &["--sandbox", "workspace-write"],
                &["-p", "x"],
            ],
        ),
    }
}

/// Returns a sandbox with a session `a` that was created with `options` and `--remember`.
fn with_stored(backend: Backend, options: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.agent(backend.answers("i", "OK"));
    let create = ["--backend", backend.name(), "create-session", "--session-name", "a", "--remember"];
    sandbox.succeeds(&[&create[..], options].concat());
    assert_eq!(sandbox.calls().len(), 1);
    sandbox
}

fn resume<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&["resume-json", "--session-name", "a", "--prompt", "p"][..], options].concat()
}

fn set<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&["set-session", "--session-name", "a"][..], options].concat()
}

/// Returns whether the words are adjacent on the command line of the last call.
fn last_call_has(sandbox: &Sandbox, words: &[&str]) -> bool {
    sandbox.last_call().argv.windows(words.len()).any(|window| window == words)
}

/// Returns what `resolve` prints as the settings of a session.
fn stored(sandbox: &Sandbox, name: &str) -> Value {
    sandbox.succeeds(&["resolve", "--session-name", name]).json()["settings"].clone()
}

#[test]
fn options_given_once_are_used_by_every_later_turn() {
    for backend in Backend::BOTH {
        let (options, passed) = settings_of(backend);
        let sandbox = with_stored(backend, options);
        for call in [
            resume(&[]),
            resume(&[]),
            vec!["resume-stream", "--session-name", "a", "--prompt", "p"],
            vec!["resume-stream", "--session-name", "a", "--prompt", "p", "--print-result"],
            vec!["ask", "a", "p"],
            resume(&["--if-missing", "create"]),
            vec!["--backend", backend.name(), "resume-json", "--session-id", "i", "--prompt", "p"],
        ] {
            sandbox.run(&call).success().stderr(contains("note: using stored settings: "));
            for words in passed {
                assert!(last_call_has(&sandbox, words), "{words:?}: {:?}", sandbox.last_call().argv);
            }
        }
    }
}

#[test]
fn option_of_a_call_replaces_the_stored_one_of_its_kind() {
    /// The stored options, those of the call, what must be passed, and what must not.
    type Case = (Backend, Words, Words, &'static [Words], Words);
    let cases: &[Case] = &[
        (
            Backend::Codex,
            &["--", "--sandbox", "workspace-write", "--add-dir", "d"],
            &["--", "-s", "read-only"],
            &[&["-s", "read-only"], &["--add-dir", "d"]],
            &["workspace-write"],
        ),
        (
            Backend::Codex,
            &["--dangerously-bypass-approvals-and-sandbox", "--config", "a=1"],
            &["--", "--sandbox", "read-only"],
            &[&["--sandbox", "read-only"], &["--config", "a=1"]],
            &["--dangerously-bypass-approvals-and-sandbox"],
        ),
        (
            Backend::Codex,
            &["--", "--sandbox", "danger-full-access"],
            &["--config", "sandbox_mode=\"read-only\""],
            &[&["--config", "sandbox_mode=\"read-only\""]],
            &["--sandbox", "danger-full-access"],
        ),
        (
            Backend::Codex,
            &["--config", "a=1", "--config", "b=1"],
            &["--config", "a=2"],
            &[&["--config", "b=1"], &["--config", "a=2"]],
            &["a=1"],
        ),
        (Backend::Codex, &["--enable", "f"], &["--disable", "f"], &[&["--disable", "f"]], &["--enable"]),
        (Backend::Codex, &["--", "-m", "m1"], &["--model", "m2"], &[&["--model", "m2"]], &["-m", "m1"]),
        (
            Backend::Claude,
            &["--", "--allowedTools", "Bash", "Read", "--add-dir", "d"],
            &["--", "--allowed-tools", "Edit"],
            &[&["--allowed-tools", "Edit"], &["--add-dir", "d"]],
            &["Bash", "Read", "--allowedTools"],
        ),
        (
            Backend::Claude,
            &["--", "--dangerously-skip-permissions"],
            &["--", "--permission-mode", "plan"],
            &[&["--permission-mode", "plan"]],
            &["--dangerously-skip-permissions"],
        ),
        (
            Backend::Claude,
            &["--", "--append-system-prompt=- a --b", "--add-dir", "d"],
            &["--", "--add-dir=e"],
            &[&["--append-system-prompt=- a --b"], &["--add-dir=e"]],
            &["--add-dir", "d"],
        ),
    ];
    for (backend, kept, given, passed, absent) in cases {
        let sandbox = with_stored(*backend, kept);
        let before = stored(&sandbox, "a");
        sandbox.succeeds(&resume(given));
        for words in *passed {
            assert!(last_call_has(&sandbox, words), "{words:?}: {:?}", sandbox.last_call().argv);
        }
        for word in *absent {
            assert!(!sandbox.last_call().has(word), "{word}: {:?}", sandbox.last_call().argv);
        }
        assert_eq!(stored(&sandbox, "a"), before, "only for one call");
        sandbox.succeeds(&resume(&[&["--remember"][..], given].concat()));
        sandbox.succeeds(&resume(&[]));
        for words in *passed {
            assert!(
                last_call_has(&sandbox, words) || words[0] == "--model",
                "{words:?}: {:?}",
                sandbox.last_call().argv
            );
        }
        for word in *absent {
            assert!(!sandbox.last_call().has(word), "{word}: {:?}", sandbox.last_call().argv);
        }
    }
}

#[test]
fn only_a_turn_that_succeeds_with_remember_stores_settings() {
    for backend in Backend::BOTH {
        let (options, _) = settings_of(backend);
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        sandbox.agent(backend.answers("i", "OK"));
        sandbox.succeeds(&resume(options));
        assert!(!sandbox.mapping(backend).contains("settings"));
        sandbox.agent(backend.fails("i", "no"));
        let before = sandbox.mapping(backend);
        sandbox.fails(&resume(&[&["--remember"][..], options].concat()), 1, "agent_failed");
        assert_eq!(sandbox.mapping(backend), before);
        sandbox.agent(backend.answers("i", "OK"));
        sandbox.succeeds(&resume(&[&["--remember"][..], options].concat()));
        let settings = stored(&sandbox, "a");
        let at = options.iter().position(|word| *word == "--").unwrap();
        assert_eq!(settings["arguments"], json!(options[at + 1..]));
        let mapping: Value = serde_json::from_str(&sandbox.mapping(backend)).unwrap();
        assert_eq!(mapping["aliases"]["a"]["settings"], settings);
        let list = sandbox.succeeds(&["--backend", backend.name(), "list-sessions"]).json();
        assert_eq!(list["aliases"]["a"]["settings"], settings);
    }
}

#[test]
fn forgetting_ignores_everything_that_is_kept() {
    for backend in Backend::BOTH {
        let (options, passed) = settings_of(backend);
        let sandbox = with_stored(backend, &[&["--model", "m1"][..], options].concat());
        let before = sandbox.mapping(backend);
        sandbox.run(&resume(&["--forget-settings"])).success().stderr("");
        assert!(!sandbox.last_call().has("m1"));
        assert!(passed.iter().all(|words| !last_call_has(&sandbox, words)), "{:?}", sandbox.last_call().argv);
        assert_eq!(sandbox.mapping(backend), before);
        sandbox.succeeds(&resume(&["--forget-settings", "--remember", "--", "--add-dir", "only"]));
        let resolved = sandbox.succeeds(&["resolve", "--session-name", "a"]).json();
        assert_eq!(resolved["settings"], json!({"arguments": ["--add-dir", "only"]}));
        assert_eq!(resolved["last_model"], Value::Null);
    }
}

#[test]
fn set_session_changes_what_is_kept_and_calls_nothing() {
    let sandbox = with_stored(Backend::Codex, &["--model", "m1", "--config", "a=1", "--", "--sandbox", "read-only"]);
    let printed =
        sandbox.succeeds(&set(&["--model", "m2", "--config", "b=1", "--", "-s", "workspace-write", "--oss"])).json();
    assert_eq!(printed["last_model"], "m2");
    let want =
        json!({"arguments": ["-s", "workspace-write", "--oss"], "config": ["--config", "a=1", "--config", "b=1"]});
    assert_eq!(printed["settings"], want);
    assert_eq!(printed, sandbox.succeeds(&["resolve", "--session-name", "a"]).json());
    let printed = sandbox.succeeds(&set(&["--unset", "arguments,model", "--", "--oss"])).json();
    assert_eq!(printed["settings"]["arguments"], json!(["--oss"]));
    assert_eq!(printed["last_model"], Value::Null);
    let printed = sandbox.succeeds(&set(&["--unset", "config", "--unset", "arguments"])).json();
    assert_eq!(printed.get("settings"), None);
    assert!(!sandbox.mapping(Backend::Codex).contains("settings"));
    assert_eq!(sandbox.calls().len(), 1, "only the turn that created the session");
    sandbox.succeeds(&resume(&[]));
    assert_eq!(sandbox.last_call().value_of("--model"), None);
}

#[test]
fn set_session_works_for_claude_too() {
    let sandbox = with_stored(Backend::Claude, &["--", "--add-dir", "d"]);
    let printed = sandbox.succeeds(&set(&["--reasoning-effort", "low", "--", "--permission-mode", "plan"])).json();
    assert_eq!(printed["last_reasoning_effort"], "low");
    sandbox.succeeds(&resume(&[]));
    for words in [&["--effort", "low"][..], &["--permission-mode", "plan"], &["--add-dir", "d"]] {
        assert!(last_call_has(&sandbox, words), "{:?}", sandbox.last_call().argv);
    }
    sandbox.succeeds(&set(&["--unset", "effort"]));
    sandbox.succeeds(&resume(&[]));
    assert!(!sandbox.last_call().has("--effort"));
}

#[test]
fn set_session_refuses_what_a_call_refuses() {
    let sandbox = with_stored(Backend::Codex, &["--config", "a=1"]);
    let before = sandbox.mapping(Backend::Codex);
    sandbox.fails(&set(&[]), 2, "usage").message(contains("nothing is to be changed")).hint(contains("resolve"));
    sandbox.fails(&set(&["--", "--json"]), 2, "usage").message(contains("--json"));
    sandbox.fails(&set(&["--model", " "]), 2, "usage").message(contains("--model is blank"));
    sandbox.fails(&set(&["--image", "i.png"]), 2, "usage").message(contains("--image cannot be stored"));
    sandbox.fails(&set(&["--codex-shell", "tcsh"]), 2, "usage");
    sandbox.fails(&set(&["--env-file", "missing"]), 2, "usage");
    sandbox.fails(&set(&["--unset", "sandbox"]), 2, "usage").message(contains("sandbox"));
    let unknown = ["--backend", "codex", "set-session", "--session-name", "b", "--model", "m"];
    sandbox.fails(&unknown, 3, "session_not_found");
    assert_eq!(sandbox.mapping(Backend::Codex), before);
}

#[test]
fn forks_and_renamed_sessions_keep_their_settings() {
    for backend in Backend::BOTH {
        let sandbox = with_stored(backend, &["--", "--add-dir", "d"]);
        let want = json!({"arguments": ["--add-dir", "d"]});
        sandbox.agent(backend.answers("forked", "OK"));
        let fork = |to: &'static str| ["fork-session", "--session-name", "a", "--prompt", "p", "--to", to];
        sandbox.succeeds(&fork("b"));
        assert!(last_call_has(&sandbox, &["--add-dir", "d"]));
        assert_eq!(stored(&sandbox, "b"), want);
        sandbox.succeeds(&[&fork("c")[..], &["--", "--add-dir", "e"]].concat());
        assert!(last_call_has(&sandbox, &["--add-dir", "e"]) && !sandbox.last_call().has("d"));
        assert_eq!(stored(&sandbox, "c"), want, "only for one call");
        sandbox.succeeds(&[&fork("d")[..], &["--remember", "--", "--add-dir", "e"]].concat());
        assert_eq!(stored(&sandbox, "d"), json!({"arguments": ["--add-dir", "e"]}));
        sandbox.succeeds(&[&fork("e")[..], &["--forget-settings"]].concat());
        assert_eq!(stored(&sandbox, "e"), Value::Null);
        sandbox.succeeds(&["rename-session", "--session-name", "a", "--to", "z"]);
        assert_eq!(stored(&sandbox, "z"), want);
    }
}

#[test]
fn new_session_under_the_same_name_begins_without_settings() {
    let sandbox = with_stored(Backend::Claude, &["--", "--add-dir", "d"]);
    sandbox.agent(Backend::Claude.answers("@ID@", "OK"));
    sandbox.succeeds(&["--backend", "claude", "create-session", "--session-name", "a"]);
    assert_eq!(stored(&sandbox, "a"), Value::Null);
}

#[test]
fn adopted_session_keeps_settings_and_a_reused_one_does_not() {
    let sandbox = Sandbox::new();
    sandbox.agent(Backend::Claude.answers("i", "OK"));
    let create = ["--backend", "claude", "create-session", "--session-name", "a", "--remember"];
    sandbox.succeeds(&[&create[..], &["--adopt", "i", "--", "--add-dir", "d"]].concat());
    let want = json!({"arguments": ["--add-dir", "d"]});
    assert_eq!(stored(&sandbox, "a"), want);
    let reuse = [&create[..], &["--if-exists", "reuse", "--", "--add-dir", "e"]].concat();
    sandbox.run(&reuse).success().stderr(contains("warning: --remember has no effect").and(contains("set-session")));
    assert_eq!(stored(&sandbox, "a"), want);
    assert!(sandbox.calls().is_empty());
    let print = [&create[..], &["--adopt", "i", "--print-mapping-json", "--", "--add-dir", "e"]].concat();
    assert_eq!(sandbox.succeeds(&print).json()["settings"], json!({"arguments": ["--add-dir", "e"]}));
}

#[test]
fn session_without_a_name_cannot_keep_settings() {
    let sandbox = Sandbox::new();
    sandbox.agent(Backend::Codex.answers("i", "OK"));
    let call = ["--backend", "codex", "resume-json", "--session-id", "i", "--prompt", "p", "--remember"];
    sandbox.fails(&call, 2, "usage").message(contains("--remember needs a name")).before_the_turn();
    assert!(sandbox.calls().is_empty());
}

#[test]
fn settings_that_change_during_a_turn_are_kept() {
    let sandbox = with_stored(Backend::Codex, &["--model", "m1", "--config", "a=1", "--", "--oss"]);
    for remember in [&[][..], &["--remember"]] {
        sandbox.agent(
            Turn::doing([Step::create("up"), Step::wait_for("go")]).stdout(
                "{\"type\":\"thread.started\",\"thread_id\":\"i\"}\n{\"type\":\"turn.completed\",\"usage\":{}}\n",
            ),
        );
        let call = sandbox.start(&resume(&[remember, &["--config", "b=1"]].concat()));
        wait_until(LIMIT, || sandbox.has_reached("up"));
        sandbox.succeeds(&set(&["--model", "m2", "--config", "a=2", "--unset", "arguments"]));
        sandbox.allow("go");
        call.wait(LIMIT).assert.success();
        for file in ["up", "go"] {
            fs::remove_file(sandbox.bin().join(file)).unwrap();
        }
    }
    assert_eq!(stored(&sandbox, "a"), json!({"config": ["--config", "a=2", "--config", "b=1"]}));
    assert_eq!(sandbox.succeeds(&["resolve", "--session-name", "a"]).json()["last_model"], "m2");
}

#[test]
fn settings_that_change_while_a_call_waits_are_for_the_next_one() {
    let sandbox = with_stored(Backend::Codex, &["--config", "a=1"]);
    let answer = || Backend::Codex.answers("i", "OK");
    // the first answer was to the call that created the session
    sandbox.agent([answer(), answer().after([Step::create("up"), Step::wait_for("go")]), answer()]);
    let first = sandbox.start(&resume(&[]));
    wait_until(LIMIT, || sandbox.has_reached("up"));
    let second = sandbox.start(&[&["--error-format", "text"][..], &resume(&[])].concat());
    wait_until(LIMIT, || sandbox.succeeds(&["list-turns"]).stdout_text().contains("queued"));
    sandbox.succeeds(&set(&["--config", "a=2"]));
    sandbox.allow("go");
    first.wait(LIMIT).assert.success();
    second.wait(LIMIT).assert.success().stderr(contains("the stored settings were changed while this call waited"));
    assert!(sandbox.last_call().has("a=1"));
    sandbox.succeeds(&resume(&[]));
    assert!(sandbox.last_call().has("a=2") && !sandbox.last_call().has("a=1"));
}

#[test]
fn stopped_first_turn_keeps_its_settings_and_a_stopped_later_turn_does_not() {
    let sandbox = Sandbox::new();
    let begin = "{\"type\":\"thread.started\",\"thread_id\":\"i\"}\n";
    let hangs = || Turn::doing([Step::stdout(begin), Step::wait_for("never")]);
    sandbox.agent([hangs(), Backend::Codex.answers("i", "OK"), hangs()]);
    let create = ["--backend", "codex", "create-session", "--session-name", "a"];
    let stops = |call: &[&str], config: &str| {
        let options = ["--remember", "--config", config, "--deadline-seconds", "2"];
        sandbox.run(&[call, &options].concat()).code(124);
    };
    stops(&create, "a=1");
    assert_eq!(stored(&sandbox, "a"), json!({"config": ["--config", "a=1"]}));
    sandbox.succeeds(&resume(&[]));
    assert!(sandbox.last_call().has("a=1"));
    stops(&resume(&[]), "b=1");
    assert_eq!(stored(&sandbox, "a"), json!({"config": ["--config", "a=1"]}));
}

#[test]
fn session_that_continues_under_another_id_keeps_its_settings() {
    let sandbox = with_stored(Backend::Claude, &["--", "--add-dir", "x"]);
    sandbox.agent(Backend::Claude.answers("new", "OK"));
    sandbox.succeeds(&resume(&["--remember", "--", "--permission-mode", "plan"]));
    let resolved = sandbox.succeeds(&["resolve", "--session-name", "a"]).json();
    assert_eq!(resolved["session_id"], "new");
    assert_eq!(resolved["settings"], json!({"arguments": ["--add-dir", "x", "--permission-mode", "plan"]}));
}

#[test]
fn stored_command_precedes_the_variable_and_an_option_precedes_both() {
    for (backend, option, variable) in
        [(Backend::Claude, "--claude-cmd", "CLAUDE_CMD"), (Backend::Codex, "--codex-cmd", "CODEX_CMD")]
    {
        let mut sandbox = Sandbox::new();
        sandbox.agent(backend.answers("i", "OK"));
        let [kept, given, ambient] = ["my-wrapper", "claude", "codex"];
        let create = ["--backend", backend.name(), "create-session", "--session-name", "a", "--remember", option, kept];
        sandbox.succeeds(&create);
        sandbox.env(variable, ambient);
        sandbox.succeeds(&resume(&[]));
        assert_eq!(sandbox.last_call().name, kept);
        sandbox.succeeds(&resume(&[option, given]));
        assert_eq!(sandbox.last_call().name, given);
        assert_eq!(stored(&sandbox, "a"), json!({"command": [option, kept]}));
        sandbox.succeeds(&set(&["--unset", "command"]));
        sandbox.succeeds(&resume(&[]));
        assert_eq!(sandbox.last_call().name, ambient);
    }
}

#[test]
fn env_file_is_stored_with_its_absolute_path() {
    let sandbox = Sandbox::new();
    sandbox.write("agent.env", "A_VARIABLE=1\n");
    sandbox.agent(Backend::Claude.answers("i", "OK").watching(&["A_VARIABLE"]));
    let create = ["--backend", "claude", "create-session", "--session-name", "a", "--remember"];
    sandbox.succeeds(&[&create[..], &["--env-file", "agent.env"]].concat());
    let path = sandbox.workspace().join("agent.env");
    assert_eq!(stored(&sandbox, "a"), json!({"env_file": path}));
    sandbox.succeeds(&resume(&[]));
    assert_eq!(sandbox.last_call().env["A_VARIABLE"].as_deref(), Some("1"));
    let output = path.to_str().unwrap();
    sandbox.fails(&resume(&["--output-file", output]), 2, "usage").message(contains("--env-file"));
    fs::remove_file(&path).unwrap();
    let failed = sandbox.fails(&resume(&[]), 2, "usage").before_the_turn();
    failed.message(contains("--env-file")).hint(contains("set-session --env-file"));
    sandbox.succeeds(&resume(&["--forget-settings"]));
}

#[test]
fn arguments_for_one_turn_are_not_stored() {
    for (backend, given, kept, option) in [
        (Backend::Codex, &["--", "-i", "a.png", "b.png", "-p", "x"][..], json!(["-p", "x"]), "-i"),
        (Backend::Codex, &["--", "-p", "x", "--output-schema=s"], json!(["-p", "x"]), "--output-schema"),
        (Backend::Claude, &["--", "--json-schema", "{}", "--verbose"], json!(["--verbose"]), "--json-schema"),
    ] {
        let sandbox = with_stored(backend, given);
        assert_eq!(stored(&sandbox, "a"), json!({"arguments": kept}), "{given:?}");
        let refused = sandbox.fails(&set(given), 2, "usage");
        refused.message(contains(format!("{option} cannot be stored, because it is for one turn")));
    }
}

/// Such a word would be a part of every prompt.
#[test]
fn word_that_is_not_an_option_is_not_stored() {
    let sandbox = with_stored(Backend::Codex, &["--", "-p", "x"]);
    for call in [resume(&["--remember", "--", "words", "-p", "y"]), set(&["--", "words"])] {
        sandbox.fails(&call, 2, "usage").message(contains("cannot store the argument 'words'"));
    }
    assert_eq!(stored(&sandbox, "a"), json!({"arguments": ["-p", "x"]}));
    assert_eq!(sandbox.calls().len(), 1);
}

#[test]
fn hint_for_a_refused_argument_names_the_command_that_removes_a_stored_one() {
    let sandbox = with_stored(Backend::Codex, &[]);
    sandbox.succeeds(&set(&["--", "--foo"]));
    sandbox.agent(Turn::default().stderr("error: unexpected argument '--foo' found\n").exit(2));
    let unset = "to remove a stored argument, use set-session --unset arguments,config";
    sandbox.fails(&resume(&[]), 1, "agent_failed").hint(contains(unset));
    sandbox.fails(&resume(&["--forget-settings"]), 1, "agent_failed").hint(contains(unset).not());
}

#[test]
fn note_names_options_without_their_values() {
    let sandbox = with_stored(Backend::Codex, &["--config", "key=\"secret\"", "--", "-psecret", "--add-dir=secret"]);
    let note = "note: using stored settings: -p, --add-dir, --config; pass --forget-settings to ignore them\n";
    sandbox.run(&resume(&[])).success().stderr(note);
    sandbox.run(&[&["--quiet"][..], &resume(&[])].concat()).success().stderr("");
    let others = "note: using stored settings: --add-dir; pass --forget-settings to ignore them\n";
    sandbox.run(&resume(&["--config", "key=1", "--", "--profile", "y"])).success().stderr(others);
}

#[test]
fn option_that_switches_off_a_protection_is_stored_with_a_warning() {
    for (backend, options, shown) in [
        (
            Backend::Codex,
            &["--dangerously-bypass-approvals-and-sandbox"][..],
            "--dangerously-bypass-approvals-and-sandbox is",
        ),
        (Backend::Codex, &["--", "--sandbox", "danger-full-access"], "--sandbox danger-full-access is"),
        (Backend::Claude, &["--", "--dangerously-skip-permissions"], "--dangerously-skip-permissions is"),
        (Backend::Claude, &["--", "--permission-mode", "bypassPermissions"], "--permission-mode bypassPermissions is"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        sandbox.agent(backend.answers("i", "OK"));
        let warning =
            || contains(format!("warning: {shown} stored and switches off a protection of {}", backend.name()));
        sandbox.run(&resume(options)).success().stderr(warning().not());
        // not even --quiet hides it
        sandbox
            .run(&[&["--quiet"][..], &resume(&[&["--remember"][..], options].concat())].concat())
            .success()
            .stderr(warning());
        sandbox.succeeds(&set(&["--unset", "all"]));
        sandbox.run(&set(options)).success().stderr(warning());
        sandbox.run(&resume(&[])).success().stderr(warning().not());
    }
}

#[test]
fn settings_of_an_unknown_form_are_refused_until_they_are_removed() {
    for settings in [
        json!({"arguments": "--oss"}),
        json!({"later": []}),
        json!({"config": ["--no-such-option"]}),
        json!({"config": ["--model", "m"]}),
        json!({"command": ["word"]}),
        json!({"arguments": ["--json"]}),
        json!({"arguments": ["--add-dir", "x", "resume"]}),
        json!({"arguments": ["word"]}),
    ] {
        let sandbox = Sandbox::new();
        sandbox.agent(Backend::Codex.answers("i", "OK"));
        let entry = json!({"thread_id": "i", "settings": settings});
        sandbox.write_mapping(Backend::Codex, json!({"aliases": {"a": entry}}).to_string());
        sandbox
            .fails(&resume(&[]), 6, "mapping_invalid")
            .message(contains("settings"))
            .hint(contains("--unset all").and(contains("--forget-settings")))
            .before_the_turn();
        assert!(sandbox.calls().is_empty());
        assert_eq!(stored(&sandbox, "a"), settings);
        sandbox.succeeds(&resume(&["--forget-settings"]));
        sandbox.succeeds(&set(&["--unset", "all"]));
        sandbox.succeeds(&resume(&[]));
    }
}

#[test]
fn settings_that_are_refused_are_not_named_as_used() {
    for settings in [json!({"config": ["word"]}), json!({"arguments": ["word"]}), json!({"arguments": ["--json"]})] {
        let sandbox = Sandbox::new();
        sandbox.agent(Backend::Codex.answers("i", "OK"));
        let entry = json!({"thread_id": "i", "settings": settings});
        sandbox.write_mapping(Backend::Codex, json!({"aliases": {"a": entry}}).to_string());
        sandbox.run(&resume(&[])).failure().stderr(contains("note: using").not());
    }
}

#[test]
fn value_that_begins_with_a_dash_is_stored_with_its_option() {
    let sandbox = with_stored(Backend::Codex, &["--config=-a=1"]);
    assert_eq!(stored(&sandbox, "a"), json!({"config": ["--config=-a=1"]}));
    sandbox.succeeds(&resume(&["--enable=-f"]));
    assert!(sandbox.last_call().has("-a=1") && sandbox.last_call().has("-f"));
}

#[test]
fn blank_command_is_not_a_setting() {
    let sandbox = Sandbox::new();
    sandbox.agent(Backend::Codex.answers("i", "OK"));
    sandbox.save(Backend::Codex, "a", "i");
    sandbox.fails(&set(&["--codex-cmd", " "]), 2, "usage").message(contains("nothing is to be changed"));
    sandbox.succeeds(&set(&["--codex-cmd", "no-such-agent"]));
    // a script with an empty variable names no other command
    sandbox.fails(&resume(&["--codex-cmd", ""]), 127, "agent_not_found");
}

#[test]
fn doctor_finds_settings_that_later_calls_cannot_use() {
    let sandbox = Sandbox::new();
    let entry = |id: &str, settings: Value| json!({"thread_id": id, "settings": settings});
    let save = |aliases: Value| sandbox.write_mapping(Backend::Codex, json!({"aliases": aliases}).to_string());
    let check = || {
        let report: Value = serde_json::from_str(&sandbox.run(&["doctor", "--json"]).stdout_text()).unwrap();
        let checks = report["checks"].as_array().unwrap().clone();
        let check = checks.into_iter().find(|check| check["check"] == "codex.settings");
        check.map(|check| (check["status"].clone(), check["message"].as_str().unwrap().to_owned()))
    };
    save(json!({"a": {"thread_id": "i"}}));
    assert_eq!(check(), None, "without settings, there is nothing to check");

    let env_file = sandbox.write("agent.env", "A=1\n");
    save(
        json!({"a": entry("i", json!({"config": ["--config", "a=1"]})), "b": entry("j", json!({"env_file": env_file}))}),
    );
    assert_eq!(check(), Some((json!("ok"), "2 names keep settings".to_owned())));
    fs::remove_file(&env_file).unwrap();
    let (status, message) = check().unwrap();
    assert_eq!(status, "warning");
    assert!(message.starts_with("the environment file of 'b' is missing: "), "{message}");

    save(json!({"a": entry("i", json!({"later": 1}))}));
    let (status, message) = check().unwrap();
    assert_eq!(status, "warning");
    assert!(message.starts_with("the settings of 'a' are invalid: "), "{message}");
}

#[test]
fn key_of_another_program_is_not_a_setting() {
    let sandbox = Sandbox::new();
    sandbox.agent(Backend::Codex.answers("i", "OK"));
    let entry = json!({"settings": 5, "thread_id": "i"});
    sandbox.write_mapping(Backend::Codex, json!({"aliases": {"a": entry}}).to_string());
    sandbox.succeeds(&resume(&["--model", "m"]));
    let mapping: Value = serde_json::from_str(&sandbox.mapping(Backend::Codex)).unwrap();
    assert_eq!(mapping["aliases"]["a"], json!({"settings": 5, "thread_id": "i", "last_model": "m"}));
}

#[test]
fn summary_and_record_have_the_settings_in_force() {
    let sandbox = with_stored(Backend::Codex, &["--config", "a=1", "--", "--oss"]);
    let in_force = |options: &[&str]| {
        sandbox.succeeds(&resume(&[&["--summary-file", "s.json"][..], options].concat()));
        let summary: Value = serde_json::from_slice(&fs::read(sandbox.workspace().join("s.json")).unwrap()).unwrap();
        let record = sandbox.succeeds(&["show-turn", "--session-name", "a"]).json();
        assert_eq!(summary["settings"], record["settings"]);
        summary["settings"].clone()
    };
    assert_eq!(
        in_force(&["--config", "b=1"]),
        json!({"arguments": ["--oss"], "config": ["--config", "a=1", "--config", "b=1"]})
    );
    assert_eq!(in_force(&["--forget-settings"]), Value::Null);
    assert_eq!(in_force(&["--forget-settings", "--config", "b=1"]), json!({"config": ["--config", "b=1"]}));
}

#[test]
fn table_marks_sessions_with_settings() {
    let sandbox = with_stored(Backend::Codex, &["--config", "a=1"]);
    sandbox.save(Backend::Codex, "b", "j");
    let table = sandbox.succeeds(&["list-sessions", "--format", "table"]).stdout_text();
    let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    assert!(line("a ").contains("--config") && !line("b ").contains("--"), "{table}");
    sandbox.succeeds(&set(&["--unset", "all"]));
    let table = sandbox.succeeds(&["list-sessions", "--format", "table"]).stdout_text();
    assert!(!table.contains("SETTINGS"), "{table}");
}

/// Permissions, which Windows does not have.
#[cfg(unix)]
mod trust {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::{Path, PathBuf};

    use predicates::prelude::PredicateBooleanExt as _;
    use predicates::str::contains;
    use serde_json::json;

    use super::{resume, set};
    use crate::support::*;

    /// Returns a sandbox and a mapping file with settings, for `--mapping-file`.
    fn with_file() -> (Sandbox, PathBuf) {
        let sandbox = Sandbox::new();
        sandbox.agent(Backend::Codex.answers("i", "OK"));
        let entry = json!({"thread_id": "i", "settings": {"config": ["--config", "a=1"]}});
        let plain = json!({"thread_id": "i"});
        let file = sandbox.write("shared/map.json", json!({"aliases": {"a": entry, "b": plain}}).to_string());
        chmod(file.parent().unwrap(), 0o755);
        chmod(&file, 0o600);
        (sandbox, file)
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn at<'a>(file: &'a Path, call: &[&'a str]) -> Vec<&'a str> {
        [&["--backend", "codex"], call, &["--mapping-file", file.to_str().unwrap()]].concat()
    }

    #[test]
    fn settings_are_used_only_from_a_file_that_nobody_else_can_write_to() {
        for (mode, dir, why) in [
            (0o620, 0o755, "its group may write to it"),
            (0o602, 0o755, "everyone may write to it"),
            (0o600, 0o777, "everyone may replace files in"),
        ] {
            let (sandbox, file) = with_file();
            sandbox.succeeds(&at(&file, &resume(&[])));
            let turns = sandbox.calls().len();
            chmod(&file, mode);
            chmod(file.parent().unwrap(), dir);
            let before = fs::read(&file).unwrap();
            for call in [
                resume(&[]),
                vec!["ask", "a", "p"],
                vec!["fork-session", "--session-name", "a", "--to", "c", "--prompt", "p"],
                set(&["--model", "m"]),
                vec!["resume-json", "--session-name", "b", "--prompt", "p", "--remember", "--config", "b=1"],
                vec!["set-session", "--session-name", "b", "--config", "b=1"],
                vec!["create-session", "--session-name", "n", "--remember", "--config", "b=1"],
            ] {
                let failed = sandbox.fails(&at(&file, &call), 6, "mapping_unsafe").before_the_turn();
                failed.message(contains("settings")).hint(contains("--forget-settings"));
                assert!(
                    sandbox
                        .run(&at(&file, &call))
                        .get_output()
                        .stderr
                        .windows(why.len())
                        .any(|part| part == why.as_bytes())
                );
            }
            assert_eq!(sandbox.calls().len(), turns, "no agent was called");
            assert_eq!(fs::read(&file).unwrap(), before);
            sandbox.succeeds(&at(&file, &resume(&["--forget-settings"])));
            sandbox.succeeds(&at(&file, &["resume-json", "--session-name", "b", "--prompt", "p"]));
            sandbox.succeeds(&at(&file, &["resolve", "--session-name", "a"]));
            let doctor = sandbox.run(&at(&file, &["doctor"]));
            doctor.stdout(contains("codex settings").and(contains(why)));
            sandbox.succeeds(&at(&file, &set(&["--unset", "all"])));
            sandbox.succeeds(&at(&file, &resume(&[])));
        }
    }

    #[test]
    fn sticky_directory_and_readable_file_are_trusted() {
        let (sandbox, file) = with_file();
        chmod(&file, 0o644);
        chmod(file.parent().unwrap(), 0o1777);
        sandbox.succeeds(&at(&file, &resume(&[])));
        assert!(sandbox.last_call().has("a=1"));
    }

    #[test]
    #[ignore = "needs root"]
    fn file_of_another_user_is_not_trusted() {
        let (sandbox, file) = with_file();
        std::os::unix::fs::chown(&file, Some(12_345), None).unwrap();
        sandbox.fails(&at(&file, &resume(&[])), 6, "mapping_unsafe").before_the_turn();
        assert!(sandbox.calls().is_empty());
        // a change of another entry makes the file this user's
        let rename = at(&file, &["rename-session", "--session-name", "b", "--to", "c"]);
        sandbox.run(&rename).success().stderr(contains("its settings are removed"));
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("\"a\"") && text.contains("\"c\"") && !text.contains("settings"), "{text}");
    }

    #[test]
    fn settings_that_a_group_could_write_are_not_trusted_after_a_rewrite() {
        let sandbox = Sandbox::new();
        sandbox.agent(Backend::Codex.answers("i", "OK"));
        let create = |name| ["--backend", "codex", "create-session", "--session-name", name];
        sandbox.succeeds(&[&create("a")[..], &["--remember", "--config", "a=1"]].concat());
        let file = PathBuf::from(
            sandbox.succeeds(&["resolve", "--session-name", "a"]).json()["mapping_file"].as_str().unwrap(),
        );
        chmod(&file, 0o660);
        sandbox.fails(&resume(&[]), 6, "mapping_unsafe").before_the_turn();
        // this program's mapping is private after a rewrite
        sandbox.run(&create("b")).success().stderr(contains("its settings are removed"));
        sandbox.succeeds(&resume(&[]));
        assert!(!sandbox.last_call().has("a=1"));
    }

    #[test]
    fn file_that_this_program_writes_is_trusted() {
        let (sandbox, file) = with_file();
        fs::remove_file(&file).unwrap();
        let create = ["create-session", "--session-name", "a", "--remember", "--config", "a=1"];
        sandbox.succeeds(&at(&file, &create));
        sandbox.succeeds(&at(&file, &resume(&[])));
        assert!(sandbox.last_call().has("a=1"));
    }
}
