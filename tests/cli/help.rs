//! `help`: the help of the commands, and the topics below `src/help`.

use std::fs;
use std::path::Path;

use crate::support::*;

/// Returns the name and the text of each file of a topic.
pub(crate) fn topics() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/help");
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let pages = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut topics: Vec<_> = pages
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    topics.sort();
    topics
}

/// Returns the names in the section of the help of `words` that begins with `heading`.
fn names_below(heading: &str, sandbox: &Sandbox, words: &[&str]) -> Vec<String> {
    let help = sandbox.succeeds(&[words, &["--help"]].concat()).stdout_text();
    let Some((_, rest)) = help.split_once(heading) else { return Vec::new() };
    let lines = rest.lines().skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[test]
fn help_is_the_help_of_the_program_or_of_a_command() {
    let sandbox = Sandbox::new();
    let same = |words: &[&str]| {
        let shown = sandbox.succeeds(&[&["help"], words].concat()).stderr("").stdout_text();
        let help = sandbox.succeeds(&[words, &["--help"]].concat()).stdout_text();
        assert_eq!(shown.replace(".exe", ""), help.replace(".exe", ""), "{words:?}");
    };
    same(&[]);
    let commands = names_below("Commands:", &sandbox, &[]);
    assert!(commands.len() >= 15 && commands.contains(&"help".to_owned()), "{commands:?}");
    for command in &commands {
        same(&[command]);
    }
    let own = names_below("Commands:", &sandbox, &["skill"]);
    assert!(own.len() >= 7, "{own:?}");
    for own in &own {
        same(&["skill", own]);
    }
    sandbox.succeeds(&["help", "echo-agent"]).stdout(contains("Usage: invoke-persist echo-agent"));
    assert!(sandbox.calls().is_empty());
}

#[test]
fn topics_are_printed_as_they_are_and_listed() {
    let sandbox = Sandbox::new();
    let topics = topics();
    assert!(topics.len() >= 12, "{topics:?}");
    for (name, text) in &topics {
        sandbox.succeeds(&["help", name]).stdout(text.clone()).stderr("");
        sandbox.succeeds(&["--quiet", "help", name]).stdout(text.clone());
    }
    let names: Vec<_> = topics.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names_below("Topics", &sandbox, &[]), names);
}

#[test]
fn topic_has_a_title_of_one_line_and_no_name_of_a_command() {
    let sandbox = Sandbox::new();
    let commands = names_below("Commands:", &sandbox, &[]);
    let help = sandbox.succeeds(&["--help"]).stdout_text();
    for (name, text) in topics() {
        assert!(!commands.contains(&name), "{name}");
        let title = text.lines().next().and_then(|line| line.strip_prefix("# ")).expect("a page begins with its title");
        assert!(title.len() <= 58 && help.contains(&format!(" {title}\n")), "{name}: {title}");
        assert_eq!(text.matches("\n# ").filter(|_| !text.contains("```")).count(), 0, "{name} has one title");
        let after_title = text.lines().nth(2).unwrap();
        assert!(after_title.starts_with(char::is_alphabetic) || after_title.starts_with('`'), "{name}: {after_title}");
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{name}");
    }
}

#[test]
fn lines_of_a_topic_fit_a_terminal() {
    for (name, text) in topics() {
        let mut in_code = false;
        for line in text.lines() {
            in_code ^= line.starts_with("```");
            // a table or an output cannot be wrapped
            assert!(in_code || line.starts_with('|') || line.chars().count() <= 80, "{name}: {line}");
        }
    }
}

#[test]
fn unknown_name_is_an_error_with_the_names_that_exist() {
    let sandbox = Sandbox::new();
    let unknown = |words: &[&str]| sandbox.fails(&[&["help"], words].concat(), 2, "usage").before_the_turn();
    let names = || contains("resume-json, ").and(contains("ci, deadlines, "));
    unknown(&["outptu"])
        .message(contains("unknown command or topic 'outptu'"))
        .hint(starts_with("use 'output'; ").and(names()));
    unknown(&["resume-jsn"]).hint(starts_with("use 'resume-json'; "));
    unknown(&["qqq"]).message(contains("'qqq'")).hint(names().and(starts_with("use one of the commands ")));
    unknown(&[""]).message(contains("''"));
    unknown(&["skill", "instal"])
        .message(contains("unknown command 'skill instal'"))
        .hint(starts_with("use 'install'; ").and(contains("list, update")));
    unknown(&["ci", "ci"]).message(contains("'ci ci'"));
    unknown(&["resolve", "resolve"]).message(contains("'resolve resolve'"));
    let text = sandbox.run(&["help", "a\u{1b}[2J"]).code(2).stderr_text();
    assert!(text.contains("'a\\u{1b}[2J'") && !text.contains('\u{1b}'), "{text}");
    sandbox.fails(&["help", "ci", "--prompt", "x"], 2, "usage");
}

#[test]
#[cfg(target_os = "linux")]
fn headings_are_bold_at_a_terminal() {
    let mut sandbox = Sandbox::new();
    for (name, text) in topics() {
        let shown = Terminal::of_width(80).shows(sandbox.cmd(&["help", &name]));
        let plain = console::strip_ansi_codes(&shown).into_owned();
        assert_eq!(plain, text, "{name}");
        let title = text.lines().next().unwrap();
        assert!(shown.starts_with(&format!("\u{1b}[1m{title}\u{1b}[0m\n")), "{name}: {shown:?}");
    }
    let ci = Terminal::of_width(80).shows(sandbox.cmd(&["help", "ci"]));
    assert!(ci.contains("\u{1b}[1m## ") && ci.contains("\n# ") && !ci.contains("\u{1b}[1m# A"), "{ci:?}");
    let help = |words: &[&str]| Terminal::of_width(80).shows(sandbox.cmd(words));
    assert_eq!(help(&["help", "resolve"]), help(&["resolve", "--help"]));
    sandbox.env("NO_COLOR", "1");
    let (_, text) = topics().swap_remove(0);
    assert_eq!(Terminal::of_width(80).shows(sandbox.cmd(&["help", &topics()[0].0])), text);
}

#[test]
#[cfg(unix)]
fn closed_pipe_ends_the_page_quietly() {
    let sandbox = Sandbox::new();
    let mut shell = std::process::Command::new("bash");
    let line = format!("set -o pipefail; '{}' help ci | true", env!("CARGO_BIN_EXE_invoke-persist"));
    shell.args(["-c", &line]).current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
    shell.run().success().stderr("");
}

/// The subset of Markdown that `man` converts (`src/help/roff.rs`), checked by a complete parser.
#[test]
fn topics_use_only_markdown_that_manual_pages_support() {
    use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag};
    for (name, text) in topics() {
        let mut depth = 0;
        for (event, range) in Parser::new_ext(&text, Options::ENABLE_TABLES).into_offset_iter() {
            let source = &text[range];
            match event {
                Event::Start(Tag::List(_)) => depth += 1,
                Event::End(pulldown_cmark::TagEnd::List(_)) => depth -= 1,
                _ => {}
            }
            let is_supported = match event {
                Event::Start(ref tag) => match tag {
                    Tag::Heading { level, .. } => *level <= HeadingLevel::H3 && source.starts_with('#'),
                    Tag::CodeBlock(kind) => matches!(kind, CodeBlockKind::Fenced(_)) && source.starts_with("```"),
                    Tag::List(_) => depth == 1,
                    Tag::Table(columns) => columns.len() <= 3,
                    Tag::Strong => source.starts_with("**"),
                    Tag::Paragraph | Tag::Item | Tag::TableHead | Tag::TableRow | Tag::TableCell => true,
                    _ => false,
                },
                Event::Code(_) => !source.starts_with("``") && !source.contains('\n'),
                Event::Text(_) | Event::End(_) | Event::SoftBreak => true,
                _ => false,
            };
            assert!(is_supported, "{name}: {event:?} is not supported: {source}");
        }
    }
}
