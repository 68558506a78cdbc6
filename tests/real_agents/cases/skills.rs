//! The skills in their hosts: both hosts find the installed skills, run them only if the user calls them, and follow
//! them.

use serde_json::Value;

use crate::{agents::Agent, world::World};

real_agent_tests! { claude:
    claude_lists_installed_skills_only,
    claude_runs_the_program_that_the_skill_allows,
    claude_may_pipe_a_prompt_and_print_a_reference,
}
real_agent_tests! { codex: codex_hides_skills_until_the_prompt_names_one }

const BOTH: [&str; 2] = ["claude-code-invoke-persist", "codex-cli-invoke-persist"];

/// Returns the list `key` in the first line of a stream.
fn first_line(world: &World, key: &str) -> Vec<String> {
    let call = world.call_agent(&["-p", "hello", "--output-format", "stream-json", "--verbose"]);
    let lines = call.run().success().json_lines();
    let listed = lines[0][key].as_array().unwrap_or_else(|| panic!("no {key} in {}", lines[0]));
    listed.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn claude_lists_installed_skills_only(world: &World) {
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

/// Makes claude follow its skill up to a command. Returns the request with the output of the command.
fn request_after(world: &World, command: &str) -> crate::model_api::ModelRequest {
    world.skill(&["install", "--agent", "claude"]).run().success();
    world.api.answer_with_bash_once("Claude Code sessions by name", command);
    // no option allows the command, so the skill must allow it
    let call = world.call_agent(&["-p", "/claude-code-invoke-persist what is saved here?", "--output-format", "json"]);
    let outcome = call.run().success();
    let requests = world.api.requests();
    let asked = requests.iter().find(|request| request.mentions("Claude Code sessions by name"));
    assert!(asked.is_some(), "the text of the skill did not reach the model\n{outcome}");
    world.api.last_request()
}

fn claude_runs_the_program_that_the_skill_allows(world: &World) {
    world.call_for(Agent::Claude, "create-session", &["--session-name", "saved-here", "--adopt", "i"]).run().success();
    let request = request_after(world, "invoke-persist list-sessions");
    assert!(request.mentions("saved-here") && request.mentions("alias_count"), "{request:#?}");
}

/// The commands in the skill's text are allowed too: a prompt with quotes in a here-document, and the command that
/// prints a reference.
fn claude_may_pipe_a_prompt_and_print_a_reference(world: &World) {
    let resume = "invoke-persist --backend claude resume-json --session-name nobody --prompt - --print-result <<'PROMPT'\n\
                  Compare \"old\" and 'new':\n$HOME stays as it is written.\nPROMPT";
    let request = request_after(world, resume);
    assert!(request.mentions("no claude session is named 'nobody'"), "{request:#?}");
    let request = request_after(world, "invoke-persist skill show claude-code-invoke-persist creation");
    assert!(request.mentions("# Creating a Claude Code session"), "{request:#?}");
}

fn codex_hides_skills_until_the_prompt_names_one(world: &World) {
    let shown = || world.call_agent(&["debug", "prompt-input", "hello"]).run().success().stdout;
    world.skill(&["install", "--agent", "codex"]).run().success();
    let hidden = shown();
    assert!(!BOTH.iter().any(|skill| hidden.contains(skill)), "{hidden}");
    // codex finds the skill, because it shows it once the policy is removed
    let policy = world.path("home/.agents/skills").join(BOTH[0]).join("agents/openai.yaml");
    let text = std::fs::read(&policy).expect("the policy is installed");
    std::fs::remove_file(&policy).expect("the policy can be removed");
    assert!(shown().contains(BOTH[0]), "{}", shown());
    std::fs::write(&policy, text).expect("the policy can be restored");

    let call = ["--session-name", "named", "--init-prompt", "$codex-cli-invoke-persist list what is saved"];
    world.call("create-session", &call).run().success();
    assert!(world.api.last_request().mentions("# Codex CLI sessions by name"), "{:#?}", world.api.last_request());

    world.skill(&["uninstall"]).run().success();
    let call = ["--session-name", "gone", "--init-prompt", "$codex-cli-invoke-persist list what is saved"];
    world.call("create-session", &call).run().success();
    assert!(!world.api.last_request().mentions("# Codex CLI sessions by name"), "{:#?}", world.api.last_request());
}
