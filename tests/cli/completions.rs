//! Shell completion: the requests of the completion scripts, and real shells in a terminal.

use crate::support::*;

const SHELLS: [&str; 5] = ["bash", "zsh", "fish", "powershell", "elvish"];

const VARIABLE: &str = "INVOKE_PERSIST_COMPLETE";

/// Returns the arguments that the script of `shell` passes to the program. For bash they include the typed line.
fn request(shell: &str, words: &[&str]) -> Vec<String> {
    let (last, before) = words.split_last().unwrap();
    match shell {
        "bash" => vec![words.join(" "), last.rsplit(['=', ':']).next().unwrap().to_owned()],
        "powershell" => {
            let words = words.iter().map(ToString::to_string);
            [before.len().to_string()].into_iter().chain(words.filter(|word| !word.is_empty())).collect()
        }
        _ => words.iter().map(ToString::to_string).collect(),
    }
}

/// Returns the program's reply to the script of `shell`: the first line, and the first field of each other line.
#[track_caller]
fn answer(sandbox: &Sandbox, shell: &str, words: &[&str]) -> (String, Vec<String>) {
    let mut command = sandbox.cmd(&[]);
    command.env(VARIABLE, shell).args(request(shell, &[&["invoke-persist"], words].concat()));
    let output = command.run().success().stderr("");
    let stdout = output.stdout_text();
    let mut lines = stdout.lines().map(|line| line.split('\t').next().unwrap().to_owned());
    (lines.next().unwrap_or_default(), lines.collect())
}

/// Returns the completions of the last word.
#[track_caller]
fn offered(sandbox: &Sandbox, words: &[&str]) -> Vec<String> {
    let (kind, words) = answer(sandbox, "fish", words);
    assert_eq!(kind, "words");
    words
}

/// Returns a sandbox with two sessions of claude and two of codex. One name is in both mappings.
fn with_sessions() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "review-src", "id-1");
    sandbox.save(Backend::Claude, "docs", "id-2");
    sandbox.save(Backend::Codex, "tests", "id-3");
    sandbox.save(Backend::Codex, "docs", "id-4");
    sandbox
}

#[test]
fn names_of_the_workspace_are_offered_in_every_shell() {
    let sandbox = with_sessions();
    for shell in SHELLS {
        for command in ["resume-json", "resume-stream", "resolve", "rename-session", "delete-session"] {
            let all = answer(&sandbox, shell, &[command, "--session-name", ""]);
            assert_eq!(
                all,
                ("words".to_owned(), ["docs", "review-src", "tests"].map(str::to_owned).to_vec()),
                "{shell}"
            );
        }
        let begun = answer(&sandbox, shell, &["resolve", "--session-name", "rev"]).1;
        assert_eq!(begun, ["review-src"], "{shell}");
        assert_eq!(answer(&sandbox, shell, &["ask", "rev"]).1, ["review-src"], "{shell}");
        assert_eq!(answer(&sandbox, shell, &["ask", "--model", "m", ""]).1.len(), 3, "{shell}");
        // a prompt is not a name
        assert!(answer(&sandbox, shell, &["ask", "docs", "rev"]).1.is_empty(), "{shell}");
        let values = answer(&sandbox, shell, &["resolve", "--session-name=rev"]).1;
        // bash treats only the part after = as the word
        let want = if shell == "bash" { "review-src" } else { "--session-name=review-src" };
        assert_eq!(values, [want], "{shell}");
    }
}

#[test]
fn commands_options_and_values_are_offered_in_every_shell() {
    let sandbox = Sandbox::new();
    for shell in SHELLS {
        assert_eq!(answer(&sandbox, shell, &["rena"]).1, ["rename-session"], "{shell}");
        assert_eq!(answer(&sandbox, shell, &["skill", "exp"]).1, ["export"], "{shell}");
        assert_eq!(answer(&sandbox, shell, &["resolve", "--mapp"]).1, ["--mapping-file"], "{shell}");
        assert_eq!(answer(&sandbox, shell, &["--backend", ""]).1, ["claude", "codex"], "{shell}");
        assert_eq!(answer(&sandbox, shell, &["completions", "z"]).1, ["zsh"], "{shell}");
        assert_eq!(answer(&sandbox, shell, &["help", "ex"]).1, ["exit-status"], "{shell}");
        assert_eq!(answer(&sandbox, shell, &["help", "rena"]).1, ["rename-session"], "{shell}");
        assert_eq!(answer(&sandbox, shell, &["help", "skill", "un"]).1, ["uninstall"], "{shell}");
        for words in [["help", "ci", ""], ["help", "resolve", ""]] {
            let offered = answer(&sandbox, shell, &words).1;
            assert!(offered.iter().all(|word| word.starts_with("--")), "{shell} {words:?}: {offered:?}");
        }
        for (words, kind) in [
            (&["resolve", "--mapping-file", ""][..], "files"),
            (&["resolve", "--mapping-file=a"], "files"),
            (&["resolve", "--workspace-dir", ""], "directories"),
            (&["man", ""], "directories"),
            (&["resume-json", "--prompt", ""], "words"),
        ] {
            assert_eq!(answer(&sandbox, shell, words), (kind.to_owned(), Vec::new()), "{shell} {words:?}");
        }
    }
}

#[test]
fn only_names_of_the_selected_backend_are_offered() {
    let mut sandbox = with_sessions();
    let codex = ["docs", "tests"];
    for words in [
        &["--backend", "codex", "resolve", "--session-name", ""][..],
        &["--backend=codex", "resolve", "--session-name", ""],
        &["resolve", "--backend", "codex", "--session-name", ""],
        &["resume-json", "--codex-cmd", "my-wrapper", "--session-name", ""],
    ] {
        assert_eq!(offered(&sandbox, words), codex, "{words:?}");
    }
    // the name of the command on the line counts, not the name of the program that completes it
    let mut command = sandbox.cmd(&["/usr/bin/codex-sessions", "resolve", "--session-name", "t"]);
    command.env(VARIABLE, "fish").run().stdout("words\ntests\tcodex\n");
    sandbox.env("INVOKE_PERSIST_BACKEND", "codex");
    assert_eq!(offered(&sandbox, &["resolve", "--session-name", ""]), codex);
    assert_eq!(offered(&sandbox, &["--backend", "claude", "resolve", "--session-name", ""]), ["docs", "review-src"]);
}

#[test]
fn names_are_those_of_the_workspace_or_mapping_on_the_line() {
    let mut sandbox = with_sessions();
    let other = sandbox.home().join("other");
    std::fs::create_dir(&other).unwrap();
    let path = other.to_str().unwrap().to_owned();
    let create = ["--backend", "claude", "create-session", "--session-name", "there", "--adopt", "i"];
    sandbox.succeeds(&[&create[..], &["--workspace-dir", &path]].concat());
    sandbox.succeeds(&[&create[..], &["--mapping-file", "m.json"]].concat());
    for place in
        [&["--workspace-dir", path.as_str()][..], &["--workspace-dir", "~/other"], &["--mapping-file", "m.json"]]
    {
        let words = [&["resolve"][..], place, &["--session-name", ""]].concat();
        assert_eq!(offered(&sandbox, &words), ["there"], "{place:?}");
    }
    sandbox.env("INVOKE_PERSIST_DIR", sandbox.root().join("elsewhere"));
    assert!(offered(&sandbox, &["resolve", "--session-name", ""]).is_empty());
}

#[test]
fn new_names_are_not_completed() {
    let sandbox = with_sessions();
    for words in [
        &["rename-session", "--session-name", "docs", "--to", ""][..],
        &["create-session", "--session-name", ""],
        &["create-session", "--if-exists", "fail", "--session-name", ""],
        &["create-session", "--adopt", ""],
    ] {
        assert!(offered(&sandbox, words).is_empty(), "{words:?}");
    }
    // this command needs an existing session
    let words = ["create-session", "--if-exists", "reuse", "--session-name", "rev"];
    assert_eq!(offered(&sandbox, &words), ["review-src"]);
}

#[test]
fn ids_are_offered_with_their_names() {
    let sandbox = with_sessions();
    let ask = |option: &str| {
        let mut command = sandbox.cmd(&["invoke-persist", "--backend", "codex", "resume-json", option, ""]);
        command.env(VARIABLE, "zsh").run().stdout_text()
    };
    assert_eq!(ask("--session-id"), "words\nid-3\ttests (codex)\nid-4\tdocs (codex)\n");
    assert_eq!(ask("--thread-id"), ask("--session-id"));
}

#[test]
fn hidden_options_and_those_of_the_other_backend_are_not_offered() {
    let sandbox = Sandbox::new();
    for words in [
        &["resolve", "--session-al"][..],
        &["create-session", "--eff"],
        &["delete-session", "--mod"],
        &["--backend", "codex", "resume-json", "--reas"],
        &["--backend", "claude", "resume-json", "--codex"],
    ] {
        assert!(offered(&sandbox, words).is_empty(), "{words:?}");
    }
    assert_eq!(offered(&sandbox, &["resume-json", "--reas"]), ["--reasoning-effort"]);
    let commands = offered(&sandbox, &[""]);
    assert_eq!(commands.len(), 23, "{commands:?}");
}

#[test]
fn inserted_names_are_quoted_for_the_shell() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "it's \"mine\" $HOME", "i");
    for (shell, words, want) in [
        ("bash", &["resolve", "--session-name", "it"][..], r#"it\'s\ \"mine\"\ \$HOME"#),
        // the rest of a word after an open quote
        ("bash", &["resolve", "--session-name", "'it"], r#"it'\''s "mine" $HOME"#),
        ("powershell", &["resolve", "--session-name", ""], r#"'it''s "mine" $HOME'"#),
        // these three shells quote the names themselves
        ("zsh", &["resolve", "--session-name", ""], r#"it's "mine" $HOME"#),
        ("fish", &["resolve", "--session-name", ""], r#"it's "mine" $HOME"#),
        ("elvish", &["resolve", "--session-name", ""], r#"it's "mine" $HOME"#),
    ] {
        let got = if words[2] == "'it" {
            let line = "invoke-persist resolve --session-name 'it";
            let output = sandbox.cmd(&[line, "it"]).env(VARIABLE, shell).run();
            output.stdout_text().lines().skip(1).map(str::to_owned).collect()
        } else {
            answer(&sandbox, shell, words).1
        };
        assert_eq!(got, [want], "{shell} {words:?}");
    }
}

#[test]
fn names_that_cannot_be_typed_are_not_offered() {
    let sandbox = Sandbox::new();
    sandbox.write_mapping(
        Backend::Claude,
        r#"{"aliases": {"\u001b[31mred": "i", "a\nb": "i", "exe.\u202egnp": "i", "\u061ca": "i", " space": "i", "-one": "i",
            "--two": "i", "größe": "i"}}"#,
    );
    assert_eq!(offered(&sandbox, &["resolve", "--session-name", ""]), ["-one", "größe"]);
    assert_eq!(offered(&sandbox, &["ask", ""]), ["größe"]);
    // two dashes are an option, but not after =
    let values = ["--session-name=--two", "--session-name=-one"];
    assert_eq!(offered(&sandbox, &["resolve", "--session-name=-"]), values);
    sandbox.succeeds(&["--backend", "claude", "resolve", "--session-name=--two"]);
}

#[test]
fn invalid_input_offers_prints_and_creates_nothing() {
    let sandbox = Sandbox::new();
    let files = || std::fs::read_dir(sandbox.temp()).unwrap().count();
    let name = ["resolve", "--session-name", ""];
    assert!(offered(&sandbox, &name).is_empty());
    assert_eq!(files(), 0);
    for text in ["{", "[]", "\u{0}"] {
        let file = sandbox.write_mapping(Backend::Claude, text);
        sandbox.save(Backend::Codex, "tests", "i");
        assert_eq!(offered(&sandbox, &name), ["tests"], "{text}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 2);
    }
    for words in [
        &["--backend", "gpt", "resolve", "--session-name", ""][..],
        &["resume-json", "--codex-cmd", "x", "--claude-cmd", "x", "--session-name", ""],
        &["resolve", "--workspace-dir", "none/../../..", "--session-name", ""],
    ] {
        assert!(answer(&sandbox, "fish", words).1.is_empty(), "{words:?}");
    }
    // an invalid call
    for arguments in [&[][..], &["x"]] {
        for shell in SHELLS {
            sandbox.cmd(arguments).env(VARIABLE, shell).run().success().stdout("").stderr("");
        }
    }
}

#[test]
fn unknown_shell_in_the_variable_is_an_error() {
    let sandbox = Sandbox::new();
    sandbox.cmd(&["list-sessions"]).env(VARIABLE, "sh").run().code(2).stdout("").stderr(contains(VARIABLE));
    // an empty value counts as unset
    sandbox.cmd(&["list-sessions"]).env(VARIABLE, "").run().success().stdout(starts_with('{'));
}

#[test]
fn script_completes_the_name_that_the_program_was_called_by() {
    let sandbox = Sandbox::new();
    for shell in SHELLS {
        let script = sandbox.succeeds(&["completions", shell]).stdout_text();
        assert!(script.contains(&format!("{VARIABLE}=")) || script.contains(&format!("{VARIABLE} =")), "{script}");
        let link = sandbox.program_named("codex-sessions");
        let script = sandbox.cmd_of(&link, &["completions", shell]).run().success().stdout_text();
        assert!(script.contains("codex-sessions") && !script.contains("'invoke-persist'"), "{script}");
    }
    sandbox.fails(&["completions", "sh"], 2, "usage").message(contains("'sh'"));
}

#[cfg(unix)]
#[test]
fn script_is_printed_in_a_deleted_directory() {
    let sandbox = Sandbox::new();
    let program = sandbox.cmd(&[]).get_program().to_owned();
    let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$0\" completions bash";
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script]).arg(&program).current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
    shell.run().success().stdout(contains(program.to_str().unwrap()));
}

/// Real shells in a terminal, tested with key presses.
#[cfg(target_os = "linux")]
mod at_a_terminal {
    use std::process::Command;
    use std::thread;
    use std::time::Duration;

    use crate::support::*;

    const PROMPT: &str = "ready> ";

    /// A shell, its option for printing [`PROMPT`], and its line in the README.
    struct Shell {
        start: &'static [&'static str],
        install: &'static str,
    }

    const BASH: Shell =
        Shell { start: &["bash", "--norc", "--noprofile", "-i"], install: "source <(invoke-persist completions bash)" };
    const ZSH: Shell = Shell {
        start: &["zsh", "-f", "-i"],
        // -D: without a dump file
        install: "autoload -U compinit && compinit -u -D && source <(invoke-persist completions zsh)",
    };
    const FISH: Shell = Shell {
        start: &["fish", "--no-config", "--init-command", "function fish_prompt; printf 'ready> '; end"],
        install: "invoke-persist completions fish | source",
    };

    /// A user at a shell with the completions installed.
    struct Person {
        sandbox: Sandbox,
        dialogue: Dialogue,
    }

    impl Person {
        fn at(shell: &Shell) -> Self {
            Self::in_sandbox(shell, super::with_sessions())
        }

        fn in_sandbox(shell: &Shell, mut sandbox: Sandbox) -> Self {
            let program = env!("CARGO_BIN_EXE_invoke-persist");
            std::os::unix::fs::symlink(program, sandbox.bin().join("invoke-persist")).unwrap();
            sandbox.env("PS1", PROMPT);
            let mut command = Command::new(shell.start[0]);
            command.args(&shell.start[1..]).current_dir(sandbox.workspace()).envs(sandbox.variables());
            let mut person = Self { dialogue: Terminal::of_width(300).starts(&command), sandbox };
            person.enters("", shell.install);
            person
        }

        /// Waits for the prompt and types `text`.
        #[track_caller]
        fn types(&mut self, text: &str) {
            self.dialogue.sees("the prompt", |screen| screen.before_cursor() == PROMPT);
            self.dialogue.types(text);
            self.dialogue.sees(text, |screen| screen.before_cursor() == format!("{PROMPT}{text}"));
        }

        /// Types `text` and Tab, and waits until the line is `line`.
        #[track_caller]
        fn completes(&mut self, text: &str, line: &str) {
            self.types(text);
            self.dialogue.types("\t");
            self.dialogue.sees(line, |screen| screen.before_cursor() == format!("{PROMPT}{line}"));
        }

        /// Types `text` after the current line, which must be `line`, and presses Enter.
        #[track_caller]
        fn enters(&mut self, line: &str, text: &str) {
            self.dialogue.sees("the line", |screen| screen.before_cursor() == format!("{PROMPT}{line}"));
            self.dialogue.types(text);
            self.dialogue.sees(text, |screen| screen.before_cursor().ends_with(text));
            self.dialogue.types("\r");
        }

        /// Types `typed` and then `key`. If that inserts something, the line resolves to `the-id`.
        #[track_caller]
        fn resolves_or_is_offered_nothing(&mut self, name: &str, typed: &str, key: &str) {
            const END: &str = " --quiet";
            self.types(typed);
            self.dialogue.types(&format!("{key}{END}"));
            self.dialogue.sees(END, |screen| screen.before_cursor().ends_with(END));
            let offers_nothing = |screen: &Screen| screen.before_cursor() == format!("{PROMPT}{typed}{END}");
            if self.dialogue.shows(offers_nothing) {
                self.dialogue.types("\u{15}");
            } else {
                self.dialogue.types("\r");
                self.is_shown("the-id");
            }
            assert!(!self.sandbox.workspace().join("pwn").exists(), "{name}: {typed}");
            self.dialogue.sees("the prompt", |screen| screen.before_cursor() == PROMPT);
            self.has_an_empty_screen(); // without a reply to the next line
        }

        /// Cancels a line that may be incomplete, and clears the screen.
        #[track_caller]
        fn cancels_the_line(&mut self) {
            let is_ready = |screen: &Screen| screen.before_cursor() == PROMPT;
            for _ in 0..100 {
                thread::sleep(Duration::from_millis(100));
                if self.dialogue.shows(is_ready) {
                    break;
                }
                self.dialogue.types("\u{3}");
            }
            self.dialogue.sees("the prompt", is_ready);
            self.has_an_empty_screen();
        }

        #[track_caller]
        fn has_an_empty_screen(&mut self) {
            self.dialogue.types("\u{c}");
            self.dialogue.sees("an empty screen", |screen| screen.lines() == [PROMPT.trim_end()]);
        }

        #[track_caller]
        fn is_shown(&self, line: &str) {
            self.dialogue.sees(line, |screen| screen.lines().iter().any(|shown| shown == line));
        }
    }

    fn completed_name_runs_a_turn_in_its_session(shell: &Shell) {
        let mut person = Person::at(shell);
        person.sandbox.agent(Backend::Claude.answers("id-1", "the turn is done"));
        let line = "invoke-persist resume-json --session-name review-src ";
        person.completes("invoke-persist resume-json --session-name rev", line);
        person.enters(line, "--prompt x --print-result");
        person.is_shown("the turn is done");
        assert!(person.sandbox.only_call().argv.iter().any(|argument| argument == "id-1"));
        person.completes("invoke-persist ask rev", "invoke-persist ask review-src ");
        person.enters("invoke-persist ask review-src ", "asked");
        wait_until(Duration::from_secs(60), || person.sandbox.calls().len() == 2);
        assert!(person.sandbox.last_call().has("asked"));
    }

    fn completes_names_of_the_selected_backend_and_workspace(shell: &Shell) {
        let sandbox = Sandbox::new();
        sandbox.save(Backend::Claude, "review-src", "id-1");
        sandbox.save(Backend::Codex, "tests", "id-2");
        std::fs::create_dir(sandbox.root().join("other")).unwrap();
        let other = ["--backend", "claude", "create-session", "--session-name", "there", "--adopt", "id-3"];
        sandbox.succeeds(&[&other[..], &["--workspace-dir", "../other"]].concat());
        let mut person = Person::in_sandbox(shell, sandbox);
        // the only match, so it is inserted completely
        let text = "invoke-persist --backend codex resolve --print-session-id --session-name ";
        person.completes(text, &format!("{text}tests "));
        person.enters(&format!("{text}tests "), "--quiet");
        person.is_shown("id-2");
        let text = "invoke-persist resolve --print-session-id --workspace-dir ../other --session-name=";
        person.completes(text, &format!("{text}there "));
        person.enters(&format!("{text}there "), "--quiet");
        person.is_shown("id-3");
    }

    fn name_with_spaces_and_quotes_reaches_the_program_unchanged(shell: &Shell) {
        for name in [r#"it's "mine" $HOME * \ {a,b};&|<>()~#?["#, "-it's mine", "it's:a=b mine", "größe `mine`"] {
            // unquoted, after =, and inside an open quote
            for before in ["--session-name ", "--session-name=", "--session-name '", "--session-name \""] {
                let sandbox = Sandbox::new();
                sandbox.save(Backend::Claude, name, "the-id");
                let mut person = Person::in_sandbox(shell, sandbox);
                let begin: String = name.chars().take(3).filter(|c| *c != '\'').collect();
                person.types(&format!("invoke-persist resolve --print-session-id {before}{begin}"));
                person.dialogue.types("\t");
                person.dialogue.sees("the name", |screen| {
                    let line = screen.before_cursor();
                    line.contains("mine") && line.ends_with(' ')
                });
                person.dialogue.types("\r");
                person.is_shown("the-id");
            }
        }
    }

    /// Names that would run something, or that a shell would read as another name, unless each character is quoted
    /// correctly.
    const HOSTILE: [&str; 30] = [
        r#"!|touch pwn #""#,
        r#"!;touch pwn;echo ""#,
        r#"!&&touch pwn&&echo ""#,
        "!ls",
        "!!",
        "a!b!",
        "it!",
        r#"it""#,
        r#"it"!"#,
        "x'",
        "x''",
        "';touch pwn #",
        "';touch pwn;'",
        r#"";touch pwn #"#,
        r#"";touch pwn;""#,
        r"\';touch pwn #",
        r#"\";touch pwn #"#,
        r"end\",
        "$(touch pwn)",
        "`touch pwn`",
        "${x:=`touch pwn`}",
        "$'\\';touch pwn #",
        ";touch pwn",
        "|touch pwn",
        "a&touch pwn&",
        ">pwn",
        "<(touch pwn)",
        "#touch pwn",
        "~",
        "~root",
    ];

    /// Checks that nothing runs, and that the shell reads the inserted text as the complete name.
    fn hostile_name_is_data(shell: &Shell) {
        for name in HOSTILE {
            let sandbox = Sandbox::new();
            sandbox.save(Backend::Claude, name, "the-id");
            let mut person = Person::in_sandbox(shell, sandbox);
            for option in ["--session-name ", "--session-name="] {
                for quote in ["", "'", "\""] {
                    let first = name.chars().next().unwrap().to_string();
                    let is_plain = !quote.is_empty() && !"'\"\\$`".contains(&first);
                    for begin in [Some(""), is_plain.then_some(first.as_str())].into_iter().flatten() {
                        let typed = format!("invoke-persist resolve --print-session-id {option}{quote}{begin}");
                        person.resolves_or_is_offered_nothing(name, &typed, "\t");
                    }
                }
            }
        }
    }

    /// Tab inserts the common prefix of several names, and the shell parses that prefix at the next Tab.
    fn hostile_names_with_a_common_prefix_are_data(shell: &Shell) {
        for begin in [r"$'\';touch pwn #", ";touch pwn;", "a';touch pwn;'", r#"a"!;touch pwn #"#, r"a\\';touch pwn #"] {
            let sandbox = Sandbox::new();
            for end in ["", "1", "2"] {
                sandbox.save(Backend::Claude, &format!("{begin}{end}"), "the-id");
            }
            let mut person = Person::in_sandbox(shell, sandbox);
            for quote in ["", "'", "\""] {
                for tabs in ["\t", "\t\t", "\t\t\t"] {
                    person.types(&format!("invoke-persist resolve --session-name {quote}"));
                    person.dialogue.types(&format!("{tabs}\r"));
                    person.cancels_the_line();
                    assert!(!person.sandbox.workspace().join("pwn").exists(), "{quote}{begin}");
                }
            }
        }
    }

    /// Alt-* inserts all completions and removes an open quote before them.
    #[test]
    #[ignore = "needs bash, zsh and fish"]
    fn hostile_name_is_data_for_the_other_keys_of_bash() {
        const LINE: &str = "invoke-persist resolve --print-session-id";
        for name in [";touch pwn;", "';touch pwn;'", "x'", "it", "`touch pwn`", r"$\';touch pwn #"] {
            let sandbox = Sandbox::new();
            sandbox.save(Backend::Claude, name, "the-id");
            let mut person = Person::in_sandbox(&BASH, sandbox);
            for quote in ["", "'", "\"", "$'", "$\""] {
                let typed = format!("{LINE} --session-name {quote}");
                person.resolves_or_is_offered_nothing(name, &typed, "\u{1b}*");
                // the shell parses these quotes in another way than readline
                for before in [r"$'\'", "\"$(echo '", "\"`echo ", "${x#", "`echo", "`"] {
                    person.types(&format!("{LINE} --workspace-dir {before} --session-name {quote}"));
                    person.dialogue.types("\t\r");
                    person.cancels_the_line();
                    assert!(!person.sandbox.workspace().join("pwn").exists(), "{name}: {before} {quote}");
                }
            }
        }
    }

    fn completes_commands_options_and_paths(shell: &Shell) {
        let mut person = Person::at(shell);
        person.sandbox.write("fold er/file.json", "{}");
        person.completes("invoke-persist rena", "invoke-persist rename-session ");
        person.dialogue.types("--for\t");
        person.dialogue.sees("the option", |screen| screen.before_cursor().ends_with(" --force "));
        person.dialogue.types("--mapping-file fo\tfi\t");
        let line = r"invoke-persist rename-session --force --mapping-file fold\ er/file.json ";
        person.dialogue.sees(line, |screen| screen.before_cursor() == format!("{PROMPT}{line}"));
        person.dialogue.types("--workspace-dir=fo\t");
        // some shells add a slash to a directory if the word can continue
        let line = format!(r"{PROMPT}{line}--workspace-dir=fold\ er");
        person.dialogue.sees(&line, |screen| screen.before_cursor().trim_end_matches('/') == line);
    }

    macro_rules! in_every_shell {
        ($($test:ident)*) => {
            in_every_shell!(bash &super::BASH, $($test)*);
            in_every_shell!(zsh &super::ZSH, $($test)*);
            in_every_shell!(fish &super::FISH, $($test)*);
        };
        ($name:ident $shell:expr, $($test:ident)*) => {
            mod $name {
                $(
                    #[test]
                    #[ignore = "needs bash, zsh and fish"]
                    fn $test() {
                        super::$test($shell);
                    }
                )*
            }
        };
    }

    in_every_shell! {
        completed_name_runs_a_turn_in_its_session
        completes_names_of_the_selected_backend_and_workspace
        name_with_spaces_and_quotes_reaches_the_program_unchanged
        hostile_name_is_data
        hostile_names_with_a_common_prefix_are_data
        completes_commands_options_and_paths
    }
}
