//! What a successful turn reports: refused tools, empty answers, warnings of the agent, and `--fail-on` (contract
//! section 6).

use serde_json::json;

use crate::support::*;

const VERBS: [&str; 2] = ["resume-json", "resume-stream"];

/// How a line begins that codex logs for a tool call that it did not run.
const ROUTER: &str = "2026-11-21T19:43:02.167642Z ERROR codex_core::tools::router: error=";

fn with_session(backend: Backend, turn: Turn) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(backend, "a", "i");
    sandbox.agent(turn);
    sandbox
}

fn resume<'a>(verb: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    [&[verb, "--session-name", "a", "--prompt", "p"], options].concat()
}

/// Every form of output of a turn that resumes a session.
const FORMS: [&[&str]; 6] = [
    &["resume-json", "--session-name", "a", "--prompt", "p"],
    &["resume-json", "--session-name", "a", "--prompt", "p", "--print-result"],
    &["resume-stream", "--session-name", "a", "--prompt", "p"],
    &["resume-stream", "--session-name", "a", "--prompt", "p", "--print-result"],
    &["resume-stream", "--session-name", "a", "--prompt", "p", "--format", "text"],
    &["ask", "a", "p"],
];

/// Returns a turn of claude whose result has these members.
fn claude_result(members: &serde_json::Value) -> Turn {
    let mut result = json!({"type": "result", "subtype": "success", "is_error": false, "session_id": "i"});
    for (name, value) in members.as_object().expect("an object") {
        result[name] = value.clone();
    }
    Turn::default().stdout(&format!("{result}\n"))
}

fn claude_denies(tools: &[&str]) -> Turn {
    let denials: Vec<_> = tools.iter().map(|tool| json!({"tool_name": tool, "tool_input": {}})).collect();
    claude_result(&json!({"result": "done", "permission_denials": denials}))
}

/// Returns a turn of codex with these items, and this answer.
fn codex_items(items: &[serde_json::Value], answer: Option<&str>) -> Turn {
    let message = answer.map(|text| json!({"id": "item_9", "type": "agent_message", "text": text}));
    let events = [json!({"type": "thread.started", "thread_id": "i"}), json!({"type": "turn.started"})];
    let items = items.iter().chain(&message).map(|item| json!({"type": "item.completed", "item": item}));
    let end = json!({"type": "turn.completed", "usage": {"input_tokens": 1, "output_tokens": 2}});
    let lines: Vec<String> = events.into_iter().chain(items).chain([end]).map(|event| format!("{event}\n")).collect();
    Turn { last_message: Some(answer.unwrap_or_default().to_owned()), ..Turn::default().stdout(&lines.concat()) }
}

fn codex_declines() -> Turn {
    let command = |status: &str| json!({"id": "item_1", "type": "command_execution", "command": "rm x", "aggregated_output": "", "exit_code": null, "status": status});
    let tool =
        json!({"id": "item_2", "type": "mcp_tool_call", "server": "files", "tool": "write", "status": "declined"});
    codex_items(&[command("completed"), command("declined"), tool], Some("done"))
}

#[test]
fn refused_tools_are_a_warning() {
    let claude = "warning: claude was refused 2 tools: Write, Bash (2 times)\n";
    let codex = "warning: codex was refused at least 2 tools: Shell, files.write\n";
    for (backend, turn, warning) in [
        (Backend::Claude, claude_denies(&["Write", "Bash", "Bash"]), claude),
        (Backend::Codex, codex_declines(), codex),
    ] {
        let sandbox = with_session(backend, turn);
        for form in FORMS {
            let output = sandbox.run(form).success();
            let shown = output.stderr_text();
            assert_eq!(shown.matches("refused").count(), 1, "{form:?}: {shown}");
            assert!(shown.contains(warning), "{form:?}: {shown}");
        }
        let quiet = sandbox.run(&[&["--quiet"], FORMS[0]].concat()).success();
        assert_eq!(quiet.stderr_text(), "");
        let create = ["--backend", backend.name(), "create-session", "--session-name", "n"];
        sandbox.run(&create).success().stderr(contains(warning));
        let turn = match backend {
            Backend::Claude => claude_denies(&["Write", "Bash", "Bash"]),
            Backend::Codex => codex_declines(),
        };
        sandbox.agent(Turn { stdout: turn.stdout.replace("\"i\"", "\"j\""), ..turn });
        let fork = ["fork-session", "--session-name", "a", "--to", "b", "--prompt", "p"];
        sandbox.run(&fork).success().stderr(contains(warning));
    }
}

/// codex has no event for most refusals. Its log has other faults of tools too.
#[test]
fn refusals_in_the_log_of_codex_count() {
    let refused = [
        "approval policy is Never; reject command — you cannot ask for escalated permissions",
        "patch rejected: writing is blocked by read-only sandbox; rejected by user approval settings",
        r#"exec_command failed: CreateProcess { message: "Rejected(\"`/bin/bash -lc 'touch x'` rejected: policy forbids commands starting with `touch`\")" }"#,
        r#"exec_command failed for `/bin/bash -lc 'touch x'`: CreateProcess { message: "Rejected(\"`/bin/bash -lc 'touch x'` rejected: policy forbids commands starting with `touch`\")" }"#,
    ];
    let other = [
        "failed to parse function arguments: missing field `cmd`",
        "unsupported call: no_such_tool",
        r#"exec_command failed: CreateProcess { message: "Rejected(\"Failed to create unified exec process: No such file or directory (os error 2)\")" }"#,
        r#"exec_command failed: CreateProcess { message: "Rejected(\"This action was rejected due to unacceptable risk.\")" }"#,
        r#"exec_command failed for `echo ': CreateProcess { message: "Rejected(\"`'`: CreateProcess { message: "Rejected(\"Failed to create unified exec process\")" }"#,
    ];
    let log = |lines: &[&str]| lines.iter().map(|line| format!("{ROUTER}{line}\n")).collect::<Vec<_>>().concat();
    let turn = |lines: &[&str]| Backend::Codex.answers("i", "done").stderr(&log(lines));
    let sandbox = with_session(Backend::Codex, turn(&[&other[..], &refused[..]].concat()));
    for form in FORMS {
        let warning = "warning: codex was refused at least 2 tools: Shell (3 times), Edit\n";
        sandbox.run(form).success().stderr(warning);
    }
    sandbox.agent(turn(&other));
    sandbox.run(FORMS[0]).success().stderr("");
}

#[test]
fn empty_answer_is_a_warning() {
    for (backend, turns) in [
        (
            Backend::Claude,
            vec![
                claude_result(&json!({"result": ""})),
                claude_result(&json!({"result": " \n"})),
                claude_result(&json!({"result": null})),
            ],
        ),
        (Backend::Codex, vec![codex_items(&[], None), codex_items(&[], Some(""))]),
    ] {
        for turn in turns {
            let sandbox = with_session(backend, turn.clone());
            for form in FORMS {
                let warning = format!("warning: {}'s answer is empty\n", backend.name());
                sandbox.run(form).success().stderr(warning);
            }
        }
        // a stream without an end has no answer to check
        let silent = json!({"type": "system", "subtype": "init", "session_id": "i"});
        let sandbox = with_session(backend, Turn::default().stdout(&format!("{silent}\n")));
        sandbox.run(&resume("resume-stream", &[])).success().stderr("");
    }
}

/// The answer of a stream is the last message, as in codex's own answer file.
#[test]
fn last_message_of_a_stream_decides_whether_the_answer_is_empty() {
    let message = |text: &str| json!({"id": "item_1", "type": "agent_message", "text": text});
    let shell =
        json!({"id": "item_2", "type": "command_execution", "command": "ls \"agent_message\"", "status": "completed"});
    let warning = "warning: codex's answer is empty\n";
    for (items, answer, shown) in [
        (vec![message("looking"), shell.clone()], None, ""),
        (vec![message("looking")], Some(" "), warning),
        (vec![message(" ")], Some("done"), ""),
        (vec![shell], None, warning),
    ] {
        let sandbox = with_session(Backend::Codex, codex_items(&items, answer));
        sandbox.run(&resume("resume-stream", &[])).success().stderr(shown);
        // events in the form of another release
        let turn = codex_items(&items, answer);
        sandbox.agent(Turn { stdout: turn.stdout.replace("{\"item\":", "{ \"item\":"), ..turn });
        sandbox.run(&resume("resume-stream", &[])).success().stderr(shown);
    }
}

#[test]
fn fail_on_denied_prints_the_answer_and_fails() {
    for (backend, turn, message, hint) in [
        (
            Backend::Claude,
            claude_denies(&["Write", "Bash"]),
            "claude was refused 2 tools: Write, Bash",
            "resume-json --session-name=a --prompt Continue -- --allowedTools Write,Bash",
        ),
        (
            Backend::Codex,
            codex_declines(),
            "codex was refused at least 2 tools: Shell, files.write",
            "resume-json --session-name=a --prompt Continue -- --sandbox workspace-write",
        ),
    ] {
        let sandbox = with_session(backend, turn);
        for form in FORMS {
            let plain = sandbox.run(form).success().stdout_text();
            let options = ["--fail-on", "denied", "--model", "m"];
            let failed = sandbox.run(&[form, &options].concat()).code(8).stderr(starts_with("error: "));
            let same = |text: &str| text.lines().filter(|line| !line.starts_with("turn ")).collect::<String>();
            let plain = plain.replace("\"last_model\": null", "\"last_model\": \"m\"");
            assert_eq!(same(&failed.stdout_text()), same(&plain), "{form:?}");
            assert_eq!(failed.stderr_text().matches("was refused").count(), 1, "only the error has it: {failed}");
            assert!(sandbox.mapping(backend).contains("\"last_model\": \"m\""), "the turn is complete");
            sandbox.save(backend, "a", "i");
        }
        let call = [FORMS[0], &["--fail-on=denied"]].concat();
        let failure = sandbox.fails(&call, 8, "permission_denied").after_the_turn().message(starts_with(message));
        let failure = failure.hint(contains(hint));
        assert_eq!((failure.prompt_in_history, failure.session_id.as_deref()), (Some(true), Some("i")));
        assert_eq!((failure.agent_exit_code, failure.cause.as_deref(), failure.retryable), (Some(0), None, false));
        assert_eq!(failure.agent.is_some(), backend == Backend::Claude);
        sandbox.run(&[FORMS[0], &["--fail-on", "empty"]].concat()).success();
    }
}

#[test]
fn fail_on_empty_prints_the_answer_and_fails() {
    for (backend, turn) in
        [(Backend::Claude, claude_result(&json!({"result": ""}))), (Backend::Codex, codex_items(&[], None))]
    {
        let sandbox = with_session(backend, turn);
        for form in FORMS {
            let plain = sandbox.run(form).success().stdout_text();
            let failed = sandbox.run(&[form, &["--fail-on", "empty"]].concat()).code(8);
            if !form.contains(&"text") {
                assert_eq!(failed.stdout_text(), plain, "{form:?}");
            }
        }
        let failure = sandbox.fails(&[FORMS[0], &["--fail-on", "empty"]].concat(), 8, "empty_answer").after_the_turn();
        let failure = failure.message(starts_with(format!("{}'s answer is empty", backend.name())));
        let failure = failure.hint(contains("resume-json --session-name=a --prompt "));
        assert_eq!((failure.prompt_in_history, failure.session_id.as_deref()), (Some(true), Some("i")));
    }
}

/// A session that was started and paid for has its name, although the call fails.
#[test]
fn fail_on_saves_a_new_session() {
    for (backend, turn) in [(Backend::Claude, claude_denies(&["Write"])), (Backend::Codex, codex_declines())] {
        let sandbox = Sandbox::new();
        sandbox.agent(turn.clone());
        let agent = ["--backend", backend.name()];
        let first = ["create-session", "--session-name", "n", "--fail-on", "denied,empty"];
        sandbox.run(&[&agent[..], &first].concat()).code(8).stdout("i\n");
        let failure = sandbox.fails(&[&agent[..], &first].concat(), 8, "permission_denied").after_the_turn();
        failure.hint(contains("--session-name=n "));
        let printed = sandbox.run(&[&agent[..], &first, &["--print-result"]].concat()).code(8);
        printed.stdout("done\n");
        let missing = ["resume-json", "--session-name", "m", "--if-missing", "create", "--prompt", "p"];
        sandbox.run(&[&agent[..], &missing, &["--fail-on", "denied"]].concat()).code(8);
        sandbox.agent(Turn { stdout: turn.stdout.replace("\"i\"", "\"j\""), ..turn });
        let fork = ["fork-session", "--session-name", "n", "--to", "f", "--prompt", "p", "--fail-on", "denied"];
        sandbox.run(&fork).code(8).stdout(contains("done"));
        let names = sandbox.run(&["list-sessions", "--format", "names"]).success().stdout_text();
        let name = |name: &str| format!("{}\t{name}\n", backend.name());
        assert_eq!(names, ["f", "m", "n"].map(name).concat());
    }
}

#[test]
fn fail_on_takes_several_values() {
    let both = claude_result(&json!({"result": "", "permission_denials": [{"tool_name": "Write"}]}));
    let sandbox = with_session(Backend::Claude, both);
    for options in [
        &["--fail-on", "denied,empty"][..],
        &["--fail-on", "empty", "--fail-on", "denied"],
        &["--fail-on=empty,denied"],
    ] {
        let call = resume("resume-json", options);
        let output = sandbox.run(&call).code(8).stderr(contains("warning: claude's answer is empty\n"));
        output.stderr(contains("error: claude was refused 1 tool: Write\n"));
        sandbox.fails(&call, 8, "permission_denied");
    }
    let call = resume("resume-json", &["--fail-on", "empty"]);
    sandbox.run(&call).code(8).stderr(contains("warning: claude was refused 1 tool: Write\n"));
    for bad in ["", "nothing", "denied,", "denied empty"] {
        sandbox.fails(&resume("resume-json", &["--fail-on", bad]), 2, "usage").before_the_turn();
    }
    // an agent that failed is an agent that failed
    sandbox.agent(Backend::Claude.fails("i", "no"));
    sandbox.fails(&resume("resume-json", &["--fail-on", "denied,empty"]), 1, "agent_failed");
}

/// The file has the answer, because the turn is complete.
#[test]
fn fail_on_replaces_the_output_file() {
    for backend in Backend::BOTH {
        let turn = match backend {
            Backend::Claude => claude_denies(&["Write"]),
            Backend::Codex => codex_declines(),
        };
        let sandbox = with_session(backend, turn);
        for form in FORMS {
            sandbox.write("out", "old");
            let output = sandbox.run(&[form, &["--output-file", "out", "--fail-on", "denied"]].concat()).code(8);
            assert_eq!(output.stdout_text(), "");
            let text = std::fs::read_to_string(sandbox.workspace().join("out")).unwrap();
            assert!(text.contains("done"), "{form:?}: {text}");
            assert!(!sandbox.workspace().join("out.partial").exists());
        }
    }
}

#[test]
fn warnings_of_the_agent_reach_stderr() {
    for backend in Backend::BOTH {
        let stderr = "starting\nWarning: the key \u{1b}[31mexpires tomorrow\nwarning: old option\n\
                      Warning: the key \u{1b}[31mexpires tomorrow\nwarnings: 3\n";
        let sandbox = with_session(backend, backend.answers("i", "done").stderr(stderr));
        let name = backend.name();
        let want = format!("warning: {name}: the key \\u{{1b}}[31mexpires tomorrow\nwarning: {name}: old option\n");
        for form in FORMS {
            sandbox.run(form).success().stderr(want.clone());
        }
        sandbox.run(&[&["--quiet"], FORMS[0]].concat()).success().stderr("");
        let create = ["--backend", name, "create-session", "--session-name", "n"];
        sandbox.run(&create).success().stderr(want);
        let many: Vec<_> = (0..30).map(|number| format!("warning: number {number}\n")).collect();
        sandbox.agent(backend.answers("i", "done").stderr(&many.concat()));
        let shown = sandbox.run(FORMS[0]).success().stderr_text();
        assert!(shown.lines().count() <= 11 && shown.contains("20 more warnings"), "{shown}");
    }
}

/// codex prints these in every turn of many callers.
#[test]
fn chatter_of_codex_is_not_a_warning() {
    let stderr = "warning: Untrusted project-local configuration is disabled. Run `codex exec --trust` to allow it.\n\
                  Reading additional input from stdin...\nWarning: no last agent message; wrote empty content to /tmp/x\n";
    let sandbox = with_session(Backend::Codex, Backend::Codex.answers("i", "done").stderr(stderr));
    sandbox.run(FORMS[0]).success().stderr("");
}

/// A resumed turn of codex 0.169.0, as recorded: its prompt, these items, an answer and the end.
fn codex_prints(items: &[&str]) -> Turn {
    let mut lines = vec![r#"{"type":"thread.started","thread_id":"i"}"#.to_owned()];
    let numbered = items.iter().enumerate();
    lines.extend(numbered.map(|(number, message)| {
        format!(r#"{{"type":"item.completed","item":{{"id":"item_{number}","type":"error","message":"{message}"}}}}"#)
    }));
    lines.extend([
        r#"{"type":"turn.started"}"#.to_owned(),
        r#"{"type":"item.completed","item":{"id":"item_90","type":"agent_message","text":"done"}}"#.to_owned(),
        r#"{"type":"turn.completed","usage":{"input_tokens":30,"cached_input_tokens":0,"output_tokens":15}}"#
            .to_owned(),
    ]);
    Turn { last_message: Some("done".to_owned()), ..Turn::default().stdout(&(lines.join("\n") + "\n")) }
}

const OTHER_MODEL: &str = "This session was recorded with model `gpt-5.4` but is resuming with `gpt-5.5`. Consider switching \
                           back to `gpt-5.4` as it may affect Codex performance.";
const IGNORED_KEY: &str = "Codex is ignoring 1 unrecognized configuration setting. Check for typos or deprecated \
                           settings.\\n  session-flags: `no_such_key` is ignored.";

/// What codex prints in every turn of some callers, although the turn is as they asked.
const USUAL_ITEMS: [&str; 3] = [
    "Model metadata for `my-model` not found. Defaulting to fallback metadata; this can degrade performance and cause issues.",
    "Under-development features enabled: rollout_budget. Under-development features are incomplete and may behave unpredictably. \
     To suppress this warning, set `suppress_unstable_features_warning = true` in /home/me/.codex/config.toml.",
    "Falling back from WebSockets to HTTPS transport. unexpected status 404 Not Found: , url: ws://127.0.0.1/v1/responses",
];

#[test]
fn warnings_in_the_events_of_codex_reach_stderr() {
    let mut items = USUAL_ITEMS.to_vec();
    items.extend([OTHER_MODEL, IGNORED_KEY, IGNORED_KEY, "model rerouted: gpt-5.5 -> gpt-5.2 (HighRiskCyberActivity)"]);
    let want = "warning: codex: This session was recorded with model `gpt-5.4` but is resuming with `gpt-5.5`. Consider \
                switching back to `gpt-5.4` as it may affect Codex performance.\n\
                warning: codex: Codex is ignoring 1 unrecognized configuration setting. Check for typos or deprecated \
                settings. session-flags: `no_such_key` is ignored.\n\
                warning: codex: model rerouted: gpt-5.5 -> gpt-5.2 (HighRiskCyberActivity)\n";
    let recorded = codex_prints(&items);
    let other_form = recorded.stdout.replace("{\"type\"", "{ \"type\"");
    for turn in [recorded.clone(), Turn { stdout: other_form, ..recorded.clone() }] {
        let sandbox = with_session(Backend::Codex, turn);
        for form in FORMS {
            let output = sandbox.run(form).success();
            if form.contains(&"text") {
                // its standard output has them already
                assert_eq!(
                    (output.stderr_text(), output.stdout_text().matches("rerouted").count()),
                    (String::new(), 1)
                );
            } else {
                assert_eq!(output.stderr_text(), want, "{form:?}");
            }
        }
        sandbox.run(&[&["--quiet"], FORMS[0]].concat()).success().stderr("");
        let create = ["--backend", "codex", "create-session", "--session-name", "n"];
        sandbox.run(&create).success().stderr(want);
    }
    let sandbox = with_session(Backend::Codex, codex_prints(&USUAL_ITEMS));
    for form in FORMS {
        sandbox.run(form).success().stderr("");
    }
}

/// claude 2.1.329 reports another model in streams only.
#[test]
fn model_that_claude_falls_back_to_is_a_warning() {
    let fallback = r#"{"type":"system","subtype":"model_fallback","uuid":"u","trigger":"overloaded","original_model":"claude-opus-4-6","fallback_model":"claude-sonnet-4-6","content":"Switched to Sonnet 4.6 due to high demand for Opus 4.6","session_id":"i"}"#;
    let refused = r#"{"type":"system","subtype":"model_refusal_fallback","content":"Opus stopped, so Sonnet continues","original_model":"a","fallback_model":"b"}"#;
    let silent = r#"{"type":"system","subtype":"model_refusal_no_fallback","content":"","original_model":"a"}"#;
    let quoting = r#"{"type":"user","message":{"content":"\"subtype\":\"model_fallback\""},"subtype":"model_fallback","content":"x"}"#;
    let turn = Backend::Claude.answers("i", "done");
    let stream = turn.stream.clone().expect("a stream");
    let stream = format!("{fallback}\n{refused}\n{silent}\n{fallback}\n{quoting}\n{stream}");
    let sandbox = with_session(Backend::Claude, Turn { stream: Some(stream), ..turn });
    let want = "warning: claude: Switched to Sonnet 4.6 due to high demand for Opus 4.6\n\
                warning: claude: Opus stopped, so Sonnet continues\n";
    sandbox.run(&resume("resume-stream", &[])).success().stderr(want);
    sandbox.run(&resume("resume-stream", &["--print-result"])).success().stderr(want).stdout("done\n");
    let text = sandbox.run(&resume("resume-stream", &["--format", "text"])).success().stderr("");
    text.stdout(contains("warning: Switched to Sonnet 4.6 due to high demand for Opus 4.6\n"));
    sandbox.run(&resume("resume-json", &[])).success().stderr("");
}

/// A call that names a model expects the session to change to it.
#[test]
fn change_to_the_model_of_the_call_is_not_a_warning() {
    let sandbox = with_session(Backend::Codex, codex_prints(&[OTHER_MODEL]));
    for form in FORMS {
        sandbox.run(&[form, &["--model", "gpt-5.5"]].concat()).success().stderr("");
    }
    // now the name has that model, but the session was used with another one in between
    sandbox.run(FORMS[0]).success().stderr(contains("but is resuming with `gpt-5.5`"));
    sandbox.run(&[FORMS[0], &["--model", "gpt-5"]].concat()).success().stderr(contains("resuming with `gpt-5.5`"));
    for odd in
        ["This session was recorded with model `a`", "This session was recorded with model `a` but is resuming with `"]
    {
        sandbox.agent(codex_prints(&[odd]));
        sandbox.run(&[FORMS[0], &["--model", "a"]].concat()).success().stderr(format!("warning: codex: {odd}\n"));
    }
}

#[test]
fn warnings_in_the_events_are_escaped_and_limited() {
    let sandbox =
        with_session(Backend::Codex, codex_prints(&["", " ", r"a\u001b[2J\r\n\nb"]).stderr("Warning: a\nWarning: c\n"));
    let want = "warning: codex: a\nwarning: codex: c\nwarning: codex: a\\u{1b}[2J b\n";
    sandbox.run(FORMS[0]).success().stderr(want);
    let many: Vec<String> = (0..2000).map(|number| format!("number {number}{}", "x".repeat(100_000 / 20))).collect();
    sandbox.agent(codex_prints(&many.iter().map(String::as_str).collect::<Vec<_>>()));
    for form in [FORMS[0], FORMS[2]] {
        let shown = sandbox.run(form).success().stderr_text();
        assert!(shown.lines().count() == 11 && shown.contains(" more warnings"), "{shown}");
        assert!(shown.len() < 30_000, "{}", shown.len());
    }
    // an item is not a warning because of its text, and one of another form is none
    let quoting =
        r#"{"type":"item.completed","item":{"id":"item_1","type":"agent_message","text":"{\"type\":\"error\"}"}}"#;
    let started = r#"{"type":"item.started","item":{"id":"item_2","type":"error","message":"begun"}}"#;
    let odd = r#"{"type":"item.completed","item":{"id":"item_3","type":"error","message":{"a":1}}}"#;
    let turn = codex_prints(&[]);
    let stdout = format!("{quoting}\n{started}\n{odd}\n{}", turn.stdout);
    sandbox.agent(Turn { stdout, ..turn });
    for form in [FORMS[0], FORMS[2]] {
        sandbox.run(form).success().stderr("");
    }
}

#[test]
fn failed_turn_has_its_cause_in_spite_of_warnings_in_the_events() {
    let failed = |items: &[&str], end: &str| {
        let turn = codex_prints(items);
        let events: Vec<&str> =
            turn.stdout.lines().filter(|line| line.contains("error") || line.contains("thread")).collect();
        Turn::default().stdout(&format!("{}\n{end}\n", events.join("\n"))).exit(1)
    };
    let sandbox = with_session(Backend::Codex, Turn::default());
    let reason = "You've hit your usage limit.";
    let end = json!({"type": "turn.failed", "error": {"message": reason}}).to_string();
    for form in FORMS {
        sandbox.agent(failed(&[OTHER_MODEL, IGNORED_KEY], &end));
        let failure = sandbox.fails(form, 1, "agent_failed").message(ends_with(reason));
        assert_eq!(failure.cause.as_deref(), Some("usage_limit"), "{form:?}");
        let call = sandbox.run(form).code(1);
        assert!(call.stderr_text().starts_with("error: ") && !call.stderr_text().contains("resuming"), "{call}");
        // without a verdict, standard error has the reason
        sandbox.agent(failed(&[OTHER_MODEL], "").stderr("Error: the disk is full\n"));
        sandbox.fails(form, 1, "agent_failed").message(ends_with("Error: the disk is full"));
    }
}

#[test]
fn effort_that_claude_ignores_is_not_remembered() {
    const IGNORED: &str =
        "Warning: Unknown --effort value 'bogus' — ignoring it and using the default effort. Valid values: low, max.\n";
    let want = "warning: claude ignored the reasoning effort, so it is not saved: Unknown --effort value 'bogus' — \
                ignoring it and using the default effort. Valid values: low, max.\n";
    let warns = |sandbox: &Sandbox| sandbox.agent(Backend::Claude.answers("i", "done").stderr(IGNORED));
    let effort = ["--reasoning-effort", "bogus"];
    for verb in VERBS {
        let sandbox = with_session(Backend::Claude, Backend::Claude.answers("i", "done"));
        sandbox.run(&resume(verb, &["--reasoning-effort", "low"])).success().stderr("");
        warns(&sandbox);
        sandbox.run(&resume(verb, &effort)).success().stderr(want);
        let mapping = sandbox.mapping(Backend::Claude);
        assert!(mapping.contains("\"last_reasoning_effort\": \"low\""), "the last one that counted: {mapping}");
    }
    // one that an earlier release saved
    let sandbox = with_session(Backend::Claude, Backend::Claude.answers("i", "done"));
    sandbox.run(&resume("resume-json", &effort)).success();
    warns(&sandbox);
    let saved = "warning: claude ignored the saved reasoning effort 'bogus': Unknown --effort value 'bogus' — ";
    sandbox.run(&resume("resume-json", &[])).success().stderr(starts_with(saved));
    let sandbox = Sandbox::new();
    warns(&sandbox);
    let create = ["--backend", "claude", "create-session", "--session-name", "a", "--print-mapping-json"];
    let created = sandbox.run(&[&create[..], &effort].concat()).success().stderr(want).json();
    assert_eq!(created["last_reasoning_effort"], json!(null));
    assert!(!sandbox.mapping(Backend::Claude).contains("bogus"), "{}", sandbox.mapping(Backend::Claude));
    let missing =
        ["--backend", "claude", "resume-json", "--session-name", "b", "--if-missing", "create", "--prompt", "p"];
    sandbox.run(&[&missing[..], &effort].concat()).success().stderr(contains(want));
    assert!(!sandbox.mapping(Backend::Claude).contains("bogus"), "{}", sandbox.mapping(Backend::Claude));
}
