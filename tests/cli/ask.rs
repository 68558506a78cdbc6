//! `ask`: a turn with a positional name and prompt that prints the answer's text (contract section 2).

use std::time::Duration;

use crate::support::*;

const LIMIT: Duration = Duration::from_secs(30);

fn with_session(backend: Backend) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(backend, "a", "i");
    sandbox.agent(backend.answers("i", "OK").after([Step::ReadStdin]));
    sandbox
}

#[test]
fn ask_prints_what_resume_json_print_result_prints() {
    for backend in Backend::BOTH {
        for answer in ["", "one", "two\n", "with \u{1b}[31mcolor\n\nlines"] {
            let sandbox = with_session(backend);
            sandbox.agent(backend.answers("i", answer));
            let resume = ["resume-json", "--session-name", "a", "--prompt", "p", "--print-result"];
            let expected = sandbox.run(&resume).success();
            let (printed, warning) = (expected.stdout_text(), expected.stderr_text());
            assert_eq!(warning.is_empty(), !answer.is_empty(), "{warning}");
            sandbox.run(&["ask", "a", "p"]).success().stdout(printed).stderr(warning);
            let [resumed, asked] = &sandbox.calls()[..] else { panic!("two calls") };
            let without_file = |call: &Call| -> Vec<String> {
                let file = call.value_of("-o").map(str::to_owned);
                call.argv.iter().filter(|word| Some(*word) != file.as_ref()).cloned().collect()
            };
            assert_eq!(without_file(asked), without_file(resumed));
        }
    }
}

#[test]
fn ask_takes_every_call_option_of_resume_json() {
    let sandbox = Sandbox::new();
    let options = |command: &str| -> Vec<String> {
        let help = sandbox.succeeds(&[command, "--help"]).stdout_text();
        let is_option = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let lines = help.lines().filter(|line| line.trim_start().starts_with('-'));
        let words = lines.flat_map(|line| line.split(|c| !is_option(c)));
        let words = words.filter(|word| word.starts_with("--") && word.len() > 2);
        let mut options: Vec<String> = words.map(str::to_owned).collect();
        options.sort();
        options.dedup();
        options
    };
    let asked = options("ask");
    let of_the_form = ["--session-name", "--session-id", "--thread-id", "--prompt", "--prompt-file"];
    let of_the_output =
        ["--print-result", "--print-session-id", "--print-thread-id", "--detach", "--print-turn-id", "--turn-id"];
    let resumed = options("resume-json");
    assert!(resumed.len() > 30, "{resumed:?}");
    for option in resumed {
        let replaced = of_the_form.iter().chain(&of_the_output).any(|other| *other == option);
        assert_ne!(asked.contains(&option), replaced, "{option}: {asked:?}");
    }
    assert!(asked.contains(&"--create".to_owned()), "{asked:?}");
}

#[test]
fn options_of_ask_stand_anywhere_and_reach_the_agent() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        for line in [
            &["ask", "--model", "m", "a", "p", "--output-file", "out", "--", "--flag", "x"][..],
            &["ask", "a", "--model", "m", "p", "--output-file=out", "--", "--flag", "x"],
            &["ask", "a", "p", "--output-file", "out", "--model=m", "--deadline-seconds", "60", "--", "--flag", "x"],
        ] {
            sandbox.succeeds(line).stdout("").stderr("");
            assert_eq!(std::fs::read_to_string(sandbox.workspace().join("out")).unwrap(), "OK\n", "{line:?}");
            let call = sandbox.last_call();
            assert_eq!(call.value_of("--model"), Some("m"), "{line:?}");
            assert_eq!(call.argv[call.argv.len() - 4..], ["--flag", "x", "--", "p"], "{line:?}");
        }
    }
}

#[test]
fn ask_reads_the_prompt_or_its_context_from_stdin() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        sandbox.run_with_input(&["ask", "a", "-"], "from stdin").success().stdout("OK\n");
        assert_eq!(sandbox.last_call().stdin_text(), "from stdin");
        sandbox.run_with_input(&["ask", "a", "Look", "--stdin"], "x").success().stdout("OK\n");
        assert_eq!(sandbox.last_call().stdin_text(), "Look\n\n<stdin>\nx\n</stdin>\n");
        sandbox.fails(&["ask", "a", "-", "--stdin"], 2, "usage").message(contains("--stdin"));
        sandbox.fails(&["ask", "a", "-"], 2, "usage").message(contains("the prompt is empty"));
    }
}

#[test]
fn ask_creates_a_missing_session_if_told_to() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.agent(backend.answers("new", "hi").after([Step::ReadStdin]));
        let of = |args: &[&'static str]| [&["--backend", backend.name(), "ask", "a", "p"], args].concat();
        sandbox.fails(&of(&[]), 3, "session_not_found").hint(contains("--create"));
        assert!(sandbox.calls().is_empty());
        sandbox.succeeds(&of(&["--create"])).stdout("hi\n");
        sandbox.succeeds(&of(&["--create"])).stdout("hi\n");
        let calls = sandbox.calls();
        assert!(!calls[0].has("new") && calls[1].has("new") && calls.len() == 2, "{calls:?}");
        sandbox.save(backend, "other", "i");
        sandbox.succeeds(&of(&["--if-missing", "create"])).stdout("hi\n");
        sandbox.fails(&of(&["--if-missing", "fail", "--create"]), 2, "usage").message(contains("--create"));
    }
}

#[test]
fn unquoted_prompt_is_refused_with_the_quoted_command() {
    let sandbox = with_session(Backend::Claude);
    sandbox
        .fails(&["ask", "a", "fix", "the", "bug's", "cause", "--model", "m"], 2, "usage")
        .message(contains("the prompt is several arguments"))
        .hint(contains(r"invoke-persist ask a 'fix the bug'\''s cause'"));
    sandbox.fails(&["ask", "a"], 2, "usage").message(contains("the prompt is missing")).hint(contains("ask a "));
    sandbox.fails(&["ask", "a", " "], 2, "usage").message(contains("the prompt is empty"));
    sandbox.fails(&["ask"], 2, "usage").message(contains("NAME"));
    sandbox.fails(&["ask", " ", "p"], 2, "usage").message(contains("name is blank"));
    assert!(sandbox.calls().is_empty());
}

#[test]
fn prompt_of_ask_may_begin_with_a_dash_if_it_is_not_an_option() {
    let sandbox = with_session(Backend::Claude);
    for prompt in ["- fix this", "--help me with this", "-v was removed: why?", "-5"] {
        sandbox.succeeds(&["ask", "a", prompt]).stdout("OK\n");
        assert_eq!(sandbox.last_call().argv.last().unwrap(), prompt);
    }
    let calls = sandbox.calls().len();
    for typo in ["--modle", "-x", "--modle=m"] {
        sandbox.fails(&["ask", "a", typo, "m", "p"], 2, "usage").message(contains(typo)).hint(contains("ask --help"));
        sandbox.fails(&["ask", "a", typo], 2, "usage").message(contains(typo)).hint(contains("ask --help"));
    }
    sandbox.fails(&["ask", "a", "--prompt", "p"], 2, "usage").hint(contains("invoke-persist ask a 'PROMPT'"));
    assert_eq!(sandbox.calls().len(), calls);
}

#[test]
fn ask_takes_names_only() {
    let id = "0f12c83d-d554-4369-b6d8-9fed035c432c";
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        sandbox.save(backend, "b", id);
        let by_id = format!("resume-json --session-id {id}");
        let asked = ["--backend", backend.name(), "ask", id, "p"];
        sandbox.fails(&asked, 3, "session_not_found").hint(contains(by_id));
        // a name in the form of an ID is a name
        sandbox.save(backend, id, "i");
        sandbox.succeeds(&asked).stdout("OK\n");
        assert!(sandbox.only_call().has("i"));
        sandbox.save(backend, "-x", "i");
        sandbox.fails(&["ask", "-x", "p"], 2, "usage").message(contains("-x")).hint(contains("ask --help"));
    }
}

#[test]
fn busy_session_of_ask_fails_or_is_waited_for() {
    let sandbox = with_session(Backend::Claude);
    sandbox.agent(Backend::Claude.answers("i", "OK").after([Step::create("began"), Step::wait_for("go")]));
    let running = sandbox.start(&["ask", "a", "p"]);
    wait_until(LIMIT, || sandbox.has_reached("began"));
    sandbox.fails(&["ask", "a", "p", "--if-busy", "fail"], 5, "session_busy");
    sandbox.allow("go");
    running.wait(LIMIT).assert.success().stdout("OK\n");
}
