//! `man`: writes the manual pages, one for the program and one for every command, made from the same comments as the
//! help.

use std::fs;
use std::path::Path;

use clap::builder::StyledStr;
use clap::{Arg, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::cli::{self, Cli, EXIT_STATUSES};
use crate::error::{Error, ErrorKind, Result};
use crate::sys;

pub(super) fn run(options: &cli::Man) -> Result<()> {
    let mut cli = Cli::command();
    cli.build(); // with every command's options, which are otherwise made when it is called
    let mut pages = vec![page(&cli, true)];
    collect(&cli, &mut pages);
    // they are for everybody whom the caller lets read them
    sys::with_callers_umask(|| write(&options.dir, &pages))
}

/// A file name and what stands in it.
type Page = (String, Vec<u8>);

fn collect(command: &clap::Command, pages: &mut Vec<Page>) {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        pages.push(page(command, false));
        collect(command, pages);
    }
}

fn write(dir: &Path, pages: &[Page]) -> Result<()> {
    let failed = |path: &Path, what: &str, error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("the {what} '{}' cannot be written", path.display())).with_io_cause(&error)
    };
    fs::create_dir_all(dir).map_err(|error| failed(dir, "directory", error))?;
    for (name, text) in pages {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|error| failed(&path, "page", error))?;
    }
    Ok(())
}

fn page(command: &clap::Command, of_program: bool) -> Page {
    let command = command.clone().mut_args(with_aliases);
    let has_commands = command.has_subcommands();
    let man = Man::new(command.clone().subcommand_help_heading("COMMANDS").subcommand_value_name("COMMAND"));
    let file = man.get_filename();
    let title = file.trim_end_matches(".1");
    // not the title that `Man` makes: without a date its parts stand in the wrong places
    let mut text =
        format!(".TH {title} 1 \"\" \"invoke-persist {}\" invoke-persist\n", env!("CARGO_PKG_VERSION")).into();
    let render = |text: &mut Vec<u8>| {
        man.render_name_section(text)?;
        man.render_synopsis_section(text)?;
        man.render_description_section(text)?;
        man.render_options_section(text)?;
        if has_commands {
            man.render_subcommands_section(text)?;
        }
        let mut end = Roff::new();
        examples(&command, &mut end);
        if of_program {
            exit_statuses(&mut end);
        } else {
            end.control("SH", ["SEE ALSO"]).text([roman("invoke-persist(1)")]);
        }
        end.to_writer(text)
    };
    render(&mut text).expect("memory can be written to");
    (file, text)
}

/// The examples that end a command's help, as a section of its page.
fn examples(command: &clap::Command, roff: &mut Roff) {
    let help = command.get_after_long_help().map(StyledStr::to_string).unwrap_or_default();
    let Some(examples) = help.strip_prefix("Examples:\n") else { return };
    roff.control("SH", ["EXAMPLES"]).control("EX", []);
    for example in examples.lines() {
        roff.text([roman(example.trim())]);
    }
    roff.control("EE", []);
}

/// The list that ends the help, as a section of the page.
fn exit_statuses(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for line in EXIT_STATUSES.lines().skip(1) {
        let (status, meaning) = line.trim().split_once("  ").unwrap_or((line, ""));
        roff.control("TP", []).text([roman(status)]).text([roman(meaning.trim())]);
    }
}

/// `arg` whose help names its other spellings, which pages leave out.
fn with_aliases(arg: Arg) -> Arg {
    let aliases = arg.get_visible_aliases().unwrap_or_default();
    if aliases.is_empty() {
        return arg;
    }
    let aliases: Vec<_> = aliases.iter().map(|alias| format!("--{alias}")).collect();
    let help = arg.get_help().map(StyledStr::to_string).unwrap_or_default();
    let help = format!("{help} [also: {}]", aliases.join(", "));
    arg.help(help)
}
