//! What is in a mapping file. Nothing here touches a file system.
//!
//! Only the parts we know are understood; everything else is kept as the text it was, however large or odd its numbers
//! are, and comes back in every rewrite.

#[cfg(test)]
mod properties;

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::backend::Backend;
use crate::json::{Key, Members};
use crate::session::{AgentSessionId, SessionName, UnusableId};

const ALIASES: &str = "aliases";
const WORKSPACE: &str = "workspace_dir";
const CREATED_AT: &str = "created_at";
const LAST_MODEL: &str = "last_model";
const LAST_EFFORT: &str = "last_reasoning_effort";

/// Deeper nesting than this is not followed; `serde_json` has the same bound.
const DEEPEST: usize = 128;

/// We write a file with one key beside its entries, others may have added some. More than that is an older file.
const MOST_OTHERS: usize = 16;

/// A mapping as it stands in memory: entries in the order of the file, each as the text it was.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    backend: Backend,
    /// The file's text, which is not copied piece by piece.
    source: Rc<String>,
    workspace: Option<Piece>,
    entries: Vec<(Piece, Piece)>,
    /// Keys beside `aliases` and `workspace_dir`.
    others: Vec<(Piece, Piece)>,
}

/// A name, or the JSON it stands for. Small: there may be many, and memory that is touched for the first time is dear.
#[derive(Clone, Debug)]
enum Piece {
    /// A part of the text that was read, which is no longer than a mapping may be.
    Read {
        start: u32,
        length: u32,
    },
    New(Box<str>),
}

impl Piece {
    fn new(text: impl Into<Box<str>>) -> Self {
        Self::New(text.into())
    }

    /// `part` is a slice of `source`.
    fn part(source: &str, part: &str) -> Self {
        let start = part.as_ptr().addr() - source.as_ptr().addr();
        match (u32::try_from(start), u32::try_from(part.len())) {
            (Ok(start), Ok(length)) => Self::Read { start, length },
            _ => Self::new(part),
        }
    }

    fn parts(source: &str, members: Vec<(Cow<'_, str>, &RawValue)>) -> Vec<(Self, Self)> {
        let key = |key| match key {
            Cow::Borrowed(key) => Self::part(source, key),
            Cow::Owned(key) => Self::new(key),
        };
        members.into_iter().map(|(name, raw)| (key(name), Self::part(source, raw.get()))).collect()
    }

    fn text<'a>(&'a self, source: &'a str) -> &'a str {
        match self {
            Self::Read { start, length } => &source[*start as usize..][..*length as usize],
            Self::New(text) => text,
        }
    }
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
        Self { backend, source: Rc::default(), workspace: None, entries: Vec::new(), others: Vec::new() }
    }

    pub(crate) fn parse(backend: Backend, bytes: Vec<u8>) -> Result<Self, ParseError> {
        let source = String::from_utf8(bytes).map_err(|error| ParseError::NoObject(error.utf8_error().to_string()))?;
        let (workspace, entries, others) = match Today::read(&source) {
            Some(today) => today,
            None => read_any(&source)?,
        };
        Ok(Self { backend, source: Rc::new(source), workspace, entries, others })
    }

    /// Whether this is what was read.
    pub(crate) fn was_read_from(&self, text: &str) -> bool {
        *self.source == text
    }

    /// The workspace the file names; empty where it names none.
    pub(crate) fn workspace(&self) -> String {
        self.workspace.as_ref().and_then(|piece| text(self.text(piece))).unwrap_or_default()
    }

    pub(crate) fn set_workspace(&mut self, workspace: &str) {
        self.workspace = Some(Piece::new(json_text(workspace)));
    }

    pub(crate) fn set_workspace_if_empty(&mut self, workspace: &str) {
        if self.workspace().is_empty() {
            self.set_workspace(workspace);
        }
    }

    /// The entries we can use, in the order of the file.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, Entry)> {
        self.pieces().filter_map(|(name, json)| Some((name, understand(self.backend, json).ok()?)))
    }

    /// The entries that hold this id, in the order of their names.
    fn holders(&self, id: &AgentSessionId) -> Vec<(&str, Entry)> {
        // most are seen not to without being understood; escapes could spell it in another way
        let spelled = memchr::memmem::Finder::new(id.as_str()).into_owned();
        let mut holders: Vec<_> = self
            .pieces()
            .filter(move |(_, json)| {
                spelled.find(json.as_bytes()).is_some() || memchr::memchr(b'\\', json.as_bytes()).is_some()
            })
            .filter_map(|(name, json)| Some((name, understand(self.backend, json).ok()?)))
            .filter(|(_, entry)| entry.id == *id)
            .collect();
        holders.sort_by_key(|(name, _)| *name);
        holders
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
        let Members(members) = serde_json::from_str(self.raw(name)?).ok()?;
        id_in(backend, &members).ok()
    }

    /// Returns the entry that holds this id and whose name sorts first, with that name.
    pub(crate) fn find(&self, id: &AgentSessionId) -> Option<(SessionName, Entry)> {
        let (name, entry) = self.holders(id).into_iter().next()?;
        Some((SessionName::verbatim(name), entry))
    }

    /// Returns the sorted names of all entries that hold this id.
    pub(crate) fn names_of(&self, id: &AgentSessionId) -> Vec<String> {
        self.holders(id).into_iter().map(|(name, _)| name.to_owned()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries().count()
    }

    /// Puts `entry` in the place of whatever the name holds.
    pub(crate) fn insert(&mut self, name: &SessionName, entry: &Entry) {
        self.put(name.as_str(), Piece::new(write(self.backend, Vec::new(), entry)));
    }

    /// Changes what the name's entry says and keeps what else is in it.
    pub(crate) fn amend(&mut self, name: &str, entry: &Entry) {
        if let Some(at) = self.position(name) {
            let old = self.text(&self.entries[at].1);
            let members = serde_json::from_str(old).map(|Members(members)| members).unwrap_or_default();
            self.entries[at].1 = Piece::new(write(self.backend, members, entry));
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        let source = Rc::clone(&self.source);
        self.entries.retain(|(key, _)| key.text(&source) != name);
    }

    /// Gives an entry another name, in the place of whatever that holds. Nothing of the entry changes.
    pub(crate) fn rename(&mut self, name: &SessionName, to: &SessionName) {
        if let Some(at) = self.position(name.as_str()) {
            let (_, entry) = self.entries.remove(at);
            self.put(to.as_str(), entry);
        }
    }

    /// The file's text: keys sorted, indented by two, anything but ASCII unescaped, one newline at the end.
    pub(crate) fn to_text(&self) -> String {
        let mut top: Vec<(&str, Option<&str>)> =
            self.others.iter().map(|(key, json)| (self.text(key), Some(self.text(json)))).collect();
        top.push((ALIASES, None));
        if let Some(workspace) = &self.workspace {
            top.push((WORKSPACE, Some(self.text(workspace))));
        }
        top.sort_by_key(|(key, _)| *key);
        let mut text = String::with_capacity(self.source.len() + 1024);
        write_object(&mut text, 0, top.iter(), |text, value| match value {
            Some(json) => write_sorted(text, 1, json),
            None => self.write_entries(text),
        });
        text.push('\n');
        text
    }

    fn write_entries(&self, text: &mut String) {
        let mut entries: Vec<(&str, Cow<'_, str>)> = self
            .pieces()
            .map(|(name, json)| {
                // an id alone becomes an entry like the others
                let entry = if json.starts_with('"') { understand(self.backend, json).ok() } else { None };
                (name, entry.map_or(Cow::Borrowed(json), |entry| Cow::Owned(write(self.backend, vec![], &entry))))
            })
            .collect();
        entries.sort_by_key(|(name, _)| *name);
        write_object(text, 1, entries.iter(), |text, json| write_sorted(text, 2, json));
    }

    fn text<'a>(&'a self, piece: &'a Piece) -> &'a str {
        piece.text(&self.source)
    }

    /// All entries: names and JSON.
    fn pieces(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(name, json)| (self.text(name), self.text(json)))
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|(key, _)| self.text(key) == name)
    }

    fn raw(&self, name: &SessionName) -> Option<&str> {
        self.position(name.as_str()).map(|at| self.text(&self.entries[at].1))
    }

    fn put(&mut self, name: &str, entry: Piece) {
        match self.position(name) {
            Some(at) => self.entries[at].1 = entry,
            None => self.entries.push((Piece::new(name), entry)),
        }
    }
}

/// What a file says: the workspace, the entries, the rest.
type Contents = (Option<Piece>, Vec<(Piece, Piece)>, Vec<(Piece, Piece)>);

/// A file as we write it, read in one go. Every other is an error, and left to [`read_any`].
struct Today<'a> {
    aliases: Members<'a>,
    rest: Members<'a>,
}

impl Today<'_> {
    fn read(source: &str) -> Option<Contents> {
        let Today { aliases: Members(aliases), rest: Members(mut rest) } = serde_json::from_str(source).ok()?;
        let deep = |members: &[(Cow<'_, str>, &RawValue)], above| {
            members.iter().any(|(_, raw)| is_deeper(raw.get().as_bytes(), DEEPEST - above))
        };
        if deep(&aliases, 2) || deep(&rest, 1) {
            return None;
        }
        let workspace = rest.iter().position(|(key, _)| key == WORKSPACE).map(|at| rest.remove(at).1);
        let workspace = workspace.map(|raw| Piece::part(source, raw.get()));
        Some((workspace, Piece::parts(source, aliases), Piece::parts(source, rest)))
    }
}

impl<'de> Deserialize<'de> for Today<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOneGo;
        impl<'de> Visitor<'de> for InOneGo {
            type Value = Today<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut aliases, mut rest) = (None, Vec::new());
                while let Some(Key(key)) = map.next_key()? {
                    let repeated = rest.iter().any(|(other, _)| *other == key) || (key == ALIASES && aliases.is_some());
                    if repeated || rest.len() > MOST_OTHERS {
                        return Err(A::Error::custom("this is not how we write it"));
                    }
                    if key == ALIASES {
                        aliases = Some(map.next_value()?);
                    } else {
                        rest.push((key, map.next_value()?));
                    }
                }
                let aliases = aliases.ok_or_else(|| A::Error::missing_field(ALIASES))?;
                Ok(Today { aliases, rest: Members(rest) })
            }
        }
        deserializer.deserialize_map(InOneGo)
    }
}

/// Reads a file of any form there has been, or tells what is wrong with it.
fn read_any(source: &str) -> Result<Contents, ParseError> {
    let no_object = |why: &dyn fmt::Display| ParseError::NoObject(why.to_string());
    let cannot_hold = |why: &dyn fmt::Display| ParseError::CannotHold(why.to_string());
    let too_deep = || cannot_hold(&format_args!("it is nested deeper than {DEEPEST} levels"));
    if is_deeper(source.as_bytes(), DEEPEST) {
        return Err(too_deep());
    }
    let whole: &RawValue = serde_json::from_str(source).map_err(|error| no_object(&error))?;
    if !whole.get().starts_with('{') {
        return Err(ParseError::NoObject("its top level is something else".to_owned()));
    }
    let Members(mut top) = serde_json::from_str(whole.get()).map_err(|error| cannot_hold(&error))?;
    let mut take = |key, wanted: fn(&RawValue) -> bool| {
        top.iter().position(|(name, raw)| name == key && wanted(raw)).map(|at| top.remove(at).1)
    };
    let workspace = take(WORKSPACE, |_| true);
    let part = |raw: &RawValue| Piece::part(source, raw.get());
    let Some(aliases) = take(ALIASES, |raw| raw.get().starts_with(['{', 'n'])) else {
        // an older file: the top level is the map of names. Written anew everything is one level deeper, which must be
        // read again.
        if is_deeper(source.as_bytes(), DEEPEST - 1) {
            return Err(too_deep());
        }
        // what is no text cannot be its workspace
        let (workspace, name) = match workspace {
            Some(raw) if raw.get().starts_with('"') => (Some(raw), None),
            other => (None, other),
        };
        let mut entries = Piece::parts(source, top);
        entries.extend(name.map(|raw| (Piece::new(WORKSPACE), part(raw))));
        return Ok((workspace.map(part), entries, Vec::new()));
    };
    // null is no entry at all
    let Members(aliases) = match aliases.get() {
        "null" => Members::default(),
        object => serde_json::from_str(object).map_err(|error| cannot_hold(&error))?,
    };
    Ok((workspace.map(part), Piece::parts(source, aliases), Piece::parts(source, top)))
}

/// The text in `json`, if it is one that is not empty.
fn text(json: &str) -> Option<String> {
    serde_json::from_str(json).ok().filter(|text: &String| !text.is_empty())
}

fn json_text(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

/// What an entry says: an object, or just the id.
fn understand(backend: Backend, json: &str) -> Result<Entry, UnusableId> {
    if json.starts_with('"') {
        let id = AgentSessionId::new(&text(json).unwrap_or_default())?;
        return Ok(Entry { id, created_at: None, model: None, effort: None });
    }
    let Ok(Members(members)) = serde_json::from_str(json) else {
        return Err(UnusableId::Blank);
    };
    let says = |key| members.iter().find(|(name, _)| name == key).and_then(|(_, raw)| text(raw.get()));
    Ok(Entry {
        id: id_in(backend, &members)?,
        created_at: says(CREATED_AT),
        model: says(LAST_MODEL),
        effort: says(LAST_EFFORT).filter(|_| backend.has_effort()),
    })
}

fn id_in(backend: Backend, members: &[(Cow<'_, str>, &RawValue)]) -> Result<AgentSessionId, UnusableId> {
    let id = members.iter().find(|(name, _)| name == backend.id_key()).and_then(|(_, raw)| text(raw.get()));
    AgentSessionId::new(&id.unwrap_or_default())
}

/// An entry's text: `members` with what `entry` says in their place.
fn write(backend: Backend, members: Vec<(Cow<'_, str>, &RawValue)>, entry: &Entry) -> String {
    let mut members: Vec<(Cow<'_, str>, Cow<'_, str>)> =
        members.into_iter().map(|(key, raw)| (key, Cow::Borrowed(raw.get()))).collect();
    let mut said = vec![
        (backend.id_key(), Some(entry.id.as_str())),
        (CREATED_AT, entry.created_at.as_deref()),
        (LAST_MODEL, entry.model.as_deref()),
    ];
    if backend.has_effort() {
        said.push((LAST_EFFORT, entry.effort.as_deref()));
    }
    for (key, text) in said {
        let Some(json) = text.map(json_text) else { continue };
        match members.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = json.into(),
            None => members.push((Cow::Borrowed(key), json.into())),
        }
    }
    let mut text = String::new();
    write_object(&mut text, 0, members.iter(), |text, json| text.push_str(json));
    text
}

/// Whether brackets nest deeper than this. Where there are no more than so many, they are not looked at one by one.
fn is_deeper(json: &[u8], limit: usize) -> bool {
    memchr::memchr2_iter(b'{', b'[', json).nth(limit).is_some() && depth(json) > limit
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
fn write_sorted(text: &mut String, level: usize, json: &str) {
    match json.as_bytes().first() {
        Some(b'{') => {
            let Ok(Members(mut members)) = serde_json::from_str(json) else {
                return text.push_str(json); // a key that is no Unicode
            };
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            write_object(text, level, members.iter(), |text, raw| {
                write_sorted(text, level + 1, raw.get());
            });
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
            write_list(text, level, '[', ']', elements.iter(), |text, raw| {
                write_sorted(text, level + 1, raw.get());
            });
        }
        Some(b'"') => match serde_json::from_str(json) {
            Ok(Key(decoded)) => write_text(text, &decoded),
            Err(_) => text.push_str(json),
        },
        _ => text.push_str(json),
    }
}

/// Writes a text as JSON.
fn write_text(text: &mut String, content: &str) {
    if content.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        return text.push_str(&json_text(content));
    }
    text.push('"');
    text.push_str(content);
    text.push('"');
}

fn write_object<'a, K: AsRef<str> + 'a, V: 'a>(
    text: &mut String,
    level: usize,
    members: impl ExactSizeIterator<Item = &'a (K, V)>,
    mut value: impl FnMut(&mut String, &'a V),
) {
    write_list(text, level, '{', '}', members, |text, (key, member)| {
        write_text(text, key.as_ref());
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
        Mapping::parse(Backend::Claude, text.into()).unwrap()
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
        let error = |text: &[u8]| Mapping::parse(Backend::Claude, text.to_vec()).unwrap_err();
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
    fn both_ways_of_reading_know_the_same_depth_and_the_last_of_a_key() {
        // an older file is one level deeper when it is written anew
        let older = ("{\"x\": ", 1, DEEPEST - 1);
        let today = [("{\"aliases\": {\"a\": ", 2, DEEPEST), ("{\"aliases\": {}, \"x\": ", 1, DEEPEST)];
        for (before, brackets, deepest) in today.into_iter().chain([older]) {
            for (depth, fits) in [(deepest, true), (deepest + 1, false)] {
                let inner = depth - brackets;
                let json = format!("{before}{}{}{}", "[".repeat(inner), "]".repeat(inner), "}".repeat(brackets));
                let parsed = Mapping::parse(Backend::Claude, json.into_bytes());
                assert_eq!(parsed.is_ok(), fits, "{before} {depth}");
                assert!(fits || matches!(parsed, Err(ParseError::CannotHold(_))), "{before} {depth}");
            }
        }
        let twice = parse(r#"{"x": 1, "aliases": {"a": "1"}, "x": 2, "aliases": {"b": "2"}}"#).to_text();
        assert_eq!(
            twice,
            "{\n  \"aliases\": {\n    \"b\": {\n      \"session_id\": \"2\"\n    }\n  },\n  \"x\": 2\n}\n"
        );
        let many = (0..40).map(|number| format!("\"k{number}\": {number}, ")).collect::<Vec<_>>().concat();
        assert_eq!(parse(&format!("{{{many}\"aliases\": {{\"a\": \"i\"}}}}")).len(), 1);
    }

    #[test]
    fn an_id_is_found_however_it_is_spelled() {
        let mapping = parse(
            r#"{"aliases": {"a": {"session_id": "i\u0064"}, "b": "id", "c": {"session_id": "other", "x": "id"}}}"#,
        );
        assert_eq!(mapping.names_of(&AgentSessionId::new("id").unwrap()), ["a", "b"]);
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
