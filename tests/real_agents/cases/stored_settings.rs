//! Settings that are stored with a name are in force on every later turn.
//!
//! Each turn shows what was in force. Its request has the model and the effort. Its answer calls tools that read and
//! create files, as far as the agent allows it.

use std::{
    cell::OnceCell,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use serde_json::{Value, json};

use crate::{
    agents::Agent,
    call::Outcome,
    model_api::{Block, ModelRequest},
    world::{SESSION, World},
};

real_agent_tests! { both:
    settings_given_once_are_in_force_on_every_turn,
    settings_of_a_call_without_remember_count_for_that_call,
    argument_of_one_call_replaces_the_stored_one_for_that_call,
    another_spelling_replaces_the_stored_option,
    argument_of_a_call_with_remember_replaces_the_stored_one_from_then_on,
    set_session_changes_later_turns,
    unset_settings_are_in_force_no_more,
    fork_and_rename_carry_the_settings,
    forgotten_settings_are_in_force_on_the_next_turn,
    settings_of_an_adopted_session_are_in_force,
    same_call_with_if_missing_create_stores_and_applies,
    detached_turns_apply_and_store_settings,
    failed_turn_stores_nothing,
    stored_bypass_is_in_force_until_another_mode_is_given,
    stored_command_and_env_file_are_used_on_every_turn,
    settings_in_a_mapping_that_others_can_write_are_refused_before_a_call,
}
real_agent_tests! { codex:
    stored_shell_is_used_on_every_turn,
    another_model_than_the_recorded_one_is_a_warning,
    image_is_for_one_turn,
}

/// The commands of turns 2, 3 and 4. Each turn is a new process of the agent.
const RESUMES: [&str; 3] = ["resume-json", "resume-stream", "ask"];

fn settings_given_once_are_in_force_on_every_turn(world: &World) {
    let sessions = Sessions::new(world);
    assert_eq!(sessions.create(&sessions.settings(&["--remember"])), sessions.all());
    for verb in RESUMES {
        assert_eq!(sessions.turn(verb, &[]), sessions.all(), "{verb}");
    }
}

fn settings_of_a_call_without_remember_count_for_that_call(world: &World) {
    let sessions = Sessions::new(world);
    assert_eq!(sessions.create(&sessions.settings(&[])), sessions.all());
    assert_eq!(sessions.turn("resume-json", &[]), sessions.only_model_and_effort());
    assert_eq!(sessions.turn("resume-stream", &sessions.settings(&[])), sessions.all());
    assert_eq!(sessions.turn("resume-json", &[]), sessions.only_model_and_effort());
    assert_eq!(world.stored().get("settings"), None, "{}", world.stored());

    // a new session under the name starts without those of the old one
    sessions.turn("resume-json", &sessions.settings(&["--remember"]));
    assert_eq!(sessions.turn("resume-json", &[]), sessions.all());
    sessions.create(&["--model", "model-one"]);
    assert_eq!(sessions.turn("resume-json", &[]), sessions.none().model("model-one"));
}

fn argument_of_one_call_replaces_the_stored_one_for_that_call(world: &World) {
    let sessions = Sessions::new(world);
    sessions.create(&sessions.settings(&["--remember"]));
    for verb in RESUMES {
        let replaced = sessions.turn(verb, &sessions.everything_allowed());
        assert_eq!(replaced, sessions.all().writes(&sessions.everywhere()), "{verb}: the others stay");
        assert_eq!(sessions.turn(verb, &[]), sessions.all(), "{verb}: the next turn");
    }
}

fn another_spelling_replaces_the_stored_option(world: &World) {
    let sessions = Sessions::new(world);
    let all = sessions.create(&sessions.settings(&["--remember"]));
    let everywhere = sessions.everywhere();
    let spellings: &[(&[&str], InForce)] = match world.agent {
        Agent::Claude => &[
            (&["--", "--allowed-tools", "Write"], all.clone().writes(&DIRS)),
            (&["--", "--disallowed-tools=Write"], all.clone().tool("Read").writes(&[BY_COMMAND])),
            (&["--", "--permission-mode=default"], all.clone().writes(&[BY_COMMAND])),
            (&["--", "--dangerously-skip-permissions"], all.clone().writes(&everywhere)),
        ],
        Agent::Codex => &[
            (&["--", "-s", "read-only"], all.clone().writes(&[])),
            (&["--", "-sread-only"], all.clone().writes(&[])),
            (&["--", "--sandbox=danger-full-access"], all.clone().writes(&everywhere)),
            (&["--", "-c", "sandbox_mode=\"danger-full-access\""], all.clone().writes(&everywhere)),
            (&["--config", "sandbox_mode=\"read-only\""], all.clone().writes(&[])),
            (&["--dangerously-bypass-approvals-and-sandbox"], all.clone().writes(&everywhere)),
            (&["--", "--dangerously-bypass-approvals-and-sandbox"], all.clone().writes(&everywhere)),
            (&["--", "--yolo"], all.clone().writes(&everywhere)),
            (&["--full-auto"], all.clone()),
            (&["--", "-c", "web_search=\"disabled\""], all.clone().tool(None)),
            (&["--", "-cmodel_reasoning_effort=\"high\""], all.clone().effort("high")),
            (&["--", "--config", EFFORT_HIGH], all.clone().effort("high")),
            (&["--", "--model", "model-two"], all.clone().model("model-two")),
        ],
    };
    for (spelling, expected) in spellings {
        assert_eq!(sessions.turn("resume-json", spelling), *expected, "{spelling:?}");
    }
    assert_eq!(sessions.turn("resume-json", &[]), all);
}

fn argument_of_a_call_with_remember_replaces_the_stored_one_from_then_on(world: &World) {
    let sessions = Sessions::new(world);
    sessions.create(&sessions.settings(&["--remember"]));
    let replacement = [&["--remember"], &sessions.everything_allowed()[..]].concat();
    let replaced = sessions.all().writes(&sessions.everywhere());
    assert_eq!(sessions.turn("resume-stream", &replacement), replaced);
    for verb in RESUMES {
        assert_eq!(sessions.turn(verb, &[]), replaced, "{verb}");
    }
}

fn set_session_changes_later_turns(world: &World) {
    let sessions = Sessions::new(world);
    sessions.create(&sessions.settings(&["--remember"]));
    let (change, changed) = match world.agent {
        Agent::Claude => (
            [
                "--reasoning-effort",
                "medium",
                "--",
                "--disallowedTools",
                "Bash",
                "--permission-mode",
                "bypassPermissions",
            ],
            sessions.all().effort("medium").tool("Read").writes(&DIRS),
        ),
        Agent::Codex => (
            ["--config", EFFORT_HIGH, "--config", "web_search=\"disabled\"", "--", "--sandbox", "danger-full-access"],
            sessions.all().effort("high").tool(None).writes(&DIRS),
        ),
    };
    sessions.set(&[&["--model", "model-two"], &change[..]].concat());
    for verb in RESUMES {
        assert_eq!(sessions.turn(verb, &[]), changed.clone().model("model-two"), "{verb}");
    }
}

fn unset_settings_are_in_force_no_more(world: &World) {
    let sessions = Sessions::new(world);
    sessions.create(&sessions.settings(&["--remember"]));
    sessions.set(&["--unset", "arguments"]);
    let tool = if world.agent == Agent::Claude { Some("Read") } else { sessions.all().tool };
    for verb in RESUMES {
        assert_eq!(sessions.turn(verb, &[]), sessions.all().tool(tool).writes(&sessions.none().writes), "{verb}");
    }

    sessions.set(&["--unset", "all"]);
    assert_eq!(world.stored().get("settings"), None, "{}", world.stored());
    for verb in ["resume-json", "resume-stream"] {
        assert_eq!(sessions.turn(verb, &[]), sessions.none(), "{verb}");
    }

    // the new ones replace the removed ones
    sessions.set(&sessions.settings(&[]));
    assert_eq!(sessions.turn("resume-json", &[]), sessions.all());
    sessions.set(&[&["--unset", "arguments"], &sessions.everything_allowed()[..]].concat());
    assert_eq!(sessions.turn("resume-json", &[]), sessions.all().tool(tool).writes(&sessions.everywhere()));
}

fn fork_and_rename_carry_the_settings(world: &World) {
    let sessions = Sessions::new(world);
    sessions.create(&sessions.settings(&["--remember"]));
    assert_eq!(sessions.fork("fork", &[]), sessions.all());
    assert_eq!(sessions.turn_of("fork", "resume-json", &[]), sessions.all());
    world.call("rename-session", &["--session-name", "fork", "--to", "renamed"]).run().success();
    for verb in RESUMES {
        assert_eq!(sessions.turn_of("renamed", verb, &[]), sessions.all(), "{verb}");
    }

    // a change of one does not reach the other
    sessions.set_of("renamed", &sessions.everything_allowed());
    let changed = sessions.all().writes(&sessions.everywhere());
    assert_eq!(sessions.turn_of("renamed", "resume-json", &[]), changed);
    assert_eq!(sessions.turn("resume-json", &[]), sessions.all());

    // what is given to a fork counts for its first turn, or with --remember from then on
    assert_eq!(sessions.fork("once", &sessions.everything_allowed()), changed);
    assert_eq!(sessions.turn_of("once", "resume-json", &[]), sessions.all());
    let remembered = [&["--remember"], &sessions.everything_allowed()[..]].concat();
    assert_eq!(sessions.fork("always", &remembered), changed);
    assert_eq!(sessions.turn_of("always", "resume-json", &[]), changed);
    assert_eq!(sessions.turn("resume-json", &[]), sessions.all());
}

fn forgotten_settings_are_in_force_on_the_next_turn(world: &World) {
    let sessions = Sessions::new(world);
    sessions.create(&sessions.settings(&["--remember"]));
    for verb in ["resume-json", "resume-stream"] {
        assert_eq!(sessions.turn(verb, &["--forget-settings"]), sessions.none(), "{verb}");
        assert_eq!(sessions.turn(verb, &[]), sessions.all(), "{verb}: the next turn");
    }
    assert_eq!(sessions.fork("fork", &["--forget-settings"]), sessions.none());

    // with --remember, the given ones replace the stored ones
    let only = [&["--forget-settings", "--remember"], &sessions.everything_allowed()[..]].concat();
    assert_eq!(sessions.turn("resume-json", &only).writes, sessions.everywhere());
    assert_eq!(sessions.turn("resume-json", &[]).writes, sessions.everywhere());
    let stored = &world.stored()["settings"]["arguments"];
    assert_eq!(*stored, json!(sessions.everything_allowed()[1..]), "the other arguments are no longer stored");
}

fn settings_of_an_adopted_session_are_in_force(world: &World) {
    let sessions = Sessions::new(world);
    let id = world.create(&[]);
    let adoption = [&["--session-name", "adopted", "--adopt", &id][..], &sessions.settings(&["--remember"])].concat();
    world.call("create-session", &adoption).run().success();
    assert_eq!(world.api.requests().len(), 1, "an adoption costs no turn");
    for verb in RESUMES {
        assert_eq!(sessions.turn_of("adopted", verb, &[]), sessions.all(), "{verb}");
    }
}

fn same_call_with_if_missing_create_stores_and_applies(world: &World) {
    let sessions = Sessions::new(world);
    let same = sessions.settings(&["--if-missing", "create", "--remember"]);
    for night in ["first", "second"] {
        assert_eq!(sessions.turn("resume-stream", &same), sessions.all(), "{night}");
    }
    for verb in RESUMES {
        assert_eq!(sessions.turn(verb, &[]), sessions.all(), "{verb}");
    }
}

fn detached_turns_apply_and_store_settings(world: &World) {
    let sessions = Sessions::new(world);
    let detached = |verb: &str, prompt_option: &str, arguments: &[&str]| {
        let probe = Probe::new(world);
        let arguments = [&["--session-name", SESSION, prompt_option, &probe.prompt], arguments].concat();
        let turn = world.detach(verb, &arguments);
        let outcome = world.wait_turn(&turn).success();
        (probe.result(&outcome.to_string()), world.record(&turn))
    };
    let (first, record) = detached("create-session", "--init-prompt", &sessions.settings(&["--remember"]));
    assert_eq!(first, sessions.all(), "{record:#}");
    let (second, record) = detached("resume-json", "--prompt", &[]);
    assert_eq!(second, sessions.all(), "{record:#}");
    assert_eq!(record["settings"], world.stored()["settings"], "{record:#}");
    let (third, record) = detached("resume-stream", "--prompt", &["--forget-settings"]);
    assert_eq!(third, sessions.none(), "{record:#}");
}

fn failed_turn_stores_nothing(world: &World) {
    let sessions = Sessions::new(world);
    sessions.create(&sessions.settings(&["--remember"]));
    let before = world.mapping();
    world.api.refuse_with(401);
    let failed = world.resume("refused", &[&["--remember"], &sessions.everything_allowed()[..]].concat()).run();
    assert_ne!(failed.code(), Some(0), "{failed}");
    assert_eq!(world.mapping(), before, "{failed}");
    world.api.accept();
    assert_eq!(sessions.turn("resume-json", &[]), sessions.all());
}

fn stored_bypass_is_in_force_until_another_mode_is_given(world: &World) {
    let sessions = Sessions::new(world);
    let (bypass, other, edits) = match world.agent {
        Agent::Claude => (["--remember", "--", "--dangerously-skip-permissions"].as_slice(), "default", "acceptEdits"),
        Agent::Codex => {
            (["--remember", "--dangerously-bypass-approvals-and-sandbox"].as_slice(), "read-only", "workspace-write")
        }
    };
    let (first, created) = sessions.shown_by("create-session", &before_prompt("create-session", SESSION), bypass);
    assert_eq!(first.writes, sessions.everywhere(), "{created}");
    let warning = created.stderr.lines().find(|line| line.starts_with("warning:") && line.contains("--dangerously-"));
    assert!(warning.is_some(), "no warning\n{created}");
    for verb in RESUMES {
        assert_eq!(sessions.turn(verb, &[]).writes, sessions.everywhere(), "{verb}");
    }

    let mode = sessions.mode_option();
    assert_eq!(sessions.turn("resume-json", &["--", mode, other]).writes, [""; 0], "another mode for one turn");
    assert_eq!(sessions.turn("resume-json", &[]).writes, sessions.everywhere());
    sessions.set(&["--", mode, edits]);
    for verb in RESUMES {
        assert_eq!(sessions.turn(verb, &[]).writes, ["work"], "{verb}");
    }
}

fn stored_command_and_env_file_are_used_on_every_turn(world: &World) {
    let sessions = Sessions::new(world);
    let agent = world.agent;
    let (option, variable) = match agent {
        Agent::Claude => ("--claude-cmd", "CLAUDE_CMD"),
        Agent::Codex => ("--codex-cmd", "CODEX_CMD"),
    };
    let command = |mark: &str| format!("env FROM_COMMAND=mark:{mark} {agent}");
    let (stored, other) = (command("stored"), command("other"));
    let file = world.file("variables", "FROM_FILE=mark:file\n");
    let other_file = world.file("other-variables", "FROM_FILE=mark:other-file\n");
    let allowed: &[&str] = if agent == Agent::Claude { &["--", "--allowedTools", "Bash(printenv *)"] } else { &[] };
    let given = [&["--remember", "--env-file", &file, option, &stored], allowed].concat();

    assert_eq!(sessions.marks("create-session", &given, &[]), ["mark:file", "mark:stored"]);
    for verb in RESUMES {
        assert_eq!(sessions.marks(verb, &[], &[]), ["mark:file", "mark:stored"], "{verb}");
        // the option of a call comes first, and a variable last
        assert_eq!(sessions.marks(verb, &[], &[(variable, &other)]), ["mark:file", "mark:stored"], "{verb}");
        assert_eq!(sessions.marks(verb, &[option, &other], &[]), ["mark:file", "mark:other"], "{verb}");
        let given = ["--env-file", &other_file];
        assert_eq!(sessions.marks(verb, &given, &[]), ["mark:other-file", "mark:stored"], "{verb}");
    }

    // the path is stored, not the variables
    world.file("variables", "FROM_FILE=mark:edited\n");
    assert_eq!(sessions.marks("resume-json", &[], &[]), ["mark:edited", "mark:stored"]);

    sessions.set(&["--env-file", &other_file, option, &other]);
    assert_eq!(sessions.marks("resume-json", &[], &[]), ["mark:other-file", "mark:other"]);
    sessions.set(&["--unset", "command,env-file"]);
    assert_eq!(sessions.marks("resume-json", &[], &[]), [""; 0]);
    assert_eq!(sessions.marks("resume-json", &[], &[(variable, &stored)]), ["mark:stored"]);
}

fn stored_shell_is_used_on_every_turn(world: &World) {
    let sessions = Sessions::new(world);
    let init = format!("{}; export FROM_COMMAND=mark:shell", world.path_of_tools());
    let shell = ["--codex-shell", "posix", "--codex-shell-init", &init];
    let given = [&["--remember", "--codex-cmd", "codex"], &shell[..]].concat();
    assert_eq!(sessions.marks("create-session", &given, &[]), ["mark:shell"]);
    for verb in RESUMES {
        assert_eq!(sessions.marks(verb, &[], &[]), ["mark:shell"], "{verb}");
    }
    // the command is one setting
    assert_eq!(sessions.marks("resume-json", &["--codex-cmd", "codex"], &[]), [""; 0]);
    assert_eq!(sessions.marks("resume-json", &[], &[]), ["mark:shell"]);
}

fn settings_in_a_mapping_that_others_can_write_are_refused_before_a_call(world: &World) {
    let sessions = Sessions::new(world);
    let none = sessions.none();
    sessions.create(&sessions.settings(&["--remember"]));
    let mapping = PathBuf::from(world.stored()["mapping_file"].as_str().expect("`resolve` prints the mapping file"));
    let set_mode = |mode| fs::set_permissions(&mapping, Permissions::from_mode(mode)).expect("the file exists");
    for mode in [0o620, 0o602] {
        set_mode(mode);
        let before = world.api.requests().len();
        for verb in ["resume-json", "resume-stream"] {
            let arguments = ["--error-format", "json", "--session-name", SESSION, "--prompt", "never sent"];
            let refused = world.call(verb, &arguments).run();
            assert_eq!(refused.error()["kind"], "mapping_unsafe", "{mode:o} {verb}\n{refused}");
        }
        assert_eq!(world.api.requests().len(), before, "{mode:o}: a model was called");
        if mode == 0o620 {
            assert_eq!(sessions.turn("resume-json", &["--forget-settings"]), none);
        }
        set_mode(0o600);
        assert_eq!(sessions.turn("resume-json", &[]), sessions.all(), "{mode:o}");
    }
}

fn image_is_for_one_turn(world: &World) {
    let sessions = Sessions::new(world);
    let images = || world.api.last_request().body.to_string().matches("data:image/png;base64,").count();
    let image = world.file("dot.png", super::settings::DOT);
    let given = ["--remember", "--", "--image", &image, "--sandbox", "workspace-write"];
    assert_eq!(sessions.create(&given).writes, ["work"]);
    assert_eq!(images(), 1);
    for verb in RESUMES {
        assert_eq!(sessions.turn(verb, &[]).writes, ["work"], "{verb}");
        assert_eq!(images(), 1, "{verb}: that of the first turn");
    }
}

fn another_model_than_the_recorded_one_is_a_warning(world: &World) {
    world.create(&["--model", "model-one"]);
    let same = world.resume("second", &[]).run().success();
    assert!(!same.stderr.contains("recorded with model"), "{same}");
    for verb in ["resume-json", "resume-stream"] {
        let arguments = ["--session-name", SESSION, "--prompt", verb, "--forget-settings"];
        let other = world.call(verb, &arguments).run().success();
        assert_eq!(world.api.last_request().model(), "model-of-config");
        let warning = other.stderr.lines().find(|line| line.contains("recorded with model"));
        assert!(warning.is_some_and(|line| line.starts_with("warning:")), "{verb}: no warning\n{other}");
        world.resume("back", &[]).run().success();
    }
}

#[cfg(target_os = "linux")] // the terminal
real_agent_tests! { claude: interactive_claude_has_the_settings }
#[cfg(target_os = "linux")]
real_agent_tests! { codex: interactive_codex_has_the_settings }

/// The directories that a turn tries to write to, in the order of [`InForce::writes`].
const DIRS: [&str; 3] = ["work", "shared", "private"];

/// Where a turn of claude writes with a command that it may run only if an option allows it.
const BY_COMMAND: &str = "work, by a command";

/// The search of codex in the web itself instead of a cache.
const LIVE_SEARCH: &str = "live web search";

const EFFORT_HIGH: &str = "model_reasoning_effort=\"high\"";

#[cfg(target_os = "linux")]
fn interactive_claude_has_the_settings(world: &World) {
    use crate::shared::terminal::Terminal;

    let sessions = Sessions::new(world);
    sessions.create(&sessions.settings(&["--remember"]));
    let trusted = ["work", "shared"].map(|dir| world.path(dir).into_os_string().into_string());
    let trusted = trusted.map(|dir| (dir.expect("a world's path is UTF-8"), json!({"hasTrustDialogAccepted": true})));
    let answers = json!({ // to what claude asks first
        "hasCompletedOnboarding": true, "customApiKeyResponses": {"approved": ["any"]},
        "projects": Value::Object(trusted.into_iter().collect()),
    });
    world.file("home/.claude.json", answers.to_string());

    let probe = Probe::new(world);
    let open = world.call("open-session", &["--session-name", SESSION]);
    let open = open.env("CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL", "1").into_command();
    let mut claude = Terminal::of_width(100).starts(&open);
    claude.sees("the mode", |screen| screen.lines().iter().any(|line| line.contains("accept edits on")));
    claude.types(&probe.prompt);
    claude.sees("the prompt", |screen| screen.before_cursor().ends_with(&probe.prompt));
    claude.types("\r");
    // it asks before it writes elsewhere
    claude.sees("a question", |screen| screen.lines().iter().any(|line| line.contains("../private/file-")));
    claude.sees("its answers", |screen| screen.lines().iter().any(|line| line.contains("Esc to cancel")));
    let request = world.api.last_request();
    assert_eq!((request.last_turn(), request.model(), effort(&request)), (&*probe.prompt, "model-one", "low"));
    assert_eq!(probe.written(), ["work", "shared"]);
}

/// The requests have the settings of `set-session`, which no earlier turn had.
#[cfg(target_os = "linux")]
fn interactive_codex_has_the_settings(world: &World) {
    use std::time::Duration;

    use crate::shared::{terminal::Terminal, wait::wait_until};

    let sessions = Sessions::new(world);
    sessions.create(&sessions.settings(&["--remember"]));
    sessions.set(&[&["--config", EFFORT_HIGH], &sessions.everything_allowed()[..]].concat());
    let config = world.path("codex/config.toml");
    let earlier = fs::read_to_string(&config).expect("the world has a configuration");
    let trusted = format!(
        "[projects.'{}']\ntrust_level = \"trusted\"\n[tui]\nshow_tooltips = false\n",
        world.path("work").display()
    );
    fs::write(config, earlier + "\n" + &trusted).expect("a file of the world can be written");

    let no_daemon: &[_] = if world.release() < (0, 169, 0) { &[] } else { &["--no-daemon"] };
    let open = ["--session-name", SESSION, "--", "-c", "check_for_update_on_startup=false"];
    let open = world.call("open-session", &[&open, no_daemon].concat()).env("HTTPS_PROXY", "http://127.0.0.1:1"); // it fetches a tip
    let mut codex = Terminal::of_width(100).starts(&open.into_command());
    codex.sees("the model", |screen| screen.lines().iter().any(|line| line.contains("model-one high")));
    codex.types("at the terminal");
    codex.sees("the prompt", |screen| screen.before_cursor().ends_with("at the terminal"));
    codex.types("\r");
    let of_turn = |request: &ModelRequest| request.last_turn() == "at the terminal";
    let find = || world.api.requests().into_iter().find(of_turn);
    wait_until(Duration::from_secs(60), || find().is_some());
    let request = find().expect("the turn has a request");
    assert_eq!((request.model(), effort(&request)), ("model-one", "high"));
    assert_eq!(live_search(&request), Some(LIVE_SEARCH));
    assert!(request.mentions("`sandbox_mode` is `danger-full-access`"), "{request:#?}");
}

/// What a turn shows of its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InForce {
    model: String,
    effort: String,
    /// The tool that an option adds or removes, if the turn has it.
    tool: Option<&'static str>,
    /// Where the turn could create a file.
    writes: Vec<&'static str>,
}

impl InForce {
    fn model(mut self, model: &str) -> Self {
        model.clone_into(&mut self.model);
        self
    }

    fn effort(mut self, effort: &str) -> Self {
        effort.clone_into(&mut self.effort);
        self
    }

    fn tool(mut self, tool: impl Into<Option<&'static str>>) -> Self {
        self.tool = tool.into();
        self
    }

    fn writes(mut self, writes: &[&'static str]) -> Self {
        writes.clone_into(&mut self.writes);
        self
    }
}

/// A world with the directories that its turns try to write to.
struct Sessions<'w> {
    world: &'w World,
    shared: String,
    none: OnceCell<InForce>,
}

impl<'w> Sessions<'w> {
    fn new(world: &'w World) -> Self {
        for dir in ["shared", "private"] {
            fs::create_dir(world.path(dir)).expect("a directory of the world can be created");
        }
        let shared = world.path("shared").into_os_string().into_string().expect("a world's path is UTF-8");
        Self { world, shared, none: OnceCell::new() }
    }

    /// Returns one setting of each kind, without what precedes `--`.
    fn arguments(&self) -> Vec<&str> {
        match self.world.agent {
            Agent::Claude => {
                let mode = ["--permission-mode", "acceptEdits", "--add-dir", &self.shared];
                let tools = ["--disallowedTools", "Read", "--allowedTools", "Bash(mkfifo *)"];
                [mode, tools].concat()
            }
            Agent::Codex => vec!["--sandbox", "workspace-write", "--add-dir", &self.shared],
        }
    }

    /// Returns one setting of each kind, after other options of the call.
    fn settings<'a>(&'a self, options: &[&'a str]) -> Vec<&'a str> {
        let own: &[&str] = match self.world.agent {
            Agent::Claude => &["--model", "model-one", "--reasoning-effort", "low"],
            Agent::Codex => {
                let config = ["--config", "web_search=\"live\"", "--config", "model_reasoning_effort=\"low\""];
                &[&["--model", "model-one"], &config[..]].concat()
            }
        };
        [options, own, &["--"], &self.arguments()].concat()
    }

    /// Returns what is in force with [`settings`](Self::settings).
    fn all(&self) -> InForce {
        let (tool, writes) = match self.world.agent {
            Agent::Claude => (None, vec!["work", "shared", BY_COMMAND]),
            Agent::Codex => (Some(LIVE_SEARCH), vec!["work", "shared"]),
        };
        InForce { model: "model-one".into(), effort: "low".into(), tool, writes }
    }

    /// Returns what is in force in a session that began with [`settings`](Self::settings), if no name keeps them. That
    /// depends on the release of the agent.
    fn none(&self) -> InForce {
        let shown = self.none.get_or_init(|| {
            let create = ["--session-name", "control", "--init-prompt"];
            let (_, created) = self.shown_by("create-session", &create, &self.settings(&[]));
            self.world.call("delete-session", &["--session-name", "control"]).run().success();
            let resume = [self.world.agent.id_option(), created.line(), "--prompt"];
            let (shown, resumed) = self.shown_by("resume-json", &resume, &[]);
            let all = self.all();
            let differs = shown.effort != all.effort && shown.tool != all.tool && shown.writes != all.writes;
            assert!(differs, "the settings would not show: {shown:#?}\n{resumed}");
            shown
        });
        shown.clone()
    }

    /// Returns the arguments that allow everything, as a kind of which [`settings`](Self::settings) has another one.
    fn everything_allowed(&self) -> [&'static str; 3] {
        match self.world.agent {
            Agent::Claude => ["--", "--permission-mode", "bypassPermissions"],
            Agent::Codex => ["--", "--sandbox", "danger-full-access"],
        }
    }

    /// Returns where a turn with [`everything_allowed`](Self::everything_allowed) can write.
    fn everywhere(&self) -> Vec<&'static str> {
        let by_command = (self.world.agent == Agent::Claude).then_some(BY_COMMAND);
        DIRS.into_iter().chain(by_command).collect()
    }

    /// Returns what is in force if this program keeps the model and the effort, and nothing else.
    fn only_model_and_effort(&self) -> InForce {
        let effort = if self.world.agent == Agent::Claude { "low".to_owned() } else { self.none().effort };
        self.none().model("model-one").effort(&effort)
    }

    /// Returns the option that decides what a turn may do.
    fn mode_option(&self) -> &'static str {
        self.everything_allowed()[1]
    }

    #[track_caller]
    fn create(&self, arguments: &[&str]) -> InForce {
        self.turn_of(SESSION, "create-session", arguments)
    }

    #[track_caller]
    fn fork(&self, to: &str, arguments: &[&str]) -> InForce {
        self.shown_by("fork-session", &["--session-name", SESSION, "--to", to, "--prompt"], arguments).0
    }

    /// Runs one turn of [`SESSION`].
    #[track_caller]
    fn turn(&self, verb: &str, arguments: &[&str]) -> InForce {
        self.turn_of(SESSION, verb, arguments)
    }

    /// Runs one turn of a session.
    #[track_caller]
    fn turn_of(&self, name: &str, verb: &str, arguments: &[&str]) -> InForce {
        self.shown_by(verb, &before_prompt(verb, name), arguments).0
    }

    /// Runs a turn, of which `before` is the command line up to the prompt. Returns what the turn shows.
    #[track_caller]
    fn shown_by(&self, verb: &str, before: &[&str], arguments: &[&str]) -> (InForce, Outcome) {
        let probe = Probe::new(self.world);
        let arguments = [before, &[&probe.prompt], arguments].concat();
        let outcome = self.world.call(verb, &arguments).run().success();
        (probe.result(&outcome.to_string()), outcome)
    }

    /// Changes what is stored with [`SESSION`] and checks that nothing is called.
    #[track_caller]
    fn set(&self, arguments: &[&str]) -> Outcome {
        self.set_of(SESSION, arguments)
    }

    #[track_caller]
    fn set_of(&self, name: &str, arguments: &[&str]) -> Outcome {
        let before = self.world.api.requests().len();
        let outcome = self.world.call("set-session", &[&["--session-name", name], arguments].concat()).run().success();
        assert_eq!(self.world.api.requests().len(), before, "set-session called a model\n{outcome}");
        let resolved = self.world.call("resolve", &["--session-name", name]).run().success();
        assert_eq!(outcome.stdout, resolved.stdout, "set-session prints what resolve prints\n{outcome}{resolved}");
        outcome
    }

    /// Runs a turn of [`SESSION`] that prints variables. Returns their values, which the model gets.
    #[track_caller]
    fn marks(&self, verb: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
        self.world.api.answer_with_bash_once("print", "printenv FROM_FILE FROM_COMMAND");
        let arguments = [&before_prompt(verb, SESSION)[..], &["print"], arguments].concat();
        let call = self.world.call(verb, &arguments);
        let call = variables.iter().fold(call, |call, (name, value)| call.env(name, value));
        let outcome = call.run().success();
        let result = self.world.api.last_request().tool_result();
        let result = result.unwrap_or_else(|| panic!("no result of a tool\n{outcome}"));
        result.split_whitespace().filter(|word| word.starts_with("mark:")).map(str::to_owned).collect()
    }
}

/// Returns the options of a command up to the prompt.
fn before_prompt<'a>(verb: &str, name: &'a str) -> Vec<&'a str> {
    match verb {
        "ask" => vec![name],
        "create-session" => vec!["--session-name", name, "--init-prompt"],
        _ => vec!["--session-name", name, "--prompt"],
    }
}

/// One turn that tries to write.
struct Probe<'w> {
    world: &'w World,
    prompt: String,
    earlier_requests: usize,
}

impl<'w> Probe<'w> {
    /// Scripts the next turn.
    fn new(world: &'w World) -> Self {
        let earlier_requests = world.api.requests().len();
        let probe = Self { world, prompt: format!("prompt after {earlier_requests} requests"), earlier_requests };
        let mut calls: Vec<_> = DIRS.map(|dir| probe.write(dir)).into();
        if world.agent == Agent::Claude {
            let notes = world.file(&format!("work/notes-{earlier_requests}"), probe.notes());
            calls.push(Block::Call { name: "Read", input: json!({"file_path": notes}) });
            let command = format!("mkfifo {}", probe.file(BY_COMMAND));
            calls.push(Block::Call { name: "Bash", input: json!({"command": command, "description": "Write"}) });
        }
        world.api.play([calls, vec![Block::Text("done".into())]]);
        probe
    }

    /// Returns the file that the turn tries to create.
    fn file(&self, place: &str) -> String {
        let (dir, name) = if place == BY_COMMAND { ("work", "pipe") } else { (place, "file") };
        let path = self.world.path(dir).join(format!("{name}-{}", self.earlier_requests));
        path.into_os_string().into_string().expect("a world's path is UTF-8")
    }

    /// Returns the contents of the file that the turn tries to read.
    fn notes(&self) -> String {
        format!("these are the notes for the {}", self.prompt)
    }

    fn write(&self, dir: &str) -> Block {
        let file = self.file(dir);
        match self.world.agent {
            Agent::Claude => Block::Call { name: "Write", input: json!({"file_path": file, "content": "written"}) },
            Agent::Codex => Block::Call { name: "exec_command", input: json!({"cmd": format!("touch '{file}'")}) },
        }
    }

    /// Returns what the turn shows.
    #[track_caller]
    fn result(&self, explanation: &str) -> InForce {
        let requests = self.world.api.requests().split_off(self.earlier_requests);
        let [first, second] = &requests[..] else {
            panic!("{} requests instead of two\n{explanation}", requests.len())
        };
        assert_eq!(first.last_turn(), self.prompt, "{explanation}");
        let of = |request: &ModelRequest| (request.model().to_owned(), effort(request).to_owned());
        assert_eq!(of(first), of(second), "the requests of one turn differ\n{explanation}");
        let (model, effort) = of(second);
        InForce { model, effort, tool: self.tool(second), writes: self.written() }
    }

    /// Returns where the turn has written.
    fn written(&self) -> Vec<&'static str> {
        let places = DIRS.into_iter().chain([BY_COMMAND]);
        places.filter(|place| fs::symlink_metadata(self.file(place)).is_ok()).collect()
    }

    /// Returns the tool that the turn has, by the turn's second request.
    fn tool(&self, request: &ModelRequest) -> Option<&'static str> {
        match self.world.agent {
            // a tool that is removed during a session stays in its requests
            Agent::Claude => request.mentions(&self.notes()).then_some("Read"),
            Agent::Codex => live_search(request),
        }
    }
}

fn live_search(request: &ModelRequest) -> Option<&'static str> {
    let mut tools = request.body["tools"].as_array().into_iter().flatten();
    let live = |tool: &Value| tool["type"] == "web_search" && tool["external_web_access"] == true;
    tools.any(live).then_some(LIVE_SEARCH)
}

/// Returns the effort that either agent requests.
fn effort(request: &ModelRequest) -> &str {
    request.body.pointer("/reasoning/effort").and_then(Value::as_str).unwrap_or(request.effort())
}
