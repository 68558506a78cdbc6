//! Releases of the agents that lack options: a second call, or an error that names what is missing.
//!
//! The texts are those of the published releases.

use serde_json::json;

use crate::support::*;

const VERBS: [&str; 2] = ["resume-json", "resume-stream"];

fn with_session(backend: Backend) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(backend, "a", "i");
    sandbox
}

fn resume<'a>(verb: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    [&[verb, "--session-name", "a", "--prompt", "p"], options].concat()
}

/// Returns the turn of a codex that does not accept `argument`.
fn codex_refuses(argument: &str) -> Turn {
    let stderr = format!(
        "WARNING: proceeding, even though we could not update PATH: no such directory\n\
         error: unexpected argument '{argument}' found\n\n  tip: to pass '{argument}' as a value, use '-- {argument}'\n\n\
         Usage: codex exec resume [OPTIONS] [SESSION_ID] [PROMPT]\n\nFor more information, try '--help'.\n"
    );
    Turn::default().stderr(&stderr).exit(2)
}

/// Returns the turn of a claude that does not accept `option`.
fn claude_refuses(option: &str) -> Turn {
    Turn::default().stderr(&format!("error: unknown option '{option}'\n")).exit(1)
}

#[test]
fn resume_puts_the_options_first_for_a_codex_that_requires_it() {
    let options =
        ["--model", "m", "--image", "p.png", "--skip-git-repo-check", "--", "--search", "-i", "q.png", "r.png"];
    for verb in VERBS {
        let sandbox = with_session(Backend::Codex);
        sandbox.write("p.png", "");
        sandbox.agent([codex_refuses("--json"), Backend::Codex.answers("i", "OK")]);
        let output = sandbox.succeeds(&resume(verb, &options));
        assert_eq!(output.stderr_text(), "", "both calls are one turn");
        let [first, second] = &sandbox.calls()[..] else { panic!("{:#?}", sandbox.calls()) };
        assert_eq!(first.argv[..2], ["exec", "resume"]);
        let extra = ["--search", "-i", "q.png", "--image", "r.png"];
        let before = [&["exec", "--image", "p.png", "--model", "m", "--skip-git-repo-check"], &extra[..], &["--json"]];
        let file: Vec<&str> = match verb {
            "resume-json" => {
                assert_eq!(output.json()["final_message"], "OK");
                vec!["--output-last-message", second.value_of("--output-last-message").unwrap()]
            }
            _ => Vec::new(),
        };
        let want = [&before.concat()[..], &file, &["resume", "i", "--", "p"]].concat();
        assert_eq!(second.argv, want);
    }
}

#[test]
fn both_fallbacks_for_an_old_codex_apply_to_one_turn() {
    let sandbox = with_session(Backend::Codex);
    sandbox.agent([codex_refuses("--full-auto"), codex_refuses("-o"), Backend::Codex.answers("i", "OK")]);
    sandbox
        .succeeds(&resume("resume-json", &["--full-auto"]))
        .stderr("note: this codex refuses --full-auto; using sandbox_mode=\"workspace-write\" instead\n");
    let calls = sandbox.calls();
    assert_eq!(calls.len(), 3);
    let last = &calls[2].argv;
    assert_eq!(last[..4], ["exec", "--config", "sandbox_mode=\"workspace-write\"", "--json"]);
    assert_eq!(last[5..], [calls[2].value_of("--output-last-message").unwrap(), "resume", "i", "p"]);
}

#[test]
fn refused_second_call_is_the_error() {
    let sandbox = with_session(Backend::Codex);
    sandbox.agent([codex_refuses("-o"), codex_refuses("--search")]);
    let failure = sandbox
        .fails(&resume("resume-json", &["--", "--search"]), 1, "agent_failed")
        .before_the_turn()
        .message(contains("'--search'").and(contains("'-o'").not()));
    assert_eq!((failure.cause.as_deref(), failure.prompt_in_history), (Some("refused_arguments"), Some(false)));
    assert_eq!(failure.hint.as_deref(), Some("remove --search after '--': this codex does not accept it"));
    assert_eq!(sandbox.calls().len(), 2);
}

#[test]
fn word_that_may_be_a_prompt_stays_after_resume() {
    let sandbox = with_session(Backend::Codex);
    sandbox.agent(codex_refuses("--json"));
    sandbox.fails(&resume("resume-stream", &["--", "word", "--search", "value"]), 1, "agent_failed");
    let want = ["exec", "--search", "value", "--json", "resume", "i", "word", "--", "p"];
    assert_eq!(sandbox.last_call().argv, want);
}

#[test]
fn call_is_not_repeated_if_no_option_was_refused_or_a_turn_may_have_started() {
    let thread = json!({"type": "thread.started", "thread_id": "i"}).to_string() + "\n";
    for turn in [
        codex_refuses("a prompt after another one"),
        codex_refuses("--json").stdout(&thread),
        codex_refuses("--json").exit(1),
        Turn::default().stderr("it failed: error: unexpected argument '--json' found\n").exit(2),
    ] {
        let sandbox = with_session(Backend::Codex);
        sandbox.agent(turn);
        sandbox.fails(&resume("resume-json", &[]), 1, "agent_failed");
        assert_eq!(sandbox.calls().len(), 1);
    }
    for call in [
        &["fork-session", "--session-name", "a", "--to", "b", "--prompt", "p"][..],
        &["create-session", "--session-name", "b"],
    ] {
        let sandbox = with_session(Backend::Codex);
        sandbox.agent(codex_refuses("--skip-git-repo-check"));
        sandbox.fails(&[&["--backend", "codex"], call].concat(), 1, "agent_failed");
        assert_eq!(sandbox.calls().len(), 1);
    }
}

#[test]
fn codex_turn_without_a_thread_is_not_an_answer() {
    let completed = [json!({"type": "turn.started"}), json!({"type": "turn.completed", "usage": {}})];
    let completed = completed.map(|event| event.to_string()).join("\n");
    let item = r#"{"type":"item.completed","item":{"type":"agent_message","text":"OK"}}"#; // in codex's order
    let nameless = json!({"type": "thread.started"}).to_string();
    let old = json!({"id": "0", "msg": {"type": "agent_message", "message": "OK"}}).to_string();
    for (events, why) in [
        (vec![item, &completed], "its events do not name their thread"),
        (vec![&*completed], "its events do not name their thread"),
        (vec![&*nameless, &completed], "its events do not name their thread"),
        (vec![&*old], "its events are those of codex before 0.44.0, which do not name their thread"),
    ] {
        for verb in VERBS {
            let sandbox = with_session(Backend::Codex);
            let before = sandbox.mapping(Backend::Codex);
            sandbox.agent(Turn::default().stdout(&format!("{}\n", events.join("\n"))));
            let failure = sandbox
                .fails(&resume(verb, &["--model", "m"]), 7, "agent_output_invalid")
                .after_the_turn()
                .message(ends_with(why));
            assert_eq!((failure.prompt_in_history, failure.agent_exit_code), (None, Some(0)), "{events:?}");
            assert_eq!(sandbox.mapping(Backend::Codex), before);
        }
    }
    // without the end of a turn, a stream is as any other without a result
    for events in ["{\"a\": 1}\n{\"msg\": 1}\n{\"msg\": {}}\n{\"type\": \"x\", \"msg\": {\"type\": \"y\"}}", item] {
        let sandbox = with_session(Backend::Codex);
        sandbox.agent(Turn::default().stdout(&format!("{events}\n")));
        sandbox.succeeds(&resume("resume-stream", &[]));
    }
}

#[test]
fn refused_option_is_named_as_the_caller_knows_it() {
    let doctor = |backend: Backend| format!("run 'invoke-persist doctor' to see what this {} supports", backend.name());
    for (call, refused, needs) in [
        (&["resume-json", "--reasoning-effort", "low"][..], "--effort", "--reasoning-effort needs claude 2.1.45"),
        (&["fork-session", "--to", "b"], "--fork-session", "fork-session needs claude 1.0.119"),
        (
            &["resume-stream", "--format", "text"],
            "--include-partial-messages",
            "--format text and --include-partials need claude 1.0.109",
        ),
    ] {
        let sandbox = with_session(Backend::Claude);
        sandbox.agent(claude_refuses(refused));
        let (verb, options) = call.split_first().unwrap();
        let failure = sandbox.fails(&resume(verb, options), 1, "agent_failed").before_the_turn();
        assert_eq!((failure.cause.as_deref(), failure.prompt_in_history), (Some("refused_arguments"), Some(false)));
        assert_eq!(failure.hint, Some(format!("{needs} or newer; {}", doctor(Backend::Claude))));
    }
    let sandbox = Sandbox::new();
    sandbox.write("r.md", "x".repeat(200_000));
    sandbox.agent(claude_refuses("--append-system-prompt-file"));
    let create = ["--backend", "claude", "create-session", "--session-name", "b", "--role-definition-md", "r.md"];
    let failure = sandbox.fails(&create, 1, "agent_failed").before_the_turn();
    let needs = "roles of more than 100 KiB need claude 2.0.33 or newer";
    assert_eq!(failure.hint, Some(format!("{needs}; {}", doctor(Backend::Claude))));
    for (option, value, refused, needs) in [
        ("--enable", "f", "--enable", "--enable needs codex 0.47.0"),
        ("--disable", "f", "--disable", "--disable needs codex 0.47.0"),
        ("--image", "f", "--image", "--image needs codex 0.47.0"),
        ("--model", "m", "-o", "invoke-persist needs codex 0.45.0"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.agent(codex_refuses(refused));
        let create = ["--backend", "codex", "create-session", "--session-name", "b", option, value];
        let failure = sandbox.fails(&create, 1, "agent_failed").before_the_turn();
        assert_eq!(failure.hint, Some(format!("{needs} or newer; {}", doctor(Backend::Codex))));
    }
    // an option that every known release has
    let sandbox = with_session(Backend::Claude);
    sandbox.agent(claude_refuses("--resume"));
    let failure = sandbox.fails(&resume("resume-json", &[]), 1, "agent_failed").before_the_turn();
    assert_eq!(failure.hint, Some(doctor(Backend::Claude)));
}

#[test]
fn hint_is_to_remove_a_refused_argument_of_the_caller() {
    for (extra, refused, hint) in [
        (&["--foo"][..], "--foo", "remove --foo after '--': this claude does not accept it"),
        (&["--foo=bar"], "--foo=bar", "remove --foo after '--': this claude does not accept it"),
        (&["-Z"], "-Z", "remove -Z after '--': this claude does not accept it"),
        (&["--effort", "low"], "--effort", "remove --effort after '--', or use claude 2.1.45 or newer"),
    ] {
        let sandbox = with_session(Backend::Claude);
        sandbox.agent(claude_refuses(refused));
        let options = [&["--"], extra].concat();
        let failure = sandbox.fails(&resume("resume-json", &options), 1, "agent_failed").before_the_turn();
        assert_eq!(failure.hint.as_deref(), Some(hint));
    }
    for (extra, refused, hint) in [
        (&["--foo=x"][..], "--foo", "remove --foo after '--': this codex does not accept it"),
        (&["word"], "a prompt", "remove the words after '--' that do not follow an option"),
        (&["-xvalue"], "-x", "remove -x after '--': this codex does not accept it"),
        (&["--enable=f"], "--enable", "remove --enable after '--', or use codex 0.47.0 or newer"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.agent(codex_refuses(refused));
        let create = ["--backend", "codex", "create-session", "--session-name", "b", "--"];
        let failure = sandbox.fails(&[&create, extra].concat(), 1, "agent_failed").before_the_turn();
        assert_eq!(failure.hint.as_deref(), Some(hint));
    }
}

#[test]
fn fork_on_a_codex_without_it_does_not_blame_the_id() {
    let sandbox = with_session(Backend::Codex);
    sandbox.agent(codex_refuses("i"));
    let fork = ["fork-session", "--session-name", "a", "--to", "b", "--prompt", "p"];
    let failure = sandbox.fails(&fork, 1, "agent_failed").before_the_turn();
    assert_eq!(
        failure.message,
        "codex exited with status 2: this codex cannot fork: fork-session needs codex 0.148.0 or newer"
    );
    let hint = "run 'invoke-persist doctor' to see what this codex supports";
    assert_eq!((failure.hint.as_deref(), failure.prompt_in_history), (Some(hint), Some(false)));
    assert!(!sandbox.mapping(Backend::Codex).contains("\"b\""));
}

#[test]
fn environment_of_claude_is_reserved() {
    let sandbox = with_session(Backend::Claude);
    for argument in ["--environment", "--environment=x"] {
        sandbox
            .fails(&resume("resume-json", &["--", argument]), 2, "usage")
            .before_the_turn()
            .message(contains("cannot be passed to claude"));
    }
}
