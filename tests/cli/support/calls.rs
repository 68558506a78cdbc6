//! The calls that the agents received, read from the stand-ins' record.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use super::plan::{SignalName, Sink};
use super::record::{Entry, Event, Input, Invocation, entries};

/// One call of an agent, as recorded so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// The name of the called program.
    pub(crate) name: String,
    pub(crate) argv: Vec<String>,
    pub(crate) cwd: String,
    /// The watched variables. The value of an unset one is `None`.
    pub(crate) env: BTreeMap<String, Option<String>>,
    pub(crate) pid: u32,
    /// 0 on systems without process groups.
    pub(crate) process_group: i32,
    /// 0 on systems without sessions.
    pub(crate) session: i32,
    /// `None` if the plan had no `read_stdin`, or the input has not ended.
    pub(crate) stdin: Option<Input>,
    /// The signals that were handled, in order.
    pub(crate) signals: Vec<SignalName>,
    /// Process IDs.
    pub(crate) grandchildren: Vec<u32>,
    /// The outputs that failed with a broken pipe.
    pub(crate) broken_pipes: Vec<Sink>,
    /// The exit status, or `None` if the call still runs or was killed.
    pub(crate) ended: Option<i32>,
}

impl Call {
    /// Returns standard input. Panics if the plan had no `read_stdin`, or if the input was too long to keep as text.
    #[track_caller]
    pub(crate) fn stdin_text(&self) -> &str {
        let input = self.stdin.as_ref().expect("the agent has read its standard input to the end");
        input.text.as_deref().expect("standard input is a short text")
    }

    /// Returns the argument after an option.
    pub(crate) fn value_of(&self, option: &str) -> Option<&str> {
        let at = self.argv.iter().position(|arg| arg == option)?;
        self.argv.get(at + 1).map(String::as_str)
    }

    /// Returns the arguments without the ID that claude's new session gets, which differs in each run.
    #[track_caller]
    pub(crate) fn argv_without_new_id(&self) -> Vec<&str> {
        let at = self.argv.iter().position(|arg| arg == "--session-id").expect("a new session gets an ID");
        let others = self.argv.iter().enumerate().filter(|(index, _)| !(at..at + 2).contains(index));
        others.map(|(_, arg)| arg.as_str()).collect()
    }

    pub(crate) fn has(&self, arg: &str) -> bool {
        self.argv.iter().any(|given| given == arg)
    }
}

/// Reads the record. A missing file means no calls.
pub(super) fn read(file: &Path) -> io::Result<Vec<Call>> {
    let mut file = match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    // A stand-in may be writing a line. On Windows its lock also blocks readers.
    file.lock_shared()?;
    let mut calls = Vec::new();
    for Entry { call, event } in entries(&mut file)? {
        if let Event::Began(invocation) = event {
            calls.push(Call::begun(invocation));
        } else {
            calls[call].add(event);
        }
    }
    Ok(calls)
}

impl Call {
    fn begun(invocation: Invocation) -> Self {
        let Invocation { name, argv, cwd, env, pid, process_group, session } = invocation;
        Self {
            name,
            argv,
            cwd,
            env,
            pid,
            process_group,
            session,
            stdin: None,
            signals: Vec::new(),
            grandchildren: Vec::new(),
            broken_pipes: Vec::new(),
            ended: None,
        }
    }

    fn add(&mut self, event: Event) {
        match event {
            Event::Began(_) => unreachable!("a call begins once"),
            Event::Stdin(input) => self.stdin = Some(input),
            Event::Signal(name) => self.signals.push(name),
            Event::Grandchild(pid) => self.grandchildren.push(pid),
            Event::BrokenPipe(sink) => self.broken_pipes.push(sink),
            Event::Ended(code) => self.ended = Some(code),
        }
    }
}
