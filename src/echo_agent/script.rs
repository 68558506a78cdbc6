//! The scripts of the echo agent, which list its actions in each turn. `echo-agent --help` documents the language.

use std::path::Path;
use std::time::Duration;

use crate::backend::Cause;
use crate::backend::echo::{EchoOutcome, EchoTokens, EchoTool};
use crate::error::{Error, Result};
use crate::input;
use crate::turn::duration;

/// What the echo agent does in its turns.
#[derive(Debug, Default)]
pub(super) struct Script {
    sections: Vec<Section>,
}

#[derive(Debug)]
struct Section {
    /// `None`: every turn that no other section is for.
    turn: Option<usize>,
    /// Its line in the file.
    line: usize,
    actions: Vec<ScriptAction>,
}

/// A line of a script.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ScriptAction {
    Say(String),
    Sleep(Duration),
    Tool(EchoTool),
    Usage(EchoTokens),
    Fail(Cause, Option<Duration>),
    Exit(i32),
    Hang,
    Garbage,
    Empty,
}

impl ScriptAction {
    /// Returns whether nothing can follow it.
    fn is_last(&self) -> bool {
        matches!(self, Self::Fail(..) | Self::Exit(_) | Self::Hang | Self::Garbage | Self::Empty)
    }
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    ///
    /// A usage error with the line that cannot be read.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let text = input::text_file(path, "the script", None)?;
        Self::parse(&text).map_err(|(line, why)| {
            Error::usage(format!("cannot read the script {}: line {line}: {why}", path.display()))
                .with_hint("see invoke-persist echo-agent --help")
        })
    }

    /// Returns the script, or a line number and what is wrong with the line.
    fn parse(text: &str) -> std::result::Result<Self, (usize, String)> {
        let mut script = Self::default();
        for (at, text) in text.lines().enumerate() {
            let line = at + 1;
            script.line(line, text).map_err(|why| (line, why))?;
        }
        Ok(script)
    }

    fn line(&mut self, line: usize, text: &str) -> std::result::Result<(), String> {
        if text.trim_start().starts_with('#') {
            return Ok(());
        }
        let words = shell_words::split(text).map_err(|_| "a quote is not closed".to_owned())?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            [] => Ok(()),
            ["every", "turn"] => self.begin(None, line),
            ["every", ..] => Err("write 'every turn'".to_owned()),
            ["turn", number] => match number.parse() {
                Ok(number) if number > 0 => self.begin(Some(number), line),
                _ => Err(format!("'{number}' is not the number of a turn")),
            },
            ["turn", ..] => Err("write 'turn' and a number".to_owned()),
            [name, ref arguments @ ..] => {
                let action = action(name, arguments)?;
                if self.sections.is_empty() {
                    self.begin(None, line)?;
                }
                let actions = &mut self.sections.last_mut().expect("there is one").actions;
                if actions.last().is_some_and(ScriptAction::is_last) {
                    return Err(format!("'{name}' is never reached: the action before it ends the turn"));
                }
                actions.push(action);
                Ok(())
            }
        }
    }

    fn begin(&mut self, turn: Option<usize>, line: usize) -> std::result::Result<(), String> {
        if let Some(other) = self.sections.iter().find(|section| section.turn == turn) {
            return Err(format!("this section began in line {} already", other.line));
        }
        self.sections.push(Section { turn, line, actions: Vec::new() });
        Ok(())
    }

    /// Returns the actions of a turn; none if the script does not mention it.
    pub(super) fn actions(&self, turn: usize) -> &[ScriptAction] {
        let of = |wanted| self.sections.iter().find(|section| section.turn == wanted);
        of(Some(turn)).or_else(|| of(None)).map_or(&[], |section| &section.actions)
    }

    /// Returns the tokens of a turn, if the script has them.
    pub(super) fn tokens(&self, turn: usize) -> Option<EchoTokens> {
        let tokens =
            |action: &ScriptAction| if let ScriptAction::Usage(tokens) = action { Some(*tokens) } else { None };
        self.actions(turn).iter().rev().find_map(tokens)
    }

    /// Returns the tokens of a session's turns up to `turn`.
    pub(super) fn session_tokens(&self, turn: usize) -> EchoTokens {
        let all = (1..=turn).filter_map(|turn| self.tokens(turn));
        all.fold(EchoTokens::default(), |sum, tokens| EchoTokens {
            input: sum.input.saturating_add(tokens.input),
            output: sum.output.saturating_add(tokens.output),
        })
    }
}

fn action(name: &str, arguments: &[&str]) -> std::result::Result<ScriptAction, String> {
    let needs = |what: &str| Err(format!("'{name}' needs {what}"));
    Ok(match (name, arguments) {
        ("say", [_, ..]) => ScriptAction::Say(text(arguments)),
        ("say", []) => return needs("a text"),
        ("sleep", [duration]) => ScriptAction::Sleep(parse_duration(duration)?),
        ("sleep", _) => return needs("one duration, such as 2s or 500ms"),
        ("tool", [tool, rest @ ..]) => {
            let (input, output) = input_and_output(rest);
            ScriptAction::Tool(EchoTool { name: (*tool).to_owned(), input, outcome: EchoOutcome::Success(output) })
        }
        ("fail-tool", [tool, rest @ ..]) => {
            let (input, output) = input_and_output(rest);
            ScriptAction::Tool(EchoTool { name: (*tool).to_owned(), input, outcome: EchoOutcome::Failure(output) })
        }
        ("refuse", [tool, rest @ ..]) if !rest.contains(&"=>") => {
            ScriptAction::Tool(EchoTool { name: (*tool).to_owned(), input: text(rest), outcome: EchoOutcome::Refused })
        }
        ("refuse", [_, ..]) => return Err("a refused tool has no output".to_owned()),
        ("tool" | "fail-tool" | "refuse", []) => return needs("the name of a tool"),
        ("usage", [input, output]) => {
            let count = |text: &str| text.parse().map_err(|_| format!("'{text}' is not a number of tokens"));
            ScriptAction::Usage(EchoTokens { input: count(input)?, output: count(output)? })
        }
        ("usage", _) => return needs("the numbers of input and output tokens"),
        ("fail", [cause]) => ScriptAction::Fail(parse_cause(cause)?, None),
        ("fail", [cause, "retry-after", duration]) => match parse_cause(cause)? {
            cause @ (Cause::RateLimited | Cause::UsageLimit) => {
                ScriptAction::Fail(cause, Some(parse_duration(duration)?))
            }
            _ => return Err(format!("agents give no time to try again after {cause}")),
        },
        ("fail", _) => return needs("a cause, and at most 'retry-after' and a duration"),
        ("exit", [status]) => match status.parse::<u8>() {
            Ok(status) => ScriptAction::Exit(status.into()),
            Err(_) => return Err(format!("'{status}' is not an exit status from 0 to 255")),
        },
        ("exit", _) => return needs("one exit status"),
        ("hang", []) => ScriptAction::Hang,
        ("garbage", []) => ScriptAction::Garbage,
        ("empty", []) => ScriptAction::Empty,
        ("hang" | "garbage" | "empty", _) => return Err(format!("'{name}' takes nothing after it")),
        _ => {
            const NAMES: &str = "say, sleep, tool, fail-tool, refuse, usage, fail, exit, hang, garbage or empty";
            return Err(format!("unknown action '{name}'; use {NAMES}"));
        }
    })
}

/// Joins words. In them, `\n` is a line break.
fn text(words: &[&str]) -> String {
    words.join(" ").replace("\\n", "\n")
}

fn input_and_output(words: &[&str]) -> (String, String) {
    let at = words.iter().position(|word| *word == "=>").unwrap_or(words.len());
    (text(&words[..at]), text(words.get(at + 1..).unwrap_or_default()))
}

fn parse_cause(name: &str) -> std::result::Result<Cause, String> {
    let found = Cause::ALL.into_iter().find(|cause| cause.name() == name);
    found.ok_or_else(|| {
        let names = Cause::ALL.map(Cause::name).join(", ");
        format!("unknown cause '{name}'; use one of {names}")
    })
}

fn parse_duration(text: &str) -> std::result::Result<Duration, String> {
    duration::parse(text).ok_or_else(|| format!("'{text}' is not a duration, such as 2s or 500ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_before_the_first_section_are_of_every_turn() {
        let script = Script::parse("say a # not b\nturn 2\nsay 'c d' e\nusage 1 2\n\nturn 3\nusage 10 20").unwrap();
        assert_eq!(script.actions(1), [ScriptAction::Say("a".to_owned())]);
        assert_eq!(script.actions(2)[0], ScriptAction::Say("c d e".to_owned()));
        assert_eq!(script.actions(7), script.actions(1));
        assert_eq!(script.tokens(1), None);
        assert_eq!(script.session_tokens(3), EchoTokens { input: 11, output: 22 });
        assert!(Script::default().actions(1).is_empty());
    }

    #[test]
    fn texts_may_have_line_breaks_and_tools_may_have_no_output() {
        let tool = |name: &str, input: &str, outcome| {
            let (name, input) = (name.to_owned(), input.to_owned());
            ScriptAction::Tool(EchoTool { name, input, outcome })
        };
        let script = r#"
            tool Bash cargo test => "ok\n2 passed"
            fail-tool Read x
            refuse Write 'a b'
        "#;
        assert_eq!(
            Script::parse(script).unwrap().actions(1),
            [
                tool("Bash", "cargo test", EchoOutcome::Success("ok\n2 passed".to_owned())),
                tool("Read", "x", EchoOutcome::Failure(String::new())),
                tool("Write", "a b", EchoOutcome::Refused),
            ]
        );
    }

    #[test]
    fn durations_have_units() {
        for (text, millis) in [("2s", 2000), ("500ms", 500), ("1.5m", 90_000), ("3", 3000), ("1h", 3_600_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "s", "-1s", "2d", "x", "nan", "1e300h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
