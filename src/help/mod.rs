//! The help topics: Markdown pages about what several commands share. `help` prints them, and `man` converts them to
//! manual pages.

mod roff;

use std::fmt::Write as _;

/// A page that is not about one command.
#[derive(Debug)]
pub(crate) struct Topic {
    pub name: &'static str,
    /// The page in the subset of Markdown that [`roff`] describes.
    text: &'static str,
}

macro_rules! topics {
    ($($name:literal)*) => {
        /// All topics, in alphabetical order.
        pub(crate) const TOPICS: &[Topic] =
            &[$(Topic { name: $name, text: include_str!(concat!($name, ".md")) }),*];
    };
}

topics! {
    "agents"
    "ci"
    "deadlines"
    "environment"
    "exit-status"
    "installing"
    "names-and-files"
    "output"
    "prompts"
    "rehearsing"
    "scripts"
    "settings"
    "shell-completion"
    "skills"
    "troubleshooting"
    "turns"
}

impl Topic {
    pub(crate) fn from_name(name: &str) -> Option<&'static Self> {
        TOPICS.iter().find(|topic| topic.name == name)
    }

    /// Returns the title of the page, which is its first line.
    pub(crate) fn title(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("# ")
    }

    /// Returns the page as Markdown, with bold headings if `is_bold`.
    pub(crate) fn markdown(&self, is_bold: bool) -> String {
        if !is_bold {
            return self.text.to_owned();
        }
        let mut shown = String::with_capacity(self.text.len());
        let mut in_code = false;
        for line in self.text.lines() {
            in_code ^= line.starts_with("```");
            let heading = !in_code && line.starts_with('#');
            let _ = if heading { writeln!(shown, "\x1b[1m{line}\x1b[0m") } else { writeln!(shown, "{line}") };
        }
        shown
    }

    /// Returns the name of the manual page.
    pub(crate) fn page_name(&self) -> String {
        format!("invoke-persist-help-{}", self.name)
    }

    /// Returns the source of the manual page.
    pub(crate) fn roff(&self) -> String {
        roff::page(&self.page_name(), self.title(), self.text)
    }
}
