//! What a release of an agent supports.
//!
//! Each agent has a table of features with the first release that has them. `doctor` reads it, and so do the errors for
//! options that the agent does not accept.

use std::ffi::{OsStr, OsString};
use std::fmt;

use super::spec::Spec;

/// The number of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release(pub u32, pub u32, pub u32);

impl Release {
    /// Returns the release in `text`, which is only its number.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|number| number.parse().ok());
        let release = Self(numbers.next()??, numbers.next()??, numbers.next()??);
        numbers.next().is_none().then_some(release)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(major, minor, patch) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// Something that older releases of an agent lack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Feature {
    /// The agent's option or command.
    pub option: &'static str,
    /// What needs it, as a user of this program calls it.
    pub what: &'static str,
    /// Whether `what` is plural.
    pub plural: bool,
    /// The first release that has it.
    pub since: Release,
    pub evidence: FeatureEvidence,
}

/// How to find out whether an agent has a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeatureEvidence {
    /// The first help page lists the option.
    Listed,
    /// The first help page lists the option, but it has no effect before [`Feature::since`].
    ListedEarly,
    /// The command has its own help page.
    Page,
    /// The help hides the option, so the release decides.
    Release,
    /// `doctor` does not report it.
    Unreported,
}

impl FeatureEvidence {
    /// Returns whether the first help page lists the option.
    pub(crate) fn is_listed(self) -> bool {
        matches!(self, Self::Listed | Self::ListedEarly)
    }
}

/// A help page of an agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HelpPage {
    /// The arguments that print it.
    pub arguments: &'static [&'static str],
    /// The command of [`Feature::option`] that the page is about. Releases without that command print another page.
    pub command: Option<&'static str>,
    /// The options that it must list, because this program uses them.
    pub options: &'static [&'static str],
}

impl HelpPage {
    /// Returns the arguments before `--help`.
    pub(crate) fn path(&self) -> String {
        let words: Vec<&str> = self.arguments.iter().copied().filter(|word| *word != "--help").collect();
        words.join(" ")
    }

    /// Returns whether `help` is this page and not that of another command.
    fn is_shown_in(&self, help: &str) -> bool {
        let path = self.path();
        self.command.is_none() || help.lines().any(|line| line.contains("Usage: ") && line.contains(&path))
    }
}

/// What an installed agent supports.
#[derive(Debug)]
pub(crate) struct Support {
    name: &'static str,
    /// `None` if its version has an unknown form.
    release: Option<Release>,
    lacking: Vec<&'static Feature>,
    /// The required options that its help does not list, each with the page.
    unlisted: Vec<String>,
    /// The first release with every required option, if this one is older.
    oldest: Option<Release>,
    /// Whether its help lists none of the required options.
    pub(crate) is_unknown_program: bool,
}

impl Support {
    /// Returns what an agent supports that prints `version` and these pages of help, in the order of
    /// [`Spec::help_pages`].
    pub(crate) fn of(spec: &'static Spec, version: &str, pages: &[String]) -> Self {
        let release = (spec.release)(version);
        let (mut lacking, mut unlisted, mut oldest, mut known) = (Vec::new(), Vec::new(), None, 0);
        for (page, help) in spec.help_pages.iter().zip(pages) {
            if !page.is_shown_in(help) {
                continue;
            }
            for option in page.options {
                if lists(help, option) {
                    known += 1;
                    continue;
                }
                unlisted.push(format!("{option} ('{}')", page.arguments.join(" ")));
                let since = spec.features.iter().find(|feature| feature.option == *option).map(|feature| feature.since);
                oldest = oldest.max(since.filter(|since| release.is_some_and(|release| release < *since)));
            }
        }
        for feature in spec.features {
            let is_listed = || pages.first().is_none_or(|help| lists(help, feature.option));
            let is_new = || release.is_none_or(|release| release >= feature.since);
            let is_there = match feature.evidence {
                FeatureEvidence::Listed => is_listed(),
                FeatureEvidence::ListedEarly => is_listed() && is_new(),
                FeatureEvidence::Page => spec
                    .help_pages
                    .iter()
                    .zip(pages)
                    .any(|(page, help)| page.command == Some(feature.option) && page.is_shown_in(help)),
                FeatureEvidence::Release => is_new(),
                FeatureEvidence::Unreported => true,
            };
            if !is_there {
                lacking.push(feature);
            }
        }
        Self { name: spec.name, release, lacking, unlisted, oldest, is_unknown_program: known == 0 }
    }

    /// Returns whether no call can succeed.
    pub(crate) fn is_too_old(&self) -> bool {
        self.oldest.is_some()
    }

    /// Describes what works and what does not.
    pub(crate) fn describe(&self) -> String {
        let agent = match self.release {
            Some(release) => format!("{} {release}", self.name),
            None => format!("this {}", self.name),
        };
        if self.is_too_old() {
            return format!("{agent} is too old to work");
        }
        let without: Vec<&str> = self.lacking.iter().map(|feature| feature.what).collect();
        let works = match &without[..] {
            [] => "works, with all features".to_owned(),
            [one] => format!("works, without {one}"),
            [most @ .., last] => format!("works, without {} and {last}", most.join(", ")),
        };
        match &self.unlisted[..] {
            [] => format!("{agent}: {works}"),
            unlisted if without.is_empty() => format!("{agent}: the help does not list {}", unlisted.join(", ")),
            unlisted => format!("{agent}: {works}; the help does not list {}", unlisted.join(", ")),
        }
    }

    /// Returns what to do if something is missing.
    pub(crate) fn hint(&self) -> Option<String> {
        let name = self.name;
        if let Some(oldest) = self.oldest {
            return Some(format!("use {name} {oldest} or newer"));
        }
        let newest = self.lacking.iter().map(|feature| feature.since).max();
        let is_older = newest.is_some_and(|newest| self.release.is_none_or(|release| release < newest));
        match newest {
            None if self.unlisted.is_empty() => None,
            Some(newest) if is_older && self.unlisted.is_empty() => Some(format!("use {name} {newest} or newer")),
            _ => Some(format!("use another release of {name}: calls that need what is missing may fail")),
        }
    }
}

/// Returns the hint for an `option` that the agent `name` does not accept. `extra` is what the caller passed after `--`.
pub(super) fn refusal_hint(name: &str, features: &[Feature], option: Option<&str>, extra: &[OsString]) -> String {
    let doctor = format!("run 'invoke-persist doctor' to see what this {name} supports");
    let Some(option) = option else { return doctor };
    let feature = features.iter().find(|feature| feature.option == option);
    let is_callers = extra.iter().any(|argument| spells(argument, option));
    match feature {
        Some(Feature { since, .. }) if is_callers => {
            format!("remove {option} after '--', or use {name} {since} or newer")
        }
        None if is_callers => format!("remove {option} after '--': this {name} does not accept it"),
        Some(feature) => format!("{}; {doctor}", needs(name, feature)),
        None => doctor,
    }
}

/// Returns the sentence about the release that a feature needs.
pub(super) fn needs(name: &str, feature: &Feature) -> String {
    let verb = if feature.plural { "need" } else { "needs" };
    format!("{} {verb} {name} {} or newer", feature.what, feature.since)
}

/// Returns whether `argument` is `option`, perhaps with its value.
fn spells(argument: &OsStr, option: &str) -> bool {
    let is_short = option.len() == 2;
    match argument.as_encoded_bytes().strip_prefix(option.as_bytes()) {
        Some(rest) => rest.is_empty() || rest[0] == b'=' || (is_short && option != "--"),
        None => false,
    }
}

/// Returns whether `help` lists `option` itself, not only a longer option that begins with it.
fn lists(help: &str, option: &str) -> bool {
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    help.match_indices(option)
        .any(|(at, _)| !help[..at].ends_with(in_word) && !help[at + option.len()..].starts_with(in_word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;

    /// Returns the pages of help of an agent that lacks these options and commands.
    fn pages(spec: &Spec, lacks: &[&str]) -> Vec<String> {
        let has = |option: &&str| !lacks.contains(option);
        let listed = spec.features.iter().filter(|feature| feature.evidence.is_listed());
        let listed: Vec<&str> = listed.map(|feature| feature.option).filter(has).collect();
        let page = |path: String, options: &[&str]| {
            let options: Vec<&str> = options.iter().copied().filter(has).collect();
            format!(
                "Usage: {} {path} [OPTIONS]\n\nOptions:\n  {} {}\n",
                spec.name,
                options.join("\n  "),
                listed.join("\n  ")
            )
        };
        let first = &spec.help_pages[0];
        let page_of = |it: &HelpPage| match it.command {
            Some(command) if lacks.contains(&command) => page(first.path(), first.options),
            _ => page(it.path(), it.options),
        };
        spec.help_pages.iter().map(page_of).collect()
    }

    fn support(backend: Backend, version: &str, lacks: &[&str]) -> Support {
        let spec = backend.spec();
        Support::of(spec, version, &pages(spec, lacks))
    }

    #[test]
    fn measured_releases_of_claude_are_described() {
        const LARGE: &str = "roles of more than 100 KiB";
        const TEXT: &str = "--format text and --include-partials";
        const OLD: &[&str] = &["--json-schema", "--fork-session", "--include-partial-messages"];
        for (releases, lacks, without) in [
            (&["2.1.330", "2.1.268", "2.1.147", "2.1.48", "2.1.45"][..], &[][..], String::new()),
            (&["2.1.44", "2.1.38", "2.0.50", "2.0.45"], &[], "out --reasoning-effort".to_owned()),
            (&["2.0.44", "2.0.33"], &OLD[..1], "out --schema and --reasoning-effort".to_owned()),
            (&["1.0.122"], &OLD[..1], format!("out {LARGE}, --schema and --reasoning-effort")),
            (&["1.0.88", "1.0.37"], OLD, format!("out {TEXT}, fork-session, {LARGE}, --schema and --reasoning-effort")),
        ] {
            for release in releases {
                let support = support(Backend::Claude, &format!("{release} (Claude Code)"), lacks);
                let without = if without.is_empty() { " all features" } else { &without };
                assert_eq!(support.describe(), format!("claude {release}: works, with{without}"));
                let hint = support.describe().contains("without").then(|| "use claude 2.1.45 or newer".to_owned());
                assert_eq!(support.hint(), hint, "{release}");
            }
        }
    }

    #[test]
    fn measured_releases_of_codex_are_described() {
        const FORK: &str = "out fork-session";
        const SWITCHES: &[&str] = &["fork", "--enable", "--disable"];
        const OLD: &str = " is too old to work";
        for (releases, lacks, described) in [
            (&["0.169.0", "0.163.0", "0.156.0", "0.148.0"][..], &[][..], "works, with all features"),
            (
                &["0.145.0", "0.130.0", "0.117.0", "0.105.0", "0.101.0", "0.58.0", "0.47.0"],
                &["fork"],
                "works, without fork-session",
            ),
            (&["0.45.0"], SWITCHES, "works, without --enable, --disable and fork-session"),
            (&["0.44.0", "0.42.0"], &["fork", "--enable", "--disable", "-o"], OLD),
        ] {
            for release in releases {
                let support = support(Backend::Codex, &format!("codex-cli {release}"), lacks);
                let colon = if described == OLD { "" } else { ": " };
                assert_eq!(support.describe(), format!("codex {release}{colon}{described}"));
                let hint = match described {
                    OLD => Some("use codex 0.45.0 or newer"),
                    _ => described.ends_with(&FORK[4..]).then_some("use codex 0.148.0 or newer"),
                };
                assert_eq!((support.hint().as_deref(), support.is_too_old()), (hint, described == OLD), "{release}");
            }
        }
    }

    #[test]
    fn help_decides_for_a_version_of_another_form() {
        for version in ["", "0.1.0 (echo agent)", "1.2 (Claude Code)", "codex-cli 0.1.0"] {
            let whole = support(Backend::Claude, version, &[]);
            assert_eq!(
                (&*whole.describe(), whole.hint()),
                ("this claude: works, with all features", None),
                "{version}"
            );
        }
        let old = support(Backend::Claude, "wrapper 1.0", &["--effort"]);
        assert_eq!(old.describe(), "this claude: works, without --reasoning-effort");
        assert_eq!(old.hint().unwrap(), "use claude 2.1.45 or newer");
        // a later release that has dropped it
        let new = support(Backend::Claude, "3.0.0 (Claude Code)", &["--effort", "--model"]);
        assert_eq!(
            new.describe(),
            "claude 3.0.0: works, without --reasoning-effort; the help does not list --model ('--help')"
        );
        assert!(new.hint().unwrap().starts_with("use another release of claude"));
        let codex = support(Backend::Codex, "my codex", &["-o"]);
        let unlisted = "the help does not list -o ('exec --help'), -o ('exec fork --help')";
        assert_eq!(codex.describe(), format!("this codex: {unlisted}"));
        assert!(!codex.is_too_old() && !codex.is_unknown_program);
        assert!(Support::of(Backend::Codex.spec(), "1", &["hello".to_owned()]).is_unknown_program);
    }

    #[test]
    fn option_is_found_as_a_whole_word() {
        let help = "  -o, --output-last-message <FILE>\n  --json\n  --append-system-prompt[-file]\n";
        for (option, there) in [
            ("--json", true),
            ("-o", true),
            ("--output", false),
            ("--output-last-message", true),
            ("--append-system-prompt", true),
            ("--js", false),
            ("-json", false),
        ] {
            assert_eq!(lists(help, option), there, "{option}");
        }
    }

    #[test]
    fn release_is_a_number_of_three_parts() {
        assert_eq!(Release::parse("2.1.38"), Some(Release(2, 1, 38)));
        assert!(Release(2, 1, 38) > Release(2, 1, 4) && Release(0, 148, 0) > Release(0, 58, 9));
        for text in ["", "2.1", "2.1.38.1", "2.1.x", "2.1.38-beta", " 2.1.38"] {
            assert_eq!(Release::parse(text), None, "{text}");
        }
        assert_eq!(Release(0, 148, 0).to_string(), "0.148.0");
    }

    #[test]
    fn option_is_found_with_its_value() {
        for (argument, option, same) in [
            ("--foo", "--foo", true),
            ("--foo=a", "--foo", true),
            ("--foobar", "--foo", false),
            ("-x", "-x", true),
            ("-xvalue", "-x", true),
            ("x", "-x", false),
            ("--x", "--", false),
        ] {
            assert_eq!(spells(OsStr::new(argument), option), same, "{argument} {option}");
        }
    }
}
