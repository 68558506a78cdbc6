//! `ask`: `resume-json --print-result` for people, with the name and the prompt as arguments.

use std::ffi::OsStr;

use crate::backend::OutputMode;
use crate::cli::{self, IfMissing, PromptArgs};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::session::{SessionName, is_blank};
use crate::sessions::selector::SessionSelector;
use crate::turn::resume::{ResumeRequest, resume_and_print};
use crate::ui::shell::quote;

pub(super) fn run(context: &Context, options: &cli::Ask) -> Result<()> {
    let name = SessionName::new(&options.session_name).ok_or_else(|| Error::usage("the session name is blank"))?;
    let prompt = PromptArgs { prompt: Some(prompt(options, &name)?), prompt_file: None };
    let create_missing = options.create || options.options.if_missing == IfMissing::Create;
    let request = ResumeRequest {
        selector: SessionSelector { name: Some(name.clone()), id: None },
        prompt: &prompt,
        options: &options.options,
        create_missing,
        mode: OutputMode::Json,
        render: None,
        prints_id: false,
    };
    resume_and_print(context, request, true, false).map_err(|error| match error.kind {
        ErrorKind::SessionNotFound => with_other_ways(error, &name),
        _ => error,
    })
}

/// Returns the prompt of the command line.
///
/// # Errors
///
/// A usage error with the command to type: for no prompt, for one without quotes, and for an unknown option, which clap
/// takes for a prompt because prompts may begin with a dash.
fn prompt(options: &cli::Ask, name: &SessionName) -> Result<String> {
    let ask = format!("invoke-persist ask {}", quote(name.as_str()));
    let Some(prompt) = &options.prompt else {
        return Err(Error::usage("the prompt is missing").with_hint(format!("add it in quotes: {ask} 'PROMPT'")));
    };
    let option = std::iter::once(prompt).chain(&options.rest).find(|word| cli::looks_like_option(OsStr::new(word)));
    if let Some(option) = option {
        let hint = if option.starts_with("--prompt") {
            format!("put the prompt after the name: {ask} 'PROMPT'")
        } else {
            "see invoke-persist ask --help; read a prompt that is one word with a dash from stdin".to_owned()
        };
        return Err(Error::usage(format!("unexpected argument '{option}'")).with_hint(hint));
    }
    if !options.rest.is_empty() {
        let words: Vec<&str> = std::iter::once(prompt).chain(&options.rest).map(String::as_str).collect();
        return Err(Error::usage("the prompt is several arguments")
            .with_hint(format!("put it in quotes: {ask} {}", quote(&words.join(" ")))));
    }
    if is_blank(prompt) {
        return Err(Error::usage("the prompt is empty").with_hint(format!("write a prompt: {ask} 'PROMPT'")));
    }
    Ok(prompt.clone())
}

/// Adds to the hint how to start the session, or how to use an ID.
fn with_other_ways(error: Error, name: &SessionName) -> Error {
    let hint = error.hint.clone().unwrap_or_default();
    if !hint.contains("names are per workspace") {
        return error; // the hint names the session that was probably meant
    }
    error.with_hint(if is_uuid(name.as_str()) {
        format!("ask takes a name; to use an ID, run: invoke-persist resume-json --session-id {name} --prompt PROMPT --print-result")
    } else {
        format!("{hint}; or add --create to start a session of that name")
    })
}

/// Returns whether `text` has the form of the IDs of both agents.
fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let is_hex = |part: &&str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(is_hex)
}
