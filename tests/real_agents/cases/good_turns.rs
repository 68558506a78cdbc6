//! What the agents report of a turn that succeeded: refused tools, empty answers, and settings that they ignore.

use serde_json::{Value, json};

use crate::{
    agents::Agent,
    call::Outcome,
    model_api::{Block, Refusal},
    world::{SESSION, World},
};

real_agent_tests! { both:
    refused_tools_are_reported,
    empty_answer_is_reported,
    plain_turn_prints_no_warning,
}
real_agent_tests! { claude:
    unknown_effort_is_not_remembered,
    model_that_claude_falls_back_to_is_a_warning,
}
real_agent_tests! { codex:
    command_that_a_rule_forbids_is_reported,
    faults_of_tools_are_not_refusals,
    other_model_and_ignored_setting_are_warnings,
}

fn call(name: &'static str, input: Value) -> Vec<Block> {
    vec![Block::Call { name, input }]
}

fn done() -> Vec<Block> {
    vec![Block::Text("done".to_owned())]
}

/// Runs a first turn and resumed ones in every form, each with these replies of the model, and `--fail-on`.
fn each_form(world: &World, replies: &[Vec<Block>], fail_on: &str, check: impl Fn(&Outcome, &Value)) {
    let first = ["--session-name", SESSION, "--prompt", "p", "--if-missing", "create"];
    let resumed = ["--session-name", SESSION, "--prompt", "p"];
    let text: &[&str] = &["--format", "text"];
    for (verb, arguments, options) in [
        ("create-session", &first[..2], &[][..]),
        ("resume-json", &resumed, &[]),
        ("resume-stream", &resumed, &[]),
        ("resume-stream", &resumed, text),
        ("resume-stream", &resumed, &["--print-result"]),
    ] {
        world.api.play(replies.to_vec());
        let failing = ["--error-format", "json", "--fail-on", fail_on];
        let outcome = world.call(verb, &[arguments, options, &failing].concat()).run().exit(8);
        let error = outcome.error();
        check(&outcome, &error);
        assert_eq!((&error["turn_started"], &error["prompt_in_history"]), (&true.into(), &true.into()), "{outcome}");
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains(" resume-json --session-name=")), "{outcome}");
    }
    world.call("delete-session", &first[..2]).run().success();
    world.api.play(replies.to_vec());
    let outcome = world.call("resume-stream", &first).run().success();
    assert_eq!(outcome.stderr.matches("warning: ").count(), 1, "{outcome}");
}

fn refused_tools_are_reported(world: &World) {
    let (replies, want) = match world.agent {
        Agent::Claude => {
            let write = Block::Call { name: "Write", input: json!({"file_path": "/nowhere/x", "content": "x"}) };
            let bash = Block::Call { name: "Bash", input: json!({"command": "touch /nowhere/x", "description": "d"}) };
            (vec![vec![write, bash], done()], "claude was refused 2 tools: Write, Bash")
        }
        Agent::Codex => {
            let escalated = json!({"cmd": "touch x", "sandbox_permissions": "require_escalated", "justification": "j"});
            let patch = "apply_patch <<'X'\n*** Begin Patch\n*** Add File: a.txt\n+hi\n*** End Patch\nX";
            let patch = call("exec_command", json!({"cmd": patch}));
            let replies = vec![call("exec_command", escalated), patch, done()];
            (replies, "codex was refused at least 2 tools: Shell, Edit")
        }
    };
    each_form(world, &replies, "denied", |outcome, error| {
        assert_eq!(error["kind"], "permission_denied", "{outcome}");
        assert!(error["message"].as_str().is_some_and(|message| message.starts_with(want)), "{outcome}");
    });
    // the hint's arguments allow the tools
    let (options, replies): (&[&str], _) = match world.agent {
        Agent::Claude => {
            let file = world.path("work/x").display().to_string();
            (
                &["--", "--allowedTools", "Write,Bash"],
                [call("Write", json!({"file_path": file, "content": "x"})), done()],
            )
        }
        Agent::Codex => {
            let patch = "apply_patch <<'X'\n*** Begin Patch\n*** Add File: x\n+hi\n*** End Patch\nX";
            (&["--", "--sandbox", "workspace-write"], [call("exec_command", json!({"cmd": patch})), done()])
        }
    };
    world.api.play(replies);
    let allowed = world.resume("p", &[&["--fail-on", "denied"], options].concat()).run().success();
    assert!(world.path("work/x").exists(), "{allowed}");
}

fn empty_answer_is_reported(world: &World) {
    // claude asks once more for an answer that has text
    let replies = match world.agent {
        Agent::Claude => vec![vec![], vec![]],
        Agent::Codex => vec![vec![]],
    };
    each_form(world, &replies, "denied,empty", |outcome, error| {
        assert_eq!(error["kind"], "empty_answer", "{outcome}");
        let want = format!("{}'s answer is empty", world.agent);
        assert!(error["message"].as_str().is_some_and(|message| message.starts_with(&want)), "{outcome}");
    });
}

fn plain_turn_prints_no_warning(world: &World) {
    let fail_on = ["--fail-on", "denied,empty"];
    let first = world.call("create-session", &[&["--session-name", SESSION], &fail_on[..]].concat()).run().success();
    assert_eq!(first.stderr, "", "{first}");
    for verb in ["resume-json", "resume-stream"] {
        let arguments = [&["--session-name", SESSION, "--prompt", "p"], &fail_on[..]].concat();
        let outcome = world.call(verb, &arguments).run().success();
        assert_eq!(outcome.stderr, "", "{outcome}");
    }
}

fn unknown_effort_is_not_remembered(world: &World) {
    const WARNING: &str =
        "warning: claude ignored the reasoning effort, so it is not saved: Unknown --effort value 'bogus'";
    let bogus = ["--reasoning-effort", "bogus"];
    let created = world.call("create-session", &[&["--session-name", SESSION], &bogus[..]].concat()).run().success();
    assert!(created.stderr.starts_with(WARNING), "{created}");
    assert_eq!(world.stored()["last_reasoning_effort"], Value::Null);

    world.resume("second", &["--reasoning-effort", "low"]).run().success();
    for verb in ["resume-json", "resume-stream"] {
        let arguments = [&["--session-name", SESSION, "--prompt", "p"], &bogus[..]].concat();
        let outcome = world.call(verb, &arguments).run().success();
        assert!(outcome.stderr.starts_with(WARNING) && outcome.stderr.lines().count() == 1, "{outcome}");
        assert_eq!(world.stored()["last_reasoning_effort"], "low", "{outcome}");
    }
    let last = world.resume("last", &[]).run().success();
    assert_eq!((world.api.last_request().effort(), last.stderr.as_str()), ("low", ""));
}

fn command_that_a_rule_forbids_is_reported(world: &World) {
    std::fs::create_dir(world.path("codex/rules")).expect("a directory can be created");
    world.file("codex/rules/default.rules", "prefix_rule(pattern=[\"touch\"], decision=\"forbidden\")\n");
    world.api.play([call("exec_command", json!({"cmd": "touch x"})), done()]);
    world.create(&[]);
    world.api.play([call("exec_command", json!({"cmd": "touch x"})), done()]);
    let outcome = world.resume("p", &[]).run().success();
    assert_eq!(outcome.stderr, "warning: codex was refused at least 1 tool: Shell\n", "{outcome}");
    // its reviewer refuses a command; codex has both an event and a line in its log for that
    let escalated = json!({"cmd": "rm x", "sandbox_permissions": "require_escalated", "justification": "j"});
    let verdict = json!({"outcome": "deny", "risk_level": "high", "user_authorization": "low", "rationale": "no"});
    world.api.play([call("exec_command", escalated), vec![Block::Text(verdict.to_string())], done()]);
    let arguments = ["--session-name", "reviewed", "--prompt", "p", "--if-missing", "create", "--quiet"];
    let options = ["--fail-on", "denied", "--error-format", "json", "--", "--approve-for-me"];
    let outcome = world.call("resume-stream", &[&arguments[..], &options].concat()).run().exit(8);
    let message = outcome.error()["message"].to_string();
    assert!(message.contains("codex was refused at least 1 tool: Shell:"), "{outcome}");
}

/// codex logs these in the same place.
fn faults_of_tools_are_not_refusals(world: &World) {
    for (name, input) in [
        ("exec_command", json!({"nope": "touch x"})),
        ("no_such_tool", json!({})),
        ("exec_command", json!({"cmd": "ls", "workdir": "/nonexistent"})),
    ] {
        world.api.play([call(name, input), done()]);
        let session = ["--session-name", SESSION, "--prompt", "p", "--if-missing", "create", "--quiet"];
        world.call("resume-json", &[&session[..], &["--fail-on", "denied"]].concat()).run().success();
    }
}

fn other_model_and_ignored_setting_are_warnings(world: &World) {
    let [a, b] = ["gpt-5.5", "gpt-6.1-sol"];
    let warning = |old: &str, new: &str| {
        format!("warning: codex: This session was recorded with model `{old}` but is resuming with `{new}`.")
    };
    let warns = |outcome: &Outcome, want: &str| {
        assert!(outcome.stderr.starts_with(want) && outcome.stderr.lines().count() == 1, "{outcome}");
    };
    let id = world.create(&["--model", a]);
    // codex itself resumes the session with another model, and the name brings the first one back
    let change_model = || {
        let resume = ["exec", "resume", "--json", "--skip-git-repo-check", "--model", b, &id, "elsewhere"];
        world.call_agent(&resume).run().success();
        assert_eq!(world.api.last_request().model(), b);
    };
    let resume = ["--session-name", SESSION, "--prompt", "p"];
    for (verb, options) in [("resume-json", &[][..]), ("resume-stream", &[]), ("resume-stream", &["--print-result"])] {
        change_model();
        warns(&world.call(verb, &[&resume, options].concat()).run().success(), &warning(b, a));
        assert_eq!(world.api.last_request().model(), a);
    }
    change_model();
    let text = world.call("resume-stream", &[&resume[..], &["--format", "text"]].concat()).run().success();
    assert_eq!((text.stderr.as_str(), text.stdout.matches("is resuming with").count()), ("", 1), "{text}");
    // the call names the model; an unknown one is not worth a warning either
    for model in [b, a, "model-of-call"] {
        let named = world.resume("p", &["--model", model]).run().success();
        assert_eq!(named.stderr, "", "{named}");
    }
    // without a name, nothing brings the model back
    world.call("delete-session", &["--session-name", SESSION]).run().success();
    let by_id = world.call("resume-json", &["--thread-id", &id, "--prompt", "p"]).run().success();
    warns(&by_id, &warning("model-of-call", "model-of-config"));
    world.create(&["--adopt", &id]);

    let ignored = world.resume("p", &["--config", "no_such_key=1"]).run().success();
    warns(&ignored, "warning: codex: Codex is ignoring 1 unrecognized configuration setting.");
    assert!(ignored.stderr.contains("`no_such_key` is ignored"), "{ignored}");

    // a failed turn has its own cause
    world.api.refuse_with(401);
    let failed = world.resume("p", &["--config", "no_such_key=1", "--model", a]).run().exit(1);
    assert!(failed.stderr.contains("unexpected status 401"), "{failed}");
    assert!(!failed.stderr.contains("no_such_key") && !failed.stderr.contains("resuming with"), "{failed}");
}

fn model_that_claude_falls_back_to_is_a_warning(world: &World) {
    let models = ["--model", "claude-opus-4-6"];
    world.create(&models);
    let body = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    world.api.refuse_model_as("claude-opus-4-6", &Refusal { status: 529, headers: &[], body });
    let resume = ["--session-name", SESSION, "--prompt", "p"];
    let fallback = ["--", "--fallback-model", "claude-sonnet-4-6"];
    for options in [&[][..], &["--print-result"]] {
        // claude tries the requested model three times
        let call = world.call("resume-stream", &[&resume[..], options, &fallback].concat());
        let outcome = call.env_remove("CLAUDE_CODE_MAX_RETRIES").run().success();
        assert_eq!(world.api.last_request().model(), "claude-sonnet-4-6");
        assert!(outcome.stderr.starts_with("warning: claude: Switched to Sonnet 4.6 "), "{outcome}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
    }
}
