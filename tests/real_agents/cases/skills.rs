//! The skills where they are read: both hosts find what was installed, leave it to the user to call, and follow it.

use serde_json::Value;

use crate::{agents::Agent, world::World};

real_agent_tests! { claude:
    claude_lists_both_until_they_are_taken_away,
    claude_runs_the_program_that_the_skill_allows,
    claude_may_pipe_a_prompt_and_print_a_reference,
}
real_agent_tests! { codex: codex_hides_both_until_they_are_named }

const BOTH: [&str; 2] = ["claude-code-invoke-persist", "codex-cli-invoke-persist"];

/// What the first line of a stream says of `key`.
fn first_line(world: &World, key: &str) -> Vec<String> {
    let call = world.call_agent(&["-p", "hello", "--output-format", "stream-json", "--verbose"]);
    let lines = call.run().success().json_lines();
    let listed = lines[0][key].as_array().unwrap_or_else(|| panic!("no {key} in {}", lines[0]));
    listed.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn claude_lists_both_until_they_are_taken_away(world: &World) {
    world.skill(&["install", "--agent", "claude"]).run().success();
    for key in ["skills", "slash_commands"] {
        let listed = first_line(world, key);
        assert!(BOTH.iter().all(|skill| listed.iter().any(|name| name == skill)), "{listed:?}");
    }
    // listed for the user, and hidden from the model
    assert!(!world.api.last_request().mentions("invoke-persist"), "{:#?}", world.api.last_request());
    world.skill(&["uninstall"]).run().success();
    let listed = [first_line(world, "skills"), first_line(world, "slash_commands")].concat();
    assert!(!listed.iter().any(|name| BOTH.contains(&name.as_str())), "{listed:?}");
}

/// Has claude follow its skill up to a command, and gives what the model was told of its output.
fn told_after(world: &World, command: &str) -> crate::model_api::ModelRequest {
    world.skill(&["install", "--agent", "claude"]).run().success();
    world.api.answer_with_bash_once("Claude Code sessions by name", command);
    // no option allows anything: the skill has to
    let call = world.call_agent(&["-p", "/claude-code-invoke-persist what is saved here?", "--output-format", "json"]);
    let outcome = call.run().success();
    let requests = world.api.requests();
    let asked = requests.iter().find(|request| request.mentions("Claude Code sessions by name"));
    assert!(asked.is_some(), "the text of the skill did not reach the model\n{outcome}");
    world.api.last_request()
}

fn claude_runs_the_program_that_the_skill_allows(world: &World) {
    world.call_for(Agent::Claude, "create-session", &["--session-name", "saved-here", "--adopt", "i"]).run().success();
    let request = told_after(world, "invoke-persist list-sessions");
    assert!(request.mentions("saved-here") && request.mentions("alias_count"), "{request:#?}");
}

/// What the skill's own text tells to do is allowed, too: a prompt with quotes in a here-document, and reference texts
/// by a command.
fn claude_may_pipe_a_prompt_and_print_a_reference(world: &World) {
    let resume = "invoke-persist --backend claude resume-json --session-name nobody --prompt - --print-result <<'PROMPT'\n\
                  Compare \"old\" and 'new':\n$HOME stays as it is written.\nPROMPT";
    let request = told_after(world, resume);
    assert!(request.mentions("no claude session is named 'nobody'"), "{request:#?}");
    let request = told_after(world, "invoke-persist skill show claude-code-invoke-persist creation");
    assert!(request.mentions("# Creating a Claude Code session"), "{request:#?}");
}

fn codex_hides_both_until_they_are_named(world: &World) {
    let shown = || world.call_agent(&["debug", "prompt-input", "hello"]).run().success().stdout;
    world.skill(&["install", "--agent", "codex"]).run().success();
    let hidden = shown();
    assert!(!BOTH.iter().any(|skill| hidden.contains(skill)), "{hidden}");
    // without its policy it would be shown, so it is found
    let policy = world.path("home/.agents/skills").join(BOTH[0]).join("agents/openai.yaml");
    let text = std::fs::read(&policy).expect("it was installed");
    std::fs::remove_file(&policy).expect("it can be removed");
    assert!(shown().contains(BOTH[0]), "{}", shown());
    std::fs::write(&policy, text).expect("it can be put back");

    let call = ["--session-name", "named", "--init-prompt", "$codex-cli-invoke-persist list what is saved"];
    world.call("create-session", &call).run().success();
    assert!(world.api.last_request().mentions("# Codex CLI sessions by name"), "{:#?}", world.api.last_request());

    world.skill(&["uninstall"]).run().success();
    let call = ["--session-name", "gone", "--init-prompt", "$codex-cli-invoke-persist list what is saved"];
    world.call("create-session", &call).run().success();
    assert!(!world.api.last_request().mentions("# Codex CLI sessions by name"), "{:#?}", world.api.last_request());
}
