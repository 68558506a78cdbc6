//! The settings of a call: environment, agent arguments, model, effort and codex's flags (contract section 5).

use serde_json::json;

use crate::support::*;

fn with_session(backend: Backend) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(backend, "a", "i");
    sandbox.agent(backend.answers("i", "OK").watching(&["CLAUDECODE", "A", "B", "QUOTED"]));
    sandbox
}

#[test]
fn nested_claude_does_not_inherit_its_own_variable() {
    let mut sandbox = with_session(Backend::Claude);
    sandbox.env("CLAUDECODE", "1");
    sandbox.succeeds(&["--backend", "claude", "resume-json", "--session-name", "a", "--prompt", "p"]);
    assert_eq!(sandbox.last_call().env["CLAUDECODE"], None);
}

#[test]
fn last_variable_of_a_name_in_the_env_file_counts() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        sandbox.write("vars", "\u{feff}export A=1\nA = 2 \r\nQUOTED='unpaired\nB=\"\"\n");
        sandbox.succeeds(&[
            "--backend",
            backend.name(),
            "resume-json",
            "--session-name",
            "a",
            "--prompt",
            "p",
            "--env-file",
            "vars",
        ]);
        let env = sandbox.last_call().env;
        assert_eq!(env["A"].as_deref(), Some("2"));
        assert_eq!(env["B"].as_deref(), Some(""));
        assert_eq!(env["QUOTED"].as_deref(), Some("'unpaired"));
    }
}

#[test]
fn path_in_the_env_file_locates_the_agent() {
    let mut sandbox = with_session(Backend::Codex);
    sandbox.write("vars", format!("PATH={}", Sandbox::path_of(&sandbox.bin()).display()));
    sandbox.env("PATH", Sandbox::path_of(&sandbox.home()));
    let call = ["--backend", "codex", "resume-json", "--session-name", "a", "--prompt", "p"];
    sandbox.fails(&call, 127, "agent_not_found");
    sandbox.succeeds(&[&call[..], &["--env-file", "vars"]].concat());
}

#[test]
#[cfg(unix)] // the command is a Unix path
fn relative_programs_and_images_start_at_the_current_directory() {
    let sandbox = Sandbox::new();
    sandbox.write("elsewhere/x", "");
    sandbox.agent(Backend::Codex.answers("i", "OK"));
    let wrapper = std::path::Path::new("../bin").join(sandbox.agent_program("my-wrapper").file_name().unwrap());
    let create = [
        "--backend",
        "codex",
        "create-session",
        "--session-name",
        "a",
        "--workspace-dir",
        "elsewhere",
        "--codex-cmd",
        wrapper.to_str().unwrap(),
        "--image",
        "pic.png",
    ];
    sandbox.succeeds(&create);
    let call = sandbox.last_call();
    assert_eq!(call.name, "my-wrapper");
    assert_eq!(call.value_of("--image"), sandbox.workspace().join("pic.png").to_str());
    assert_eq!(call.cwd, sandbox.workspace().join("elsewhere").to_str().unwrap());
}

#[test]
fn agent_arguments_precede_the_prompt() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        for verb in ["resume-json", "resume-stream"] {
            let call = [
                "--backend",
                backend.name(),
                verb,
                "--session-name",
                "a",
                "--prompt",
                "p",
                "--",
                "--allowedTools",
                "Bash(ls *)",
            ];
            sandbox.succeeds(&call);
            let argv = sandbox.last_call().argv;
            assert_eq!(argv[argv.len() - 4..], ["--allowedTools", "Bash(ls *)", "--", "p"]);
        }
    }
}

#[test]
fn codex_options_of_the_first_turn_work_on_every_turn() {
    let sandbox = Sandbox::new();
    let options = ["--", "--sandbox", "workspace-write", "-c", "a=1", "-Cdir", "--add-dir=x", "--unknown", "-s", "y"];
    let moved = ["--sandbox", "workspace-write", "-Cdir", "--add-dir=x", "-s", "y"];
    let call =
        ["--backend", "codex", "resume-stream", "--session-name", "a", "--if-missing", "create", "--prompt", "p"];
    for turn in 1..=3 {
        sandbox.agent(Backend::Codex.answers("t", "OK"));
        sandbox.succeeds(&[&call[..], &options].concat());
        let argv = sandbox.last_call().argv;
        if turn == 1 {
            let want = [&["exec", "--json"], &options[1..], &["--", "p"]].concat();
            assert_eq!(argv, want);
        } else {
            let want = ["resume", "t", "--json", "-c", "a=1", "--unknown", "--", "p"];
            assert_eq!(argv, [&["exec"], &moved[..], &want].concat());
        }
    }
    sandbox.agent(Backend::Codex.answers("f", "OK"));
    let fork = ["--backend", "codex", "fork-session", "--session-name", "a", "--to", "b", "--prompt", "p"];
    sandbox.succeeds(&[&fork[..], &options].concat());
    let argv = sandbox.last_call().argv;
    assert_eq!(argv[..10], [&["exec"], &moved[..], &["fork", "t", "--json"]].concat());
}

#[test]
fn full_auto_is_translated_for_a_codex_that_removed_it() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Codex, "a", "i");
    let refusal = Turn::default().stderr("error: unexpected argument '--full-auto' found\n\nUsage: …\n").exit(2);
    sandbox.agent([refusal, Backend::Codex.answers("i", "OK")]);
    sandbox
        .succeeds(&["resume-json", "--session-name", "a", "--prompt", "p", "--full-auto", "--config", "a=1"])
        .stderr(starts_with("note: ").and(contains("--full-auto")));
    let setting = "sandbox_mode=\"workspace-write\"";
    let calls = sandbox.calls();
    assert_eq!(calls[0].argv[..6], ["exec", "resume", "--config", "a=1", "--full-auto", "i"]);
    assert_eq!(calls[1].argv[..7], ["exec", "resume", "--config", "a=1", "--config", setting, "i"]);
    assert_eq!(calls.len(), 2);
}

#[test]
fn prompt_is_quoted_for_powershell() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Codex, "a", "i");
    sandbox.agent(Backend::Codex.answers("i", "OK"));
    let prompt = "it's ‘$(evil)’ `n \"q\"\n; exit";
    let shell = [
        "--codex-shell",
        "powershell",
        "--codex-shell-cmd",
        "my-wrapper -Command",
        "--codex-shell-init",
        "function work { codex @args }",
    ];
    let call = ["resume-json", "--session-name", "a", "--codex-cmd", "work", "--prompt", prompt];
    sandbox.succeeds(&[&call[..], &shell].concat());
    let call = sandbox.last_call();
    assert_eq!(call.argv[0], "-Command");
    let script = &call.argv[1];
    assert!(script.starts_with("function work { codex @args }\nwork 'exec' 'resume' 'i' '--json' '-o' '"), "{script}");
    assert!(script.contains(" 'it''s ‘‘$(evil)’’ `n \"q\"\n; exit'\n"), "{script}");
}

#[test]
fn model_is_remembered_unless_the_turn_fails() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        let resume = ["--backend", backend.name(), "resume-stream", "--session-name", "a", "--prompt", "p"];
        sandbox.succeeds(&[&resume[..], &["--model", "m1"]].concat());
        sandbox.succeeds(&resume);
        assert_eq!(sandbox.last_call().value_of("--model"), Some("m1"));
        let before = sandbox.mapping(backend);
        sandbox.agent(backend.fails("i", "no"));
        sandbox.fails(&[&resume[..], &["--model", "m2"]].concat(), 1, "agent_failed");
        assert_eq!(sandbox.mapping(backend), before);
    }
}

#[test]
fn missing_workspace_is_added_to_the_mapping() {
    let sandbox = Sandbox::new();
    sandbox.agent(Backend::Claude.answers("i", "OK"));
    sandbox.write_mapping(Backend::Claude, json!({"aliases": {"a": "i"}}).to_string());
    let resume = ["--backend", "claude", "resume-json", "--session-name", "a", "--prompt", "p"];
    sandbox.succeeds(&resume);
    let mapping: serde_json::Value = serde_json::from_str(&sandbox.mapping(Backend::Claude)).unwrap();
    assert_eq!(mapping, json!({"aliases": {"a": {"session_id": "i"}}, "workspace_dir": sandbox.workspace()}));
    sandbox.write_mapping(Backend::Claude, json!({"aliases": {"a": "i"}, "workspace_dir": "/else"}).to_string());
    sandbox.succeeds(&[&resume[..], &["--model", "m"]].concat());
    assert!(sandbox.mapping(Backend::Claude).contains("\"/else\""));
}

#[test]
fn codex_answer_file_is_outside_the_workspace() {
    for temp in ["", "/nonexistent", "not/there"] {
        let mut sandbox = with_session(Backend::Codex);
        sandbox.env("INVOKE_PERSIST_DIR", sandbox.temp());
        sandbox.env("TMPDIR", temp);
        sandbox.succeeds(&["--backend", "codex", "create-session", "--session-name", "b"]);
        let file = sandbox.last_call().value_of("-o").unwrap().to_owned();
        assert!(!std::path::Path::new(&file).starts_with(sandbox.workspace()), "{file}");
    }
}

#[test]
fn powershell_argument_limit_counts_the_quoted_script() {
    let sandbox = with_session(Backend::Codex);
    sandbox.agent(Backend::Codex.answers("i", "OK").after([Step::ReadStdin]));
    // with doubled quotes the script would not fit into an argument
    let quotes = "'".repeat(LONG_ARGUMENT / 2);
    let call = [
        "resume-json",
        "--session-name",
        "a",
        "--codex-shell",
        "powershell",
        "--codex-shell-cmd",
        "my-wrapper -Command",
    ];
    sandbox.succeeds(&[&call[..], &["--prompt", &quotes]].concat());
    assert_eq!(sandbox.last_call().stdin.unwrap().length, quotes.len() as u64);
}
