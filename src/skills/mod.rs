//! The two skills through which agents use this program: their texts, and how they are installed for a host.
//!
//! A skill is a directory with a `SKILL.md` (agentskills.io/specification). This module provides its content. [`dir`]
//! checks and replaces an installed skill, [`host`] lists the directories of the hosts, and [`shim`] replaces the script
//! of an original skill. Nothing here runs an agent.

pub(crate) mod dir;
pub(crate) mod host;
pub(crate) mod shim;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use clap::builder::PossibleValue;

use crate::backend::Backend;
use crate::digest;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::{self, Key, Lock};
use crate::paths;
use crate::ui::Ui;

/// A skill, identified by the agent whose sessions it manages. Any host can use all skills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Skill(Backend);

impl clap::ValueEnum for Skill {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: LazyLock<Vec<Skill>> = LazyLock::new(|| Skill::all().collect());
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).alias(self.0.name()))
    }
}

/// How long a call waits for another one that changes the same directory. A change takes milliseconds.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Locks `directory` against changes by other calls until the lock is dropped.
///
/// Returns `None` if the system cannot lock. Nothing is lost then, because no step replaces files that it has not
/// checked, but concurrent calls may fail.
///
/// # Errors
///
/// [`ErrorKind::Io`] if another call keeps the lock.
pub(crate) fn lock(directory: &Path, ui: &Ui) -> Result<Option<Lock>> {
    let real = paths::resolve(directory).unwrap_or_else(|_| directory.to_owned());
    let key = Key::new(&[b"skill", real.as_os_str().as_encoded_bytes()]);
    let subject = format!("'{}'", real.display());
    let limit = Instant::now() + MAX_WAIT;
    match Lock::wait(&key, Some(limit), |holder| ui.note(&lock::waiting_for(&subject, holder))) {
        Ok(Ok(lock)) => Ok(Some(lock)),
        Ok(Err(holder)) => Err(Error::new(ErrorKind::Io, format!("cannot change {subject}"))
            .caused_by(format!("timed out waiting for {} to release it", lock::name_of(&holder)))),
        Err(_) => Ok(None),
    }
}

/// A text that `SKILL.md` refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Reference {
    Creation,
    Invocation,
    Listing,
    Deletion,
}

/// The files of a skill by their paths, with slashes.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

pub(crate) const MAIN_FILE: &str = "SKILL.md";

/// Keys under `metadata` in `SKILL.md`: the release that the skill is from, and the digest of its files.
const VERSION: &str = "invoke-persist-version";
const DIGEST: &str = "invoke-persist-digest";

impl Reference {
    const ALL: [Self; 4] = [Self::Creation, Self::Invocation, Self::Listing, Self::Deletion];

    fn file(self) -> &'static str {
        match self {
            Self::Creation => "references/creation.md",
            Self::Invocation => "references/invocation.md",
            Self::Listing => "references/listing.md",
            Self::Deletion => "references/deletion.md",
        }
    }
}

impl Skill {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Backend::ALL.into_iter().map(Self)
    }

    /// Returns the name of the skill and of its directory.
    pub(crate) fn name(self) -> &'static str {
        self.0.spec().skill.name
    }

    pub(crate) fn backend(self) -> Backend {
        self.0
    }

    /// Returns the text of a reference, or of `SKILL.md`.
    pub(crate) fn text(self, reference: Option<Reference>) -> String {
        let texts = &self.0.spec().skill;
        self.fill(match reference {
            None => texts.main,
            Some(Reference::Creation) => texts.creation,
            Some(Reference::Invocation) => texts.invocation,
            Some(Reference::Listing) => include_str!("common/listing.md"),
            Some(Reference::Deletion) => include_str!("common/deletion.md"),
        })
    }

    /// Replaces the placeholders in a shared text.
    fn fill(self, text: &str) -> String {
        let spec = self.0.spec();
        let text = text.replace("{outcomes}\n", include_str!("common/outcomes.md"));
        let text = text.replace("{long_work}\n", include_str!("common/long_work.md"));
        let text = text.replace("{sandbox}\n", include_str!("common/sandbox.md"));
        let text = text.replace("{Agent}", spec.skill.agent).replace("{id_option}", spec.skill.id_option);
        text.replace("{backend}", spec.name).replace("{id_key}", spec.id_key)
    }

    /// Returns all files as they are installed, with the release and the digest in `SKILL.md`.
    pub(crate) fn files(self) -> Files {
        let mut files = Files::new();
        let mut add = |path: &str, text: String| files.insert(path.to_owned(), text.into_bytes());
        for reference in Reference::ALL {
            add(reference.file(), self.text(Some(reference)));
        }
        add("agents/openai.yaml", include_str!("common/openai.yaml").to_owned());
        add(shim::SCRIPT, self.shim());
        let version = format!("  {VERSION}: \"{}\"\n", env!("CARGO_PKG_VERSION"));
        let main = self.text(None).replacen("\n---\n", &format!("\nmetadata:\n{version}---\n"), 1);
        add(MAIN_FILE, main.clone());
        let digest = digest_of(&files);
        let stamped = main.replacen(&version, &format!("{version}  {DIGEST}: \"{digest}\"\n"), 1);
        files.insert(MAIN_FILE.to_owned(), stamped.into_bytes());
        files
    }

    /// Returns the Python script that runs this program.
    fn shim(self) -> String {
        self.fill(include_str!("common/invoke_persist.py"))
    }
}

/// The release and the digest in a `SKILL.md`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub version: String,
    pub digest: String,
}

impl Stamp {
    /// Returns `None` if the file is not from this program.
    pub(crate) fn of(main: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(main).ok()?;
        let (front, _) = text.strip_prefix("---\n")?.split_once("\n---\n")?;
        let value = |key: &str| {
            let line = front.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(':'))?;
            Some(line.trim().trim_matches('"').to_owned())
        };
        Some(Self { version: value(VERSION)?, digest: value(DIGEST)? })
    }
}

/// Returns the digest of the paths and contents of all files, without the line for the digest itself.
pub(crate) fn digest_of(files: &Files) -> String {
    let line = |line: &&[u8]| !line.trim_ascii_start().starts_with(DIGEST.as_bytes());
    let contents = files.iter().map(|(path, content)| {
        let content = if path == MAIN_FILE {
            content.split_inclusive(|&byte| byte == b'\n').filter(line).collect::<Vec<_>>().concat()
        } else {
            content.clone()
        };
        let lengths = [path.len() as u64, content.len() as u64].map(u64::to_le_bytes).concat();
        [lengths, path.clone().into_bytes(), content].concat()
    });
    digest::md5(contents.collect::<Vec<_>>().iter().map(Vec::as_slice))
}

/// Returns the name in the frontmatter of a `SKILL.md`. codex uses it instead of the directory's name.
pub(crate) fn name_in(main: &str) -> Option<&str> {
    let (front, _) = main.strip_prefix("---\n")?.split_once("\n---")?;
    let name = front.lines().find_map(|line| line.strip_prefix("name:"))?;
    Some(name.trim().trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn main_text(skill: Skill) -> String {
        String::from_utf8(skill.files()[MAIN_FILE].clone()).unwrap()
    }

    /// Returns the keys and values between the two `---`.
    fn front(main: &str) -> Vec<(&str, &str)> {
        let (front, _) = main.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
        front.lines().map(|line| line.split_once(':').unwrap()).map(|(key, value)| (key, value.trim())).collect()
    }

    /// Checks the rules of agentskills.io/specification and of the hosts.
    #[test]
    fn skills_follow_the_rules_of_the_format() {
        for skill in Skill::all() {
            let main = main_text(skill);
            let front = front(&main);
            let value = |key: &str| front.iter().find(|(name, _)| *name == key).unwrap().1;
            let name = value("name");
            assert_eq!(name, skill.name(), "the directory has the name of the skill");
            assert!((1..=64).contains(&name.len()) && !name.contains("--") && !name.starts_with('-'));
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
            let description = value("description");
            assert!((1..=1024).contains(&description.len()), "{}", description.len());
            assert!(!description.contains(['<', '>']) && !description.contains(": "), "{description}");
            assert!((1..=500).contains(&value("compatibility").len()));
            for (key, value) in &front {
                let known = ["name", "description", "license", "compatibility", "metadata", "allowed-tools"];
                let added = ["disable-model-invocation", "  invoke-persist-version", "  invoke-persist-digest"];
                assert!(known.contains(key) || added.contains(key), "{key}");
                assert!(!value.starts_with('{') && !value.starts_with('['), "no flow maps: {value}");
            }
            assert_eq!(value("disable-model-invocation"), "true", "in claude, only the user invokes the skill");
            let policy = skill.files()["agents/openai.yaml"].clone();
            assert_eq!(
                policy, b"policy:\n  allow_implicit_invocation: false\n",
                "in codex, only the user invokes the skill"
            );
            assert!(main.lines().count() < 220);
        }
    }

    #[test]
    fn files_are_plain_text() {
        for skill in Skill::all() {
            for (path, content) in skill.files() {
                let text = String::from_utf8(content).unwrap();
                assert!(!text.starts_with('\u{feff}') && !text.contains('\r'), "{path}");
                assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{path}");
                for word in ["agent", "Agent", "backend", "id_key", "id_option", "long_work", "outcomes", "sandbox"] {
                    assert!(!text.contains(&format!("{{{word}}}")), "{path}: {{{word}}}");
                }
            }
            // claude replaces these by the output of commands and by arguments
            let main = main_text(skill);
            assert!(!main.contains("!`"));
            let headings = main.match_indices("\n## ").map(|(at, _)| &main[..at]);
            assert!(headings.into_iter().all(|before| before.ends_with('\n')), "a blank line precedes each heading");
            let dollars = main.match_indices('$').map(|(at, _)| &main[at + 1..]);
            assert!(dollars.into_iter().all(|rest| !rest.starts_with(|c: char| c.is_ascii_digit())));
        }
    }

    #[test]
    fn main_text_and_files_have_the_same_references() {
        for skill in Skill::all() {
            let (main, files) = (main_text(skill), skill.files());
            for reference in Reference::ALL {
                assert!(main.contains(reference.file()) && files.contains_key(reference.file()));
            }
            for (at, _) in main.match_indices("references/") {
                let path: String = main[at..].chars().take_while(|c| !c.is_whitespace()).collect();
                assert!(files.contains_key(&path), "{path}");
            }
        }
    }

    #[test]
    fn digest_changes_with_every_file() {
        for skill in Skill::all() {
            let files = skill.files();
            let stamp = Stamp::of(&files[MAIN_FILE]).unwrap();
            assert_eq!((stamp.version.as_str(), &stamp.digest), (env!("CARGO_PKG_VERSION"), &digest_of(&files)));
            for path in files.keys() {
                let mut changed = files.clone();
                changed.get_mut(path).unwrap().push(b'x');
                assert_ne!(digest_of(&changed), stamp.digest, "{path}");
                changed.remove(path);
                assert_ne!(digest_of(&changed), stamp.digest, "{path}");
            }
        }
        assert_eq!(Stamp::of(b"---\nname: x\n---\n"), None);
        assert_eq!(Stamp::of(b"\xff"), None);
    }
}
