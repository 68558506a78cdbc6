//! Arguments after `--` that work when a session starts also work when it is resumed or forked.

use std::{collections::BTreeMap, fs, path::Path};

use crate::exec_options::{BEFORE_COMMAND, EXEC_ONLY, ExecOption, SEVERAL_VALUES};
use crate::world::{SESSION, World};

real_agent_tests! { claude: same_arguments_work_on_every_turn_of_claude }
real_agent_tests! { codex:
    help_has_the_options_where_the_program_puts_them,
    help_of_the_interactive_program_lacks_the_listed_options,
    sandbox_and_profile_are_in_force_on_every_turn,
    several_images_reach_every_turn,
}

/// How the help shows an option.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    short: Option<String>,
    takes_value: bool,
    several: bool,
}

/// Returns the options that a page of codex's help lists.
fn options_in_help(world: &World, page: &[&str]) -> BTreeMap<String, Shown> {
    let help = world.call_agent(&[page, &["--help"]].concat()).run().success().stdout;
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let options = lines.filter_map(|line| {
        let mut words = line.split_whitespace().peekable();
        let short = words.next_if(|word| !word.starts_with("--")).map(|word| word.trim_end_matches(',').to_owned());
        let long = words.next()?.to_owned();
        let value = words.next().filter(|value| value.starts_with('<'));
        let several = value.is_some_and(|value| value.ends_with("..."));
        Some((long, Shown { short, takes_value: value.is_some(), several }))
    });
    options.collect()
}

fn listed(options: &[ExecOption], several: bool) -> BTreeMap<String, Shown> {
    let shown = |option: &ExecOption| {
        let short = option.short.map(str::to_owned);
        (option.long.to_owned(), Shown { short, takes_value: option.takes_value, several })
    };
    options.iter().map(shown).collect()
}

fn help_has_the_options_where_the_program_puts_them(world: &World) {
    let exec = options_in_help(world, &["exec"]);
    assert!(exec.len() > 20, "{exec:#?}");
    for command in ["resume", "fork"] {
        let own = options_in_help(world, &["exec", command]);
        let (mut lacking, mut differing) = (BTreeMap::new(), BTreeMap::new());
        for (long, shown) in &exec {
            match own.get(long) {
                None if long != "--version" => drop(lacking.insert(long.clone(), shown.clone())),
                Some(same) if same != shown => drop(differing.insert(long.clone(), shown.clone())),
                _ => {}
            }
        }
        assert_eq!(lacking, listed(BEFORE_COMMAND, false), "options that '{command}' lacks");
        assert_eq!(differing, listed(SEVERAL_VALUES, true), "options that '{command}' has in another form");
    }
}

fn help_of_the_interactive_program_lacks_the_listed_options(world: &World) {
    const NEVER_PASSED: [&str; 3] = ["--ephemeral", "--json", "--output-last-message"];
    let [exec, interactive] = ["exec", "resume"].map(|page| options_in_help(world, &[page]));
    let lacking = exec.keys().map(String::as_str).filter(|option| !interactive.contains_key(*option));
    // older releases have some of the listed options nowhere
    let expected =
        exec.keys().map(String::as_str).filter(|option| [EXEC_ONLY, &NEVER_PASSED].concat().contains(option));
    assert_eq!(lacking.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

/// Returns the sandbox of the latest turn in the request to the model.
fn sandbox_in_request(world: &World) -> String {
    let body = world.api.last_request().body.to_string();
    let (_, after) = body.rsplit_once("`sandbox_mode` is `").expect("the request describes the sandbox");
    after.split('`').next().unwrap_or_default().to_owned()
}

/// Returns the values of `key` in the settings of all turns that codex recorded for a thread.
fn recorded(world: &World, thread: &str, key: &str) -> Vec<String> {
    fn find(dir: &Path, thread: &str) -> Option<String> {
        fs::read_dir(dir).ok()?.flatten().find_map(|entry| match entry.path() {
            path if path.is_dir() => find(&path, thread),
            path => path.to_str()?.ends_with(&format!("{thread}.jsonl")).then(|| fs::read_to_string(path).ok())?,
        })
    }
    let text = find(&world.path("codex/sessions"), thread).expect("codex has recorded the thread");
    let events = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let contexts = events.filter(|event| event["type"] == "turn_context");
    contexts.map(|event| event["payload"][key].to_string()).collect()
}

fn sandbox_and_profile_are_in_force_on_every_turn(world: &World) {
    let (shared, profile) = (world.path("shared"), world.path("codex/nightly.config.toml"));
    fs::create_dir(&shared).expect("a directory of the world can be created");
    fs::write(profile, "model_reasoning_effort = \"high\"\n").expect("a file of the world can be written");
    let dir = shared.to_str().expect("a world's path is UTF-8");
    let same = ["--if-missing", "create", "--", "--sandbox", "workspace-write", "--add-dir", dir, "-pnightly"];
    let more = ["--color=never", "-C", ".", "-c", "sandbox_workspace_write.network_access=true"];
    let same = [&same[..], &more].concat();
    for prompt in ["first", "second", "third"] {
        let outcome = world.resume(prompt, &same).run().success();
        assert_eq!(sandbox_in_request(world), "workspace-write", "{prompt}: {outcome}");
        assert_eq!(world.api.last_request().body["reasoning"]["effort"], "high", "{prompt}: {outcome}");
    }
    let thread = world.stored()["thread_id"].as_str().expect("the session has an ID").to_owned();
    let policies = recorded(world, &thread, "sandbox_policy");
    assert_eq!(policies.len(), 3, "{policies:#?}");
    for policy in &policies {
        assert!(policy.contains(dir) && policy.contains("\"network_access\":true"), "{policies:#?}");
    }

    let fork = [&["--session-name", SESSION, "--to", "fork", "--prompt", "fourth"], &same[2..]].concat();
    let outcome = world.call("fork-session", &fork).run().success();
    assert_eq!(sandbox_in_request(world), "workspace-write", "{outcome}");
    assert_eq!(world.api.last_request().turns().len(), 4, "{outcome}");

    // codex itself keeps none of it
    world.resume("fifth", &[]).run().success();
    assert_eq!(sandbox_in_request(world), "read-only");
}

fn several_images_reach_every_turn(world: &World) {
    let images = || world.api.last_request().body.to_string().matches("data:image/png;base64,").count();
    let files = ["a.png", "b.png"].map(|name| world.file(name, super::settings::DOT));
    let same = ["--if-missing", "create", "--", "-i", &files[0], &files[1]];
    for (turn, prompt) in ["first", "second"].into_iter().enumerate() {
        let outcome = world.resume(prompt, &same).run().success();
        assert_eq!(images(), 2 * (turn + 1), "{outcome}");
    }
}

/// claude has one set of options for every turn. These are those that name a part of a session.
fn same_arguments_work_on_every_turn_of_claude(world: &World) {
    let dir = world.path("home");
    let dir = dir.to_str().expect("a world's path is UTF-8");
    let same = [
        ["--name", "nightly"],
        ["--permission-mode", "acceptEdits"],
        ["--append-system-prompt", "Mind the gap."],
        ["--system-prompt-snapshot", "on"],
        ["--agents", r#"{"reviewer": {"description": "Reviews", "prompt": "Review."}}"#],
        ["--agent", "reviewer"],
        ["--setting-sources", "user"],
        ["--max-budget-usd", "5"],
        ["--add-dir", dir],
        ["--allowedTools", "Read"],
        ["--disallowedTools", "ReportFindings"],
    ];
    let same = [&["--if-missing", "create", "--"], same.as_flattened()].concat();
    for (turn, prompt) in ["first", "second", "third"].into_iter().enumerate() {
        let outcome = world.resume(prompt, &same).run().success();
        assert_eq!(world.api.last_request().turns().len(), turn + 1, "{outcome}");
    }
    let fork = [&["--session-name", SESSION, "--to", "fork", "--prompt", "fourth"], &same[2..]].concat();
    world.call("fork-session", &fork).run().success();
}
