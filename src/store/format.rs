//! What is in a mapping file. Nothing here touches a file system.
//!
//! Only the parts we know are understood; everything else is kept as the text it was, however large or odd its numbers
//! are, and comes back in every rewrite.

#[cfg(test)]
mod properties;

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use crate::backend::Backend;
use crate::json::Members;
use crate::session::{AgentSessionId, SessionName, UnusableId};

const ALIASES: &str = "aliases";
const WORKSPACE: &str = "workspace_dir";
const CREATED_AT: &str = "created_at";
const LAST_MODEL: &str = "last_model";
const LAST_EFFORT: &str = "last_reasoning_effort";

/// Deeper nesting than this is not followed; `serde_json` has the same bound.
const DEEPEST: usize = 128;

/// A mapping as it stands in memory: entries in the order of the file, each as the text it was.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    backend: Backend,
    workspace: Option<Box<RawValue>>,
    entries: Vec<(String, Box<RawValue>)>,
    /// Keys beside `aliases` and `workspace_dir`.
    others: Vec<(String, Box<RawValue>)>,
}

/// What an entry says that we can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub id: AgentSessionId,
    pub created_at: Option<String>,
    pub model: Option<String>,
    pub effort: Option<String>,
}

/// Why a file is no mapping.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ParseError {
    /// It is broken, and can be moved aside.
    NoObject(String),
    /// It is well-formed, but not in a way we can read and write back.
    CannotHold(String),
}

impl Mapping {
    pub(crate) fn new(backend: Backend) -> Self {
        Self { backend, workspace: None, entries: Vec::new(), others: Vec::new() }
    }

    pub(crate) fn parse(backend: Backend, bytes: &[u8]) -> Result<Self, ParseError> {
        let no_object = |why: &dyn fmt::Display| ParseError::NoObject(why.to_string());
        let cannot_hold = |why: &dyn fmt::Display| ParseError::CannotHold(why.to_string());
        let text = std::str::from_utf8(bytes).map_err(|error| no_object(&error))?;
        let depth = depth(bytes);
        let too_deep = || Err(cannot_hold(&format_args!("it is nested deeper than {DEEPEST} levels")));
        if depth > DEEPEST {
            return too_deep();
        }
        let whole: &RawValue = serde_json::from_str(text).map_err(|error| no_object(&error))?;
        if !whole.get().starts_with('{') {
            return Err(ParseError::NoObject("its top level is something else".to_owned()));
        }
        let Members(mut top) = serde_json::from_str(whole.get()).map_err(|error| cannot_hold(&error))?;
        let mut take = |key, wanted: fn(&RawValue) -> bool| {
            top.iter().position(|(name, raw)| name == key && wanted(raw)).map(|at| top.remove(at).1)
        };
        let workspace = take(WORKSPACE, |_| true);
        let Some(aliases) = take(ALIASES, |raw| raw.get().starts_with(['{', 'n'])) else {
            // an older file: the top level is the map of names. Written anew everything is one level deeper, which must
            // be read again.
            if depth == DEEPEST {
                return too_deep();
            }
            // what is no text cannot be its workspace
            let (workspace, name) = match workspace {
                Some(raw) if raw.get().starts_with('"') => (Some(raw), None),
                other => (None, other),
            };
            let mut entries = own(top);
            entries.extend(name.map(|raw| (WORKSPACE.to_owned(), raw.to_owned())));
            return Ok(Self { backend, workspace: workspace.map(RawValue::to_owned), entries, others: Vec::new() });
        };
        // null is no entry at all
        let Members(aliases) = match aliases.get() {
            "null" => Members::default(),
            object => serde_json::from_str(object).map_err(|error| cannot_hold(&error))?,
        };
        let entries = own(aliases);
        Ok(Self { backend, workspace: workspace.map(RawValue::to_owned), entries, others: own(top) })
    }

    /// The workspace the file names; empty where it names none.
    pub(crate) fn workspace(&self) -> String {
        self.workspace.as_deref().and_then(text).unwrap_or_default()
    }

    pub(crate) fn set_workspace(&mut self, workspace: &str) {
        self.workspace = Some(raw_text(workspace));
    }

    pub(crate) fn set_workspace_if_empty(&mut self, workspace: &str) {
        if self.workspace().is_empty() {
            self.set_workspace(workspace);
        }
    }

    /// The entries we can use, in the order of the file.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, Entry)> {
        self.entries.iter().filter_map(|(name, raw)| Some((name.as_str(), understand(self.backend, raw).ok()?)))
    }

    pub(crate) fn get(&self, name: &SessionName) -> Option<Entry> {
        understand(self.backend, self.raw(name)?).ok()
    }

    /// Whether the name is taken, by whatever entry.
    pub(crate) fn contains(&self, name: &SessionName) -> bool {
        self.raw(name).is_some()
    }

    /// Why an entry of this name is none we can use, if there is one.
    pub(crate) fn why_unusable(&self, name: &SessionName) -> Option<UnusableId> {
        understand(self.backend, self.raw(name)?).err()
    }

    /// The id that an entry of this name holds for `backend`, whichever backend's mapping this is. `None` for an entry
    /// that is just an id: it does not say whose.
    pub(crate) fn id_of(&self, name: &SessionName, backend: Backend) -> Option<AgentSessionId> {
        let Members(members) = serde_json::from_str(self.raw(name)?.get()).ok()?;
        id_in(backend, &members).ok()
    }

    /// The first entry that holds this id, with its name.
    pub(crate) fn find(&self, id: &AgentSessionId) -> Option<(SessionName, Entry)> {
        let (name, entry) = self.entries().find(|(_, entry)| entry.id == *id)?;
        Some((SessionName::verbatim(name), entry))
    }

    /// The names of all entries that hold this id.
    pub(crate) fn names_of(&self, id: &AgentSessionId) -> Vec<String> {
        self.entries().filter(|(_, entry)| entry.id == *id).map(|(name, _)| name.to_owned()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries().count()
    }

    /// Puts `entry` in the place of whatever the name holds.
    pub(crate) fn insert(&mut self, name: &SessionName, entry: &Entry) {
        self.put(name.as_str(), write(self.backend, Vec::new(), entry));
    }

    /// Changes what the name's entry says and keeps what else is in it.
    pub(crate) fn amend(&mut self, name: &str, entry: &Entry) {
        if let Some((_, raw)) = self.entries.iter().find(|(key, _)| key == name) {
            let raw = raw.clone();
            let members = serde_json::from_str(raw.get()).map(|Members(members)| members).unwrap_or_default();
            self.put(name, write(self.backend, members, entry));
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.entries.retain(|(key, _)| key != name);
    }

    /// Gives an entry another name, in the place of whatever that holds. Nothing of the entry changes.
    pub(crate) fn rename(&mut self, name: &SessionName, to: &SessionName) {
        if let Some(raw) = self.raw(name).map(ToOwned::to_owned) {
            self.remove(name.as_str());
            self.put(to.as_str(), raw);
        }
    }

    /// The file's text: keys sorted, indented by two, anything but ASCII unescaped, one newline at the end.
    pub(crate) fn to_text(&self) -> String {
        let mut top: Vec<(&str, Option<&RawValue>)> =
            self.others.iter().map(|(key, raw)| (key.as_str(), Some(&**raw))).collect();
        top.push((ALIASES, None));
        if let Some(workspace) = &self.workspace {
            top.push((WORKSPACE, Some(workspace)));
        }
        top.sort_by_key(|(key, _)| *key);
        let mut text = String::new();
        write_object(&mut text, 0, top.iter(), |text, value| match value {
            Some(raw) => write_sorted(text, 1, raw),
            None => self.write_entries(text),
        });
        text.push('\n');
        text
    }

    fn write_entries(&self, text: &mut String) {
        let mut entries: Vec<(&str, Cow<'_, RawValue>)> = self
            .entries
            .iter()
            .map(|(name, raw)| {
                // an id alone becomes an entry like the others
                let entry = if raw.get().starts_with('"') { understand(self.backend, raw).ok() } else { None };
                let raw = entry.map_or(Cow::Borrowed(&**raw), |entry| Cow::Owned(write(self.backend, vec![], &entry)));
                (name.as_str(), raw)
            })
            .collect();
        entries.sort_by_key(|(name, _)| *name);
        write_object(text, 1, entries.iter(), |text, raw| write_sorted(text, 2, raw));
    }

    fn raw(&self, name: &SessionName) -> Option<&RawValue> {
        self.entries.iter().find(|(key, _)| key == name.as_str()).map(|(_, raw)| &**raw)
    }

    fn put(&mut self, name: &str, raw: Box<RawValue>) {
        match self.entries.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = raw,
            None => self.entries.push((name.to_owned(), raw)),
        }
    }
}

fn own(members: Vec<(Cow<'_, str>, &RawValue)>) -> Vec<(String, Box<RawValue>)> {
    members.into_iter().map(|(key, raw)| (key.into_owned(), raw.to_owned())).collect()
}

/// The text in `raw`, if it is one that is not empty.
fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok().filter(|text: &String| !text.is_empty())
}

fn raw_text(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("a text is JSON")
}

/// What an entry says: an object, or just the id.
fn understand(backend: Backend, raw: &RawValue) -> Result<Entry, UnusableId> {
    if raw.get().starts_with('"') {
        let id = AgentSessionId::new(&text(raw).unwrap_or_default())?;
        return Ok(Entry { id, created_at: None, model: None, effort: None });
    }
    let Ok(Members(members)) = serde_json::from_str(raw.get()) else {
        return Err(UnusableId::Blank);
    };
    let says = |key| members.iter().find(|(name, _)| name == key).and_then(|(_, raw)| text(raw));
    Ok(Entry {
        id: id_in(backend, &members)?,
        created_at: says(CREATED_AT),
        model: says(LAST_MODEL),
        effort: says(LAST_EFFORT).filter(|_| backend.has_effort()),
    })
}

fn id_in(backend: Backend, members: &[(Cow<'_, str>, &RawValue)]) -> Result<AgentSessionId, UnusableId> {
    let id = members.iter().find(|(name, _)| name == backend.id_key()).and_then(|(_, raw)| text(raw));
    AgentSessionId::new(&id.unwrap_or_default())
}

/// An entry's text: `members` with what `entry` says in their place.
fn write(backend: Backend, members: Vec<(Cow<'_, str>, &RawValue)>, entry: &Entry) -> Box<RawValue> {
    let id = raw_text(entry.id.as_str());
    let [created_at, model, effort] =
        [&entry.created_at, &entry.model, &entry.effort].map(|says| says.as_deref().map(raw_text));
    let mut members: Vec<(Cow<'_, str>, &RawValue)> = members;
    let mut said =
        vec![(backend.id_key(), Some(&*id)), (CREATED_AT, created_at.as_deref()), (LAST_MODEL, model.as_deref())];
    if backend.has_effort() {
        said.push((LAST_EFFORT, effort.as_deref()));
    }
    for (key, raw) in said {
        let Some(raw) = raw else { continue };
        match members.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = raw,
            None => members.push((Cow::Borrowed(key), raw)),
        }
    }
    let mut text = String::new();
    write_object(
        &mut text,
        0,
        members.iter().map(|(key, raw)| (&**key, *raw)).collect::<Vec<_>>().iter(),
        |text, raw| {
            text.push_str(raw.get());
        },
    );
    RawValue::from_string(text).expect("members that were JSON still are")
}

/// How deep brackets nest, outside of texts.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = rest.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => drop(rest.next()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

/// Writes any JSON as the file has it. Numbers stay as they were written, and so do texts that are no Unicode.
fn write_sorted(text: &mut String, level: usize, raw: &RawValue) {
    match raw.get().as_bytes().first() {
        Some(b'{') => {
            let Ok(Members(mut members)) = serde_json::from_str(raw.get()) else {
                return text.push_str(raw.get()); // a key that is no Unicode
            };
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            write_object(text, level, members.iter(), |text, raw| {
                write_sorted(text, level + 1, raw);
            });
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
            write_list(text, level, '[', ']', elements.iter(), |text, raw| {
                write_sorted(text, level + 1, raw);
            });
        }
        Some(b'"') => match serde_json::from_str::<Cow<'_, str>>(raw.get()) {
            Ok(decoded) => text.push_str(raw_text(&decoded).get()),
            Err(_) => text.push_str(raw.get()),
        },
        _ => text.push_str(raw.get()),
    }
}

fn write_object<'a, K: AsRef<str> + 'a, V: 'a>(
    text: &mut String,
    level: usize,
    members: impl ExactSizeIterator<Item = &'a (K, V)>,
    mut value: impl FnMut(&mut String, &'a V),
) {
    write_list(text, level, '{', '}', members, |text, (key, member)| {
        text.push_str(raw_text(key.as_ref()).get());
        text.push_str(": ");
        value(text, member);
    });
}

fn write_list<'a, T: 'a>(
    text: &mut String,
    level: usize,
    open: char,
    close: char,
    items: impl ExactSizeIterator<Item = &'a T>,
    mut item: impl FnMut(&mut String, &'a T),
) {
    const INDENT: &str = "  ";
    text.push(open);
    let empty = items.len() == 0;
    for (at, each) in items.enumerate() {
        text.push_str(if at == 0 { "\n" } else { ",\n" });
        text.extend(std::iter::repeat_n(INDENT, level + 1));
        item(text, each);
    }
    if !empty {
        text.push('\n');
        text.extend(std::iter::repeat_n(INDENT, level));
    }
    text.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Mapping {
        Mapping::parse(Backend::Claude, text.as_bytes()).unwrap()
    }

    fn name(text: &str) -> SessionName {
        SessionName::new(text).unwrap()
    }

    #[test]
    fn what_is_not_ours_comes_back_in_every_rewrite() {
        let odd = r#"{"zz": {"b": [1.50, 1e400, "\ud800", "\u00e9"], "a": {}}, "aliases": {
            "other": {"thread_id": "t", "n": 123456789012345678901234567890}, "none": null, "dash": {"session_id": "-x"},
            "mine": {"session_id": "i", "tags": ["x"], "last_model": ""}, "bare": "b"}, "workspace_dir": 5}"#;
        let mut mapping = parse(odd);
        assert_eq!(mapping.len(), 2);
        mapping.amend("mine", &Entry { model: Some("m".into()), ..mapping.get(&name("mine")).unwrap() });
        let text = mapping.to_text();
        assert_eq!(
            text,
            r#"{
  "aliases": {
    "bare": {
      "session_id": "b"
    },
    "dash": {
      "session_id": "-x"
    },
    "mine": {
      "last_model": "m",
      "session_id": "i",
      "tags": [
        "x"
      ]
    },
    "none": null,
    "other": {
      "n": 123456789012345678901234567890,
      "thread_id": "t"
    }
  },
  "workspace_dir": 5,
  "zz": {
    "a": {},
    "b": [
      1.50,
      1e400,
      "\ud800",
      "é"
    ]
  }
}
"#
        );
        assert_eq!(parse(&text).to_text(), text);
    }

    #[test]
    fn an_older_file_is_the_map_of_names_itself() {
        let mapping = parse(r#"{"d": {"session_id": "id-d"}, "s": "id-s", "workspace_dir": "/w"}"#);
        assert_eq!(mapping.workspace(), "/w");
        assert_eq!(mapping.entries().map(|(name, _)| name.to_owned()).collect::<Vec<_>>(), ["d", "s"]);
        let mapping = parse(r#"{"workspace_dir": {"session_id": "i"}}"#);
        assert_eq!(mapping.get(&name("workspace_dir")).unwrap().id.as_str(), "i");
        assert_eq!(parse("{}").len(), 0);
    }

    #[test]
    fn broken_files_are_told_from_those_we_cannot_hold() {
        let error = |text: &[u8]| Mapping::parse(Backend::Claude, text).unwrap_err();
        for broken in [&b""[..], b"{oops", b"[1, 2]", b"7", b"{} {}", b"{\"a\": \xff}", b"{\"a\": NaN}"] {
            assert!(matches!(error(broken), ParseError::NoObject(_)), "{}", String::from_utf8_lossy(broken));
        }
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        for cannot in [&b"{\"aliases\": {\"\\ud800\": 1}}"[..], deep.as_bytes()] {
            assert!(
                matches!(error(cannot), ParseError::CannotHold(_)),
                "{}",
                String::from_utf8_lossy(&cannot[..30.min(cannot.len())])
            );
        }
        assert_eq!(parse("{\"aliases\": null}").len(), 0);
        // what is no map of names is an entry of that name, and kept
        assert!(parse("{\"aliases\": [1], \"a\": \"i\"}").to_text().contains("\"aliases\": ["));
    }

    #[test]
    fn of_two_entries_with_one_name_the_last_counts() {
        let mapping = parse(r#"{"aliases": {"b": "1", "a": "2", "b": "3"}}"#);
        let ids: Vec<_> = mapping.entries().map(|(name, entry)| format!("{name}={}", entry.id)).collect();
        assert_eq!(ids, ["b=3", "a=2"]);
    }

    #[test]
    fn the_id_key_tells_whose_an_entry_is() {
        let mapping = parse(r#"{"aliases": {"a": {"thread_id": "t"}, "b": "x"}}"#);
        assert_eq!(mapping.id_of(&name("a"), Backend::Codex).unwrap().as_str(), "t");
        assert_eq!(mapping.id_of(&name("a"), Backend::Claude), None);
        assert_eq!(mapping.id_of(&name("b"), Backend::Claude), None);
    }

    #[test]
    fn renaming_moves_an_entry_whole() {
        let mut mapping = parse(r#"{"aliases": {"a": {"session_id": "i", "x": 1}, "b": "j"}}"#);
        mapping.rename(&name("a"), &name("b"));
        assert_eq!(mapping.get(&name("a")), None);
        assert!(mapping.to_text().contains("\"x\": 1"));
        assert_eq!(mapping.get(&name("b")).unwrap().id.as_str(), "i");
    }
}
