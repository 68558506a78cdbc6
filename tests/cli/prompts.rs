//! Passing prompts and roles to the agent (contract section 5).

use crate::support::*;

const BIG: usize = 5 << 20;

fn resume<'a>(backend: Backend, args: &[&'a str]) -> Vec<&'a str> {
    [&["--backend", backend.name(), "resume-json", "--session-name", "a"], args].concat()
}

fn with_session(backend: Backend) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(backend, "a", "i");
    sandbox.agent(backend.answers("i", "OK").after([Step::ReadStdin]));
    sandbox
}

#[test]
fn prompt_argument_is_passed_on_with_closed_stdin() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        // the program's stdin stays open and silent during the call
        let running = sandbox.cmd(&resume(backend, &["--prompt", "it's \"x\" $HOME\n"])).start_with_open_input();
        running.wait(std::time::Duration::from_secs(30)).assert.success();
        let call = sandbox.only_call();
        assert!(call.has("it's \"x\" $HOME\n"), "{:?}", call.argv);
        assert_eq!(call.stdin.unwrap().length, 0);
    }
}

#[test]
fn prompt_that_looks_like_an_option_follows_two_dashes() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        for prompt in ["- fix this", "--help"] {
            sandbox.succeeds(&resume(backend, &["--prompt", prompt]));
            let call = sandbox.last_call();
            assert_eq!(call.argv[call.argv.len() - 2..], ["--", prompt]);
        }
        sandbox.succeeds(&resume(backend, &["--prompt=--help"]));
        assert_eq!(sandbox.last_call().argv.last().unwrap(), "--help");
    }
}

#[test]
fn prompt_from_a_file_or_stdin_is_passed_unchanged() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        let bytes = b"\xff\x00 one\r\n\ttwo \n";
        sandbox.write("prompt", bytes);
        sandbox.succeeds(&resume(backend, &["--prompt-file", "prompt"]));
        sandbox.run_with_input(&resume(backend, &["--prompt", "-"]), bytes).success();
        sandbox.run_with_input(&resume(backend, &["--prompt-file", "-"]), bytes).success();
        for call in sandbox.calls() {
            let dash = call.argv.last().unwrap() == "-";
            assert_eq!(dash, backend == Backend::Codex, "{:?}", call.argv);
            let input = call.stdin.unwrap();
            assert_eq!((input.length, input.md5.as_str()), (bytes.len() as u64, md5_hex([bytes]).as_str()));
        }
    }
}

#[test]
fn prompts_of_any_size_reach_the_agent() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        let big = "x".repeat(BIG);
        sandbox.write("prompt", &big);
        sandbox.succeeds(&resume(backend, &["--prompt-file", "prompt"]));
        sandbox.run_with_input(&resume(backend, &["--prompt", "-"]), &big).success();
        let long = "y".repeat(LONG_ARGUMENT);
        sandbox.succeeds(&resume(backend, &["--prompt", &long]));
        let calls = sandbox.calls();
        let lengths: Vec<_> = calls.iter().map(|call| call.stdin.as_ref().unwrap().length).collect();
        assert_eq!(lengths, [BIG as u64, BIG as u64, long.len() as u64]);
        assert!(calls.iter().all(|call| call.argv.iter().all(|argument| argument.len() < 1000)));
    }
}

#[test]
fn agent_that_ignores_its_input_is_not_waited_for() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    sandbox.agent(Backend::Claude.answers("i", "OK"));
    sandbox.run_with_input(&resume(Backend::Claude, &["--prompt", "-"]), "x".repeat(BIG)).success();
}

#[test]
fn stdin_can_be_appended_to_a_prompt() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        for (input, block) in [
            ("one\ntwo", "<stdin>\none\ntwo\n</stdin>\n"),
            ("one\n", "<stdin>\none\n</stdin>\n"),
            ("", "<stdin>\n</stdin>\n"),
        ] {
            sandbox.run_with_input(&resume(backend, &["--prompt", "Look", "--stdin"]), input).success();
            assert_eq!(sandbox.last_call().stdin_text(), format!("Look\n\n{block}"));
        }
        let create =
            ["--backend", backend.name(), "create-session", "--session-name", "b", "--init-prompt", "Look", "--stdin"];
        sandbox.run_with_input(&create, "x").success();
        assert_eq!(sandbox.last_call().stdin_text(), "Look\n\n<stdin>\nx\n</stdin>\n");
    }
}

#[test]
fn roles_of_any_size_reach_the_agent() {
    let sandbox = Sandbox::new();
    let role = "r".repeat(200_000);
    sandbox.write("big.md", &role);
    sandbox.agent(Backend::Claude.answers("i", "OK"));
    let create = ["create-session", "--session-name", "a", "--role-definition-md", "big.md"];
    sandbox.succeeds(&[&["--backend", "claude"], &create[..]].concat());
    let call = sandbox.last_call();
    let file = call.value_of("--append-system-prompt-file").expect("a file");
    assert!(!std::path::Path::new(file).exists(), "the file is removed after the turn");

    sandbox.agent(Backend::Codex.answers("i", "OK").after([Step::ReadStdin]));
    sandbox.succeeds(&[&["--backend", "codex"], &create[..]].concat());
    let input = sandbox.last_call().stdin.unwrap();
    assert!(input.length > role.len() as u64);
}

#[test]
fn missing_session_is_created_with_the_given_prompt() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.agent(backend.answers("new", "hi").after([Step::ReadStdin]));
        let args = resume(backend, &["--prompt", "go", "--if-missing", "create", "--model", "m"]);
        let (name, file) = (backend.name(), sandbox.mapping_path(backend));
        let note = format!("note: no {name} session is named 'a' in {}; starting a new session\n", file.display());
        let output = sandbox.run(&args).success().stderr(note);
        let call = sandbox.only_call();
        match backend {
            Backend::Claude => {
                assert_eq!(call.argv_without_new_id(), ["-p", "go", "--output-format", "json", "--model", "m"]);
                assert_eq!(output.json()["session_id"], "new");
            }
            Backend::Codex => {
                assert_eq!(call.argv[..4], ["exec", "--model", "m", "--json"]);
                let answer = output.json();
                assert_eq!((&answer["thread_id"], &answer["source"]), (&"new".into(), &"created".into()));
                assert_eq!((&answer["alias"], &answer["last_model"]), (&"a".into(), &"m".into()));
            }
        }
        let resolved = sandbox.succeeds(&["--backend", backend.name(), "resolve", "--session-name", "a"]).json();
        assert_eq!((&resolved[backend.id_key()], &resolved["last_model"]), (&"new".into(), &"m".into()));
        // the same call now resumes the new session
        sandbox.agent(backend.answers("new", "hi"));
        sandbox.run(&args).success().stderr("");
        assert!(sandbox.last_call().has("new"));
    }
}

#[test]
fn stream_creates_a_missing_session() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.agent(backend.answers("new", "hi"));
        let args = [
            "--backend",
            backend.name(),
            "resume-stream",
            "--session-name",
            "a",
            "--prompt",
            "go",
            "--if-missing",
            "create",
        ];
        sandbox.succeeds(&args).stdout(contains("\"new\""));
        match backend {
            Backend::Claude => {
                let call = sandbox.only_call();
                assert_eq!(call.argv_without_new_id(), ["-p", "go", "--output-format", "stream-json", "--verbose"]);
            }
            Backend::Codex => assert_eq!(sandbox.only_call().argv, ["exec", "--json", "go"]),
        }
        let resolve = ["--backend", backend.name(), "resolve", "--session-name", "a", "--print-session-id"];
        sandbox.succeeds(&resolve).stdout("new\n");
    }
}

#[test]
#[cfg(unix)] // the shell's `<(…)` is a pipe
fn prompt_file_can_be_a_shell_pipe() {
    let sandbox = with_session(Backend::Claude);
    let program = env!("CARGO_BIN_EXE_invoke-persist");
    let script =
        format!("exec {program} --backend claude resume-json --session-name a --prompt-file <(sleep 0.2; echo piped)");
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &script]).current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
    command.run().success();
    assert_eq!(sandbox.last_call().stdin_text(), "piped\n");
}

#[test]
#[cfg(windows)] // npm's launchers are batch files on Windows
fn batch_launcher_accepts_every_prompt() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        let real = sandbox.agent_program("real");
        std::fs::rename(sandbox.agent_program(backend.name()), &real).unwrap();
        let batch = "@echo off\r\n\"%~dp0real.exe\" %*\r\n";
        sandbox.write(sandbox.bin().join(format!("{}.cmd", backend.name())), batch);
        let short = "it's (x) & y | <z>";
        sandbox.succeeds(&resume(backend, &["--prompt", short]));
        let call = sandbox.last_call();
        assert!(call.has(short), "{:?}", call.argv);
        // a prompt that a batch file cannot accept is passed on stdin
        for prompt in ["two\nlines", "100 %PATH% \"q\"", &"x".repeat(LONG_ARGUMENT)] {
            sandbox.succeeds(&resume(backend, &["--prompt", prompt]));
            assert_eq!(sandbox.last_call().stdin.unwrap().length, prompt.len() as u64);
        }
    }
}
