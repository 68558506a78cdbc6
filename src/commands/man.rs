//! `man`: writes the manual pages, one for the program, one for each command and one for each topic, from the texts of
//! the help.

use std::fs;
use std::path::Path;

use clap::builder::StyledStr;
use clap::{Arg, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::cli::{self, Cli, EXIT_STATUSES};
use crate::error::{Error, ErrorKind, Result};
use crate::help::TOPICS;
use crate::sys;

pub(super) fn run(options: &cli::Man) -> Result<()> {
    let mut cli = Cli::command();
    cli.build(); // also builds the options of each command, which are deferred otherwise
    let mut pages = vec![page(&cli, true)];
    collect(&cli, &mut pages);
    pages.extend(TOPICS.iter().map(|topic| (format!("{}.1", topic.page_name()), topic.roff().into_bytes())));
    // the caller decides who may read the pages
    sys::with_callers_umask(|| write(&options.dir, &pages))
}

/// A file name and its content.
type Page = (String, Vec<u8>);

fn collect(command: &clap::Command, pages: &mut Vec<Page>) {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        pages.push(page(command, false));
        collect(command, pages);
    }
}

fn write(dir: &Path, pages: &[Page]) -> Result<()> {
    let failed = |path: &Path, what: &str, error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("cannot {what} '{}'", path.display())).with_io_cause(&error)
    };
    fs::create_dir_all(dir).map_err(|error| failed(dir, "create the directory", error))?;
    for (name, text) in pages {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|error| failed(&path, "write", error))?;
    }
    Ok(())
}

fn page(command: &clap::Command, of_program: bool) -> Page {
    let command = command.clone().mut_args(with_aliases);
    let has_commands = command.has_subcommands();
    let man = Man::new(command.clone().subcommand_help_heading("COMMANDS").subcommand_value_name("COMMAND"));
    let file = man.get_filename();
    let title = file.trim_end_matches(".1");
    // `Man` renders the title with its parts in the wrong places if there is no date
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
        let also = if of_program {
            exit_statuses(&mut end);
            let topics: Vec<_> = TOPICS.iter().map(|topic| format!("{}(1)", topic.page_name())).collect();
            topics.join(", ")
        } else {
            "invoke-persist(1)".to_owned()
        };
        end.control("SH", ["SEE ALSO"]).text([roman(also)]);
        end.to_writer(text)
    };
    render(&mut text).expect("writing to memory cannot fail");
    (file, text)
}

fn examples(command: &clap::Command, roff: &mut Roff) {
    let examples = cli::examples(command.get_name());
    if examples.is_empty() {
        return;
    }
    roff.control("SH", ["EXAMPLES"]).control("EX", []);
    for example in examples {
        roff.text([roman(*example)]);
    }
    roff.control("EE", []);
}

fn exit_statuses(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in EXIT_STATUSES {
        roff.control("TP", []).text([roman(*status)]).text([roman(*meaning)]);
    }
}

/// Adds the visible aliases of `arg` to its help, because `Man` omits them.
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
