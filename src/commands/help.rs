//! `help`: prints the help of the program, of a command, or a topic.

use clap::CommandFactory;

use crate::cli::{self, Cli};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::help::{TOPICS, Topic};
use crate::sessions::suggest::similar;

pub(super) fn run(context: &Context, options: &cli::Help) -> Result<()> {
    let ui = &context.ui;
    let topic = match options.names.as_slice() {
        [name] => Topic::from_name(name),
        _ => None,
    };
    if let Some(topic) = topic {
        return ui.print(&topic.markdown(ui.shows_colors()));
    }
    let mut cli = Cli::command();
    cli.build(); // also builds the options of each command, which are deferred otherwise
    let mut command = &mut cli;
    for (index, name) in options.names.iter().enumerate() {
        let has_command = command.find_subcommand(name).is_some();
        if !has_command {
            // no name can follow a topic
            let end = if Topic::from_name(name).is_some() { options.names.len() } else { index + 1 };
            return Err(unknown(command, index == 0, name, &options.names[..end].join(" ")));
        }
        command = command.find_subcommand_mut(name).expect("it has just been found");
    }
    let help = command.render_long_help();
    let help = if ui.shows_colors() { help.ansi().to_string() } else { help.to_string() };
    ui.print(&format!("{}\n", help.trim_end()))
}

/// Returns the error for `name`, which is not below `command`. `typed` is the name with the commands before it.
fn unknown(command: &clap::Command, has_topics: bool, name: &str, typed: &str) -> Error {
    let visible = command.get_subcommands().filter(|command| !command.is_hide_set());
    let commands: Vec<_> = visible.map(clap::Command::get_name).collect();
    let topics: Vec<_> = TOPICS.iter().filter(|_| has_topics).map(|topic| topic.name).collect();
    let kind = if has_topics { "command or topic" } else { "command" };
    let error = Error::usage(format!("unknown {kind} '{typed}'"));
    let mut lists = Vec::new();
    if !commands.is_empty() {
        lists.push(format!("the commands {}", commands.join(", ")));
    }
    if !topics.is_empty() {
        lists.push(format!("the topics {}", topics.join(", ")));
    }
    if lists.is_empty() {
        return error.with_hint(format!("remove '{name}'"));
    }
    let lists = format!("use one of {}", lists.join(" or "));
    error.with_hint(match similar(commands.into_iter().chain(topics), name).first() {
        Some(similar) => format!("use {similar}; or {lists}"),
        None => lists,
    })
}
