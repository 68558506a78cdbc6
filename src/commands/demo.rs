//! `demo`: runs the commands in a temporary workspace with the echo agent. Each command is printed, run as a separate
//! process, and followed by its output.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::backend::Backend;
use crate::context::Context;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::late_signal;
use crate::process::Runner;
use crate::ui::Ui;

pub(super) fn run(context: &Context) -> Result<()> {
    let failed = |what: &str, error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("cannot {what} for the demo")).with_io_cause(&error)
    };
    let program = std::env::current_exe().map_err(|error| failed("find this program", error))?;
    // the first signal is kept until the directory can be removed
    let runner = Runner::new(None).map_err(|error| failed("handle signals", error))?;
    runner.turn_is_done();
    drop(runner);
    let dir = tempfile::Builder::new().prefix("invoke-persist-demo-").tempdir();
    let dir = dir.map_err(|error| failed("create a directory", error))?;
    let demo = Demo { ui: &context.ui, program: &program, dir: dir.path() };
    std::fs::create_dir(demo.workspace()).map_err(|error| failed("create a directory", error))?;
    show(&context.ui, "A session has a name, and any later process can resume it by that name.\n")?;
    show(&context.ui, &format!("The workspace of this demo is {}.\n", demo.workspace().display()))?;
    for backend in Backend::ALL {
        show(&context.ui, &format!("\n# {backend} (the built-in echo agent)\n"))?;
        for line in STEPS {
            let done = demo.step(backend, line);
            if let Some(signal) = late_signal::get() {
                return Err(Error::new(ErrorKind::Interrupted(signal), format!("interrupted by signal {signal}")));
            }
            done?;
        }
    }
    show(
        &context.ui,
        "\nThe demo is complete, and its files are removed. For a real agent, omit --claude-cmd and --codex-cmd.\n",
    )
}

/// The commands of the demo. `{agent}` is the agent's name.
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

    /// Prints a command, runs it and prints its output.
    fn step(&self, backend: Backend, line: &str) -> Result<()> {
        let line = line.replace("{agent}", backend.name());
        show(self.ui, &format!("\n$ invoke-persist {line}\n"))?;
        let mut command = Command::new(self.program);
        let words = shell_words::split(&line).expect("the steps are valid shell words");
        // use the path of this program, which may not be on PATH
        let here = shell_words::quote(&self.program.to_string_lossy()).into_owned();
        command.args(words.iter().map(|word| word.replace("invoke-persist echo-agent", &format!("{here} echo-agent"))));
        let launch = Backend::ALL.iter().flat_map(|backend| backend.spec().launch_variables);
        for variable in [env::BACKEND, env::HELD_LOCKS, "TEMP", "TMP"].iter().chain(launch) {
            command.env_remove(variable);
        }
        command.current_dir(self.workspace()).env(env::DIR, self.dir).env(env::ECHO_DIR, self.dir.join("echo"));
        let answer = command.stdin(Stdio::null()).output();
        let answer = answer
            .map_err(|error| Error::new(ErrorKind::Io, "cannot run this program for the demo").with_io_cause(&error))?;
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
