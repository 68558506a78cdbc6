//! The two skills by which agents reach this program: texts that are part of it, and how they get into a host's directory.
//!
//! A skill is a directory with a `SKILL.md` (agentskills.io/specification). Here: what is in it. [`dir`] knows what
//! stands in such a place and replaces it, [`host`] where the hosts look, [`shim`] how a script of the original becomes
//! a way to this program. Nothing here runs an agent.

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

/// A skill, by the agent whose sessions it is about. Every host can have all of them.
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
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Waits until no other call changes what is in `directory`. Others wait until the lock is dropped.
///
/// Returns `None` if the system gives no lock. Nothing is lost without one, since no step replaces what it does not know:
/// a call may then fail over what another one has just done.
///
/// # Errors
///
/// [`ErrorKind::Io`] if another call does not end.
pub(crate) fn lock(directory: &Path, ui: &Ui) -> Result<Option<Lock>> {
    let real = paths::resolve(directory).unwrap_or_else(|_| directory.to_owned());
    let key = Key::new(&[b"skill", real.as_os_str().as_encoded_bytes()]);
    let what = format!("'{}'", real.display());
    let limit = Instant::now() + LONGEST_WAIT;
    match Lock::wait(&key, Some(limit), |holder| ui.note(&lock::waiting_for(&what, holder))) {
        Ok(Ok(lock)) => Ok(Some(lock)),
        Ok(Err(holder)) => Err(Error::new(ErrorKind::Io, format!("{what} cannot be changed"))
            .caused_by(format!("{} is changing it and does not end", lock::name_of(&holder)))),
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

/// Keys under `metadata` in `SKILL.md`: which release the directory is from, and what its files were then.
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

    /// Its name, which is also its directory's.
    pub(crate) fn name(self) -> &'static str {
        self.0.spec().skill.name
    }

    fn backend(self) -> Backend {
        self.0
    }

    /// One of its texts: a reference, or `SKILL.md` itself.
    pub(crate) fn text(self, reference: Option<Reference>) -> String {
        let own = &self.0.spec().skill;
        self.fill(match reference {
            None => own.main,
            Some(Reference::Creation) => own.creation,
            Some(Reference::Invocation) => own.invocation,
            Some(Reference::Listing) => include_str!("common/listing.md"),
            Some(Reference::Deletion) => include_str!("common/deletion.md"),
        })
    }

    /// A text that the skills share, with the words of this one in it.
    fn fill(self, text: &str) -> String {
        let spec = self.0.spec();
        let text = text.replace("{outcomes}\n", include_str!("common/outcomes.md"));
        let text = text.replace("{sandbox}\n", include_str!("common/sandbox.md"));
        let text = text.replace("{Agent}", spec.skill.agent).replace("{id_option}", spec.skill.id_option);
        text.replace("{backend}", spec.name).replace("{id_key}", spec.id_key)
    }

    /// All its files as they are installed, with the release and the digest by which they are known again.
    pub(crate) fn files(self) -> Files {
        let mut files = Files::new();
        let mut add = |path: &str, text: String| files.insert(path.to_owned(), text.into_bytes());
        for reference in Reference::ALL {
            add(reference.file(), self.text(Some(reference)));
        }
        add("agents/openai.yaml", include_str!("common/openai.yaml").to_owned());
        add(shim::SCRIPT, self.stand_in());
        let version = format!("  {VERSION}: \"{}\"\n", env!("CARGO_PKG_VERSION"));
        let main = self.text(None).replacen("\n---\n", &format!("\nmetadata:\n{version}---\n"), 1);
        add(MAIN_FILE, main.clone());
        let digest = digest_of(&files);
        let stamped = main.replacen(&version, &format!("{version}  {DIGEST}: \"{digest}\"\n"), 1);
        files.insert(MAIN_FILE.to_owned(), stamped.into_bytes());
        files
    }

    /// The Python script that runs this program.
    fn stand_in(self) -> String {
        self.fill(include_str!("common/invoke_persist.py"))
    }
}

/// What the metadata of a `SKILL.md` says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub version: String,
    pub digest: String,
}

impl Stamp {
    /// `None` in a file that is not from us.
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

/// The digest of all files: of their paths and contents, but for the line that holds it.
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

/// The name in the frontmatter of a `SKILL.md`, by which codex knows a skill whatever its directory is called.
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

    /// The lines between the two `---`, each a key with its value but those of `metadata`.
    fn front(main: &str) -> Vec<(&str, &str)> {
        let (front, _) = main.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
        front.lines().map(|line| line.split_once(':').unwrap()).map(|(key, value)| (key, value.trim())).collect()
    }

    /// agentskills.io/specification, and what the hosts add to it.
    #[test]
    fn the_rules_of_the_format_hold() {
        for skill in Skill::all() {
            let main = main_text(skill);
            let front = front(&main);
            let value = |key: &str| front.iter().find(|(name, _)| *name == key).unwrap().1;
            let name = value("name");
            assert_eq!(name, skill.name(), "the directory is called as the skill is");
            assert!((1..=64).contains(&name.len()) && !name.contains("--") && !name.starts_with('-'));
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
            let description = value("description");
            assert!((1..=1024).contains(&description.len()), "{}", description.len());
            assert!(!description.contains(['<', '>']) && !description.contains(": "), "{description}");
            assert!((1..=500).contains(&value("compatibility").len()));
            for (key, value) in &front {
                let known = ["name", "description", "license", "compatibility", "metadata", "allowed-tools"];
                let ours = ["disable-model-invocation", "  invoke-persist-version", "  invoke-persist-digest"];
                assert!(known.contains(key) || ours.contains(key), "{key}");
                assert!(!value.starts_with('{') && !value.starts_with('['), "no flow maps: {value}");
            }
            assert_eq!(value("disable-model-invocation"), "true", "claude leaves it to the user");
            let policy = skill.files()["agents/openai.yaml"].clone();
            assert_eq!(policy, b"policy:\n  allow_implicit_invocation: false\n", "so does codex");
            assert!(main.lines().count() < 150);
        }
    }

    #[test]
    fn every_file_is_plain_text() {
        for skill in Skill::all() {
            for (path, content) in skill.files() {
                let text = String::from_utf8(content).unwrap();
                assert!(!text.starts_with('\u{feff}') && !text.contains('\r'), "{path}");
                assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{path}");
                for word in ["agent", "Agent", "backend", "id_key", "id_option", "outcomes", "sandbox"] {
                    assert!(!text.contains(&format!("{{{word}}}")), "{path}: {{{word}}}");
                }
            }
            // claude puts arguments and the output of commands in the place of these
            let main = main_text(skill);
            assert!(!main.contains("!`"));
            let headings = main.match_indices("\n## ").map(|(at, _)| &main[..at]);
            assert!(headings.into_iter().all(|before| before.ends_with('\n')), "a blank line stands before each");
            let dollars = main.match_indices('$').map(|(at, _)| &main[at + 1..]);
            assert!(dollars.into_iter().all(|rest| !rest.starts_with(|c: char| c.is_ascii_digit())));
        }
    }

    #[test]
    fn references_exist_and_are_named() {
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
    fn the_digest_tells_whether_anything_changed() {
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
