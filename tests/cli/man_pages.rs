//! `man`: the manual pages, generated from the help texts.

use std::collections::BTreeSet;
use std::fs;

use crate::support::*;

/// Returns the last word of each visible command.
fn commands(sandbox: &Sandbox, of: &[&str]) -> Vec<String> {
    let help = sandbox.succeeds(&[of, &["--help"]].concat()).stdout_text();
    let Some((_, commands)) = help.split_once("Commands:\n") else { return Vec::new() };
    let commands = commands.lines().take_while(|line| !line.is_empty());
    // deeper lines continue the line before
    let names = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Returns the words of the command of each page.
fn pages(sandbox: &Sandbox) -> Vec<Vec<String>> {
    let mut pages = vec![Vec::new()];
    for command in commands(sandbox, &[]) {
        let own = commands(sandbox, &[&command]);
        pages.push(vec![command.clone()]);
        pages.extend(own.into_iter().map(|own| vec![command.clone(), own]));
    }
    pages
}

fn file_of(page: &[String]) -> String {
    let words: Vec<_> = page.iter().map(|word| format!("-{word}")).collect();
    format!("invoke-persist{}.1", words.concat())
}

fn files_of_topics() -> impl Iterator<Item = String> {
    crate::help::topics().into_iter().map(|(name, _)| format!("invoke-persist-help-{name}.1"))
}

#[test]
fn every_command_has_a_page_with_every_option() {
    let sandbox = Sandbox::new();
    sandbox.succeeds(&["man", "a/b"]).stdout("").stderr("");
    let dir = sandbox.workspace().join("a/b");
    let pages = pages(&sandbox);
    assert!(pages.len() > 14, "{pages:?}");
    let files: BTreeSet<_> =
        fs::read_dir(&dir).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, pages.iter().map(|page| file_of(page)).chain(files_of_topics()).collect());
    for page in &pages {
        let text = fs::read_to_string(dir.join(file_of(page))).unwrap().replace("\\-", "-");
        let words: Vec<_> = page.iter().map(String::as_str).collect();
        let help = sandbox.succeeds(&[&words[..], &["--help"]].concat()).stdout_text();
        let is_option = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let options: Vec<_> = help.split(|c| !is_option(c)).filter(|word| word.starts_with("--")).collect();
        assert!(options.contains(&"--help"), "{help}");
        for option in options.into_iter().filter(|option| option.len() > 2) {
            let named = text.split(|c| !is_option(c)).any(|word| word == option);
            // in the source, the name of a font precedes the option
            assert!(named || text.contains(&format!("fB{option}\\fR")), "{page:?} {option}: {text}");
        }
        assert!(!text.contains("session-alias"), "{text}");
    }
    let text = fs::read_to_string(dir.join("invoke-persist.1")).unwrap();
    assert!(text.contains("EXIT STATUS") && text.contains("\n124\n"), "{text}");
    let topic = fs::read_to_string(dir.join("invoke-persist-help-ci.1")).unwrap();
    assert!(topic.contains("\n.SH \"With Claude Code\"\n") && topic.contains("\npermissions: {}\n"), "{topic}");
    for page in files_of_topics() {
        let name = page.trim_end_matches(".1").replace('-', "\\-");
        assert!(text.contains(&format!("{name}(1)")), "{name}: {text}");
    }
}

#[test]
fn pages_are_replaced_and_other_files_are_not() {
    let sandbox = Sandbox::new();
    let page = sandbox.write("man/invoke-persist.1", "old");
    let other = sandbox.write("man/other.1", "theirs");
    sandbox.succeeds(&["man", "man"]);
    assert!(fs::read_to_string(page).unwrap().starts_with(".TH"));
    assert_eq!(fs::read_to_string(other).unwrap(), "theirs");
}

#[test]
fn error_names_an_unwritable_directory() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "");
    for dir in ["file", "file/man"] {
        sandbox.fails(&["man", dir], 1, "io").message(contains(dir));
    }
    fs::create_dir_all(sandbox.workspace().join("man/invoke-persist-resolve.1")).unwrap();
    sandbox.fails(&["man", "man"], 1, "io").message(contains("invoke-persist-resolve.1"));
    sandbox.fails(&["man"], 2, "usage");
}

#[test]
#[cfg(unix)]
fn pages_have_the_permissions_of_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    let plain = sandbox.write("plain", "");
    sandbox.succeeds(&["man", "man"]);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&sandbox.workspace().join("man/invoke-persist.1")), mode(&plain));
}

#[test]
#[cfg(unix)]
#[ignore = "needs groff"]
fn groff_accepts_every_page() {
    let sandbox = Sandbox::new();
    sandbox.succeeds(&["man", "man"]);
    let groff = |file: &str| {
        let mut groff = std::process::Command::new("groff");
        groff.args(["-man", "-ww", "-Tutf8", "-P-cbou"]).arg(sandbox.workspace().join("man").join(file));
        groff.run().success().stderr("")
    };
    for page in pages(&sandbox) {
        groff(&file_of(&page)).stdout(contains("NAME").and(contains("SYNOPSIS")));
    }
    for ((name, text), file) in crate::help::topics().into_iter().zip(files_of_topics()) {
        let page = groff(&file).stdout_text();
        // groff breaks words with a U+2010
        let without_space = |text: &str| text.replace('\u{2010}', "").split_whitespace().collect::<String>();
        // from the heading above the text to the one below it
        let (_, page) = page.split_once("DESCRIPTION").unwrap();
        let (page, _) = page.rsplit_once("SEE ALSO").unwrap();
        assert_eq!(without_space(page), without_space(&without_markup(&text)), "{name}");
    }
}

/// Returns the text of a topic without its title and without Markdown.
#[cfg(unix)]
fn without_markup(markdown: &str) -> String {
    use pulldown_cmark::{Event, Options, Parser, Tag};
    let (_, body) = markdown.split_once('\n').unwrap();
    let mut text = String::new();
    let mut number = None;
    for event in Parser::new_ext(body, Options::ENABLE_TABLES) {
        match event {
            Event::Text(part) | Event::Code(part) => text.push_str(&part),
            Event::Start(Tag::List(start)) => number = start,
            Event::Start(Tag::Item) => match &mut number {
                Some(number) => {
                    text.push_str(&number.to_string());
                    text.push('.');
                    *number += 1;
                }
                None => text.push('\u{2022}'),
            },
            _ => {}
        }
    }
    text
}
