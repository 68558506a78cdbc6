//! `demo`: the whole round in a temporary workspace, with the echo agent in the place of a real one. Every command shown
//! is run as a process of its own, and what is shown below it is what it printed.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::backend::Backend;
use crate::context::Context;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::ui::Ui;

pub(super) fn run(context: &Context) -> Result<()> {
    let failed = |what: &str, error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("the demo cannot {what}")).with_io_cause(&error)
    };
    let program = std::env::current_exe().map_err(|error| failed("find this program", error))?;
    let dir = tempfile::Builder::new().prefix("invoke-persist-demo-").tempdir();
    let dir = dir.map_err(|error| failed("make a directory", error))?;
    let demo = Demo { ui: &context.ui, program: &program, dir: dir.path() };
    std::fs::create_dir(demo.workspace()).map_err(|error| failed("make a directory", error))?;
    show(&context.ui, "A session has a name, and any later process goes on with it by that name.\n")?;
    show(&context.ui, &format!("The workspace of this round is {}.\n", demo.workspace().display()))?;
    for backend in Backend::ALL {
        show(&context.ui, &format!("\n# {backend}, played by the built-in echo agent\n"))?;
        for line in STEPS {
            demo.step(backend, line)?;
        }
    }
    show(
        &context.ui,
        "\nThat was the whole round; nothing of it is left. With a real agent, leave out --claude-cmd and --codex-cmd.\n",
    )
}

/// The round. `{agent}` is the agent's name.
const STEPS: &[&str] = &[
    "create-session --session-name review-src --model small --{agent}-cmd 'invoke-persist echo-agent {agent}'",
    "resume-json --session-name review-src --prompt 'Look at src/' --{agent}-cmd 'invoke-persist echo-agent {agent}'",
    "resume-json --session-name review-src --prompt 'And the tests?' --print-result --{agent}-cmd 'invoke-persist echo-agent {agent}'",
    "resume-stream --session-name review-src --prompt 'Sum up' --{agent}-cmd 'invoke-persist echo-agent {agent}'",
    "--backend {agent} list-sessions",
    "--backend {agent} rename-session --session-name review-src --to review",
    "--backend {agent} resolve --session-name review",
    "--backend {agent} delete-session --session-name review",
    "--backend {agent} list-sessions --print-aliases",
];

struct Demo<'a> {
    ui: &'a Ui,
    program: &'a Path,
    dir: &'a Path,
}

impl Demo<'_> {
    fn workspace(&self) -> std::path::PathBuf {
        self.dir.join("workspace")
    }

    /// Shows a command, runs it, shows what it prints.
    fn step(&self, backend: Backend, line: &str) -> Result<()> {
        let line = line.replace("{agent}", backend.name());
        show(self.ui, &format!("\n$ invoke-persist {line}\n"))?;
        let mut command = Command::new(self.program);
        let words = shell_words::split(&line).expect("the steps are written here");
        // the program may not be on PATH: the agent's command is this very file
        let here = shell_words::quote(&self.program.to_string_lossy()).into_owned();
        command.args(words.iter().map(|word| word.replace("invoke-persist echo-agent", &format!("{here} echo-agent"))));
        let launch = Backend::ALL.iter().flat_map(|backend| backend.spec().launch_variables);
        for variable in [env::BACKEND, env::HELD_LOCKS, "TEMP", "TMP"].iter().chain(launch) {
            command.env_remove(variable);
        }
        command.current_dir(self.workspace()).env(env::DIR, self.dir).env(env::ECHO_DIR, self.dir.join("echo"));
        let answer = command.stdin(Stdio::null()).output();
        let answer = answer
            .map_err(|error| Error::new(ErrorKind::Io, "the demo cannot run this program").with_io_cause(&error))?;
        let shown: Vec<u8> = [answer.stdout, answer.stderr].concat();
        show(self.ui, &String::from_utf8_lossy(&shown))?;
        if answer.status.success() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Io, format!("the demo failed: {}", answer.status)))
    }
}

fn show(ui: &Ui, text: &str) -> Result<()> {
    ui.print(text)
}
