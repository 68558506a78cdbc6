//! Reads the prompt of a turn, and the role.

use std::path::Path;
use std::time::Instant;

use crate::cli;
use crate::error::{Error, Result};
use crate::input;
use crate::session::is_blank;

/// The source of a prompt.
pub(crate) enum PromptSource<'a> {
    Text(&'a str),
    File(&'a Path),
    StandardInput,
}

impl<'a> PromptSource<'a> {
    /// Returns the source that the options select. `stdin` means that standard input is appended to the prompt.
    ///
    /// # Errors
    ///
    /// A usage error if the options name none, more than one, or an empty prompt.
    pub(crate) fn of(options: &'a cli::PromptArgs, stdin: bool) -> Result<Self> {
        let source = match (options.prompt.as_deref(), options.prompt_file.as_deref()) {
            (Some(_), Some(_)) => {
                return Err(Error::usage("--prompt and --prompt-file are both given").with_hint("remove one of them"));
            }
            (None, None) => {
                return Err(Error::usage("the prompt is missing")
                    .with_hint("add --prompt TEXT, or --prompt - to read standard input"));
            }
            (Some("-"), None) => Self::StandardInput,
            (Some(text), None) if is_blank(text) => return Err(empty_prompt("pass a prompt with --prompt TEXT")),
            (Some(text), None) => Self::Text(text),
            (None, Some(path)) if path == Path::new("-") => Self::StandardInput,
            (None, Some(path)) => Self::File(path),
        };
        if stdin && matches!(source, Self::StandardInput) {
            return Err(Error::usage("the prompt and --stdin both read standard input").with_hint("remove one of them"));
        }
        Ok(source)
    }

    /// Reads the prompt. The wait for it ends at `deadline`.
    pub(crate) fn read(self, deadline: Option<Instant>) -> Result<Prompt> {
        let (bytes, hint) = match self {
            Self::Text(text) => return Ok(Prompt::text(text)),
            Self::File(path) => (input::file(path, "--prompt-file", deadline)?, "write the prompt into the file"),
            Self::StandardInput => {
                (input::standard_input(deadline)?, "check the program or file that stdin comes from")
            }
        };
        if std::str::from_utf8(&bytes).is_ok_and(is_blank) {
            return Err(empty_prompt(hint));
        }
        Ok(Prompt { bytes, by_stdin: true })
    }
}

fn empty_prompt(hint: &str) -> Error {
    Error::usage("the prompt is empty").with_hint(hint)
}

/// A prompt.
#[derive(Clone, Debug)]
pub(crate) struct Prompt {
    pub(crate) bytes: Vec<u8>,
    /// Whether it was read from a file or standard input. The agent then receives it on standard input, so it may have
    /// any bytes and any size.
    pub(crate) by_stdin: bool,
}

impl Prompt {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { bytes: text.into().into_bytes(), by_stdin: false }
    }

    /// Returns this prompt followed by all of standard input, between `<stdin>` tags. Empty input gets empty tags.
    pub(crate) fn with_stdin(mut self, deadline: Option<Instant>) -> Result<Self> {
        let data = input::standard_input(deadline)?;
        self.bytes.extend_from_slice(b"\n\n<stdin>\n");
        self.bytes.extend_from_slice(&data);
        if !data.is_empty() && !data.ends_with(b"\n") {
            self.bytes.push(b'\n');
        }
        self.bytes.extend_from_slice(b"</stdin>\n");
        self.by_stdin = true;
        Ok(self)
    }
}

/// Reads a role file.
pub(crate) fn read_role(path: Option<&Path>, deadline: Option<Instant>) -> Result<Option<String>> {
    let Some(path) = path else { return Ok(None) };
    if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("md")) {
        return Err(Error::usage(format!("--role-definition-md {} is not a .md file", path.display())));
    }
    let text = input::text_file(path, "--role-definition-md", deadline)?;
    Ok(Some(text.replace("\r\n", "\n").replace('\r', "\n"))) // like Python's text mode
}
