//! The content of a mapping file. Nothing here touches a file system.
//!
//! Only known parts are parsed. All others keep their text, however large or odd their numbers are, and survive every
//! rewrite.

#[cfg(test)]
mod properties;
mod writer;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::dir::Writers;
use super::role::RoleChange;
use crate::backend::Backend;
use crate::json::{Key, Members, Pairs};
use crate::session::{AgentSessionId, SessionName, UnusableId};
use crate::sort::sort_by;
use writer::{Writer, json_text, string_end};

const ALIASES: &str = "aliases";
const WORKSPACE: &str = "workspace_dir";
const CREATED_AT: &str = "created_at";
const LAST_MODEL: &str = "last_model";
const FIRST_TURN_STOPPED: &str = "first_turn_stopped";
const LAST_EFFORT: &str = "last_reasoning_effort";
const SETTINGS: &str = "settings";

/// The deepest nesting of a file, before and after a rewrite. `serde_json` has the same limit.
const DEEPEST: usize = 128;

/// A mapping in memory: entries in the order of the file, each with its text.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    backend: Backend,
    /// The file's text, which slices refer to.
    source: Rc<String>,
    contents: Contents,
    /// The changes of roles since the mapping was parsed.
    role_changes: Vec<RoleChange>,
    writers: Writers,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    workspace: Option<Slice>,
    entries: Vec<(Slice, Slice)>,
    /// The keys other than `aliases` and `workspace_dir`.
    unknown_keys: Vec<(Slice, Slice)>,
}

/// A name, or the JSON of a value. It is small, because there may be many and the first access to memory is slow.
#[derive(Clone, Debug)]
enum Slice {
    /// A part of the file's text.
    Source(Range<u32>),
    New(Box<str>),
}

impl Slice {
    fn new(text: impl Into<Box<str>>) -> Self {
        Self::New(text.into())
    }

    /// Refers to `part`, which is borrowed from `source`.
    fn part(source: &str, part: &str) -> Self {
        let start = part.as_ptr().addr() - source.as_ptr().addr();
        Self::Source(offset(start)..offset(start + part.len()))
    }

    fn text<'a>(&'a self, source: &'a str) -> &'a str {
        match self {
            Self::Source(range) => &source[range.start as usize..range.end as usize],
            Self::New(text) => text,
        }
    }
}

fn offset(position: usize) -> u32 {
    u32::try_from(position).expect("a mapping is shorter than 4 GiB")
}

/// The fields of an entry that this program uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub id: AgentSessionId,
    pub created_at: Option<String>,
    pub model: Option<String>,
    pub effort: Option<String>,
    /// Whether the first turn of the session was stopped, and no later one succeeded. The agent may not have the session.
    pub first_turn_stopped: bool,
    /// The JSON object of the [settings](super::settings::StoredSettings).
    pub settings: Option<String>,
}

/// Why a file is not a mapping.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ParseError {
    /// It is not a JSON object, and can be moved aside.
    Malformed(String),
    /// It may be well-formed, but cannot be read and written back.
    Unsupported(String),
}

impl Mapping {
    pub(crate) fn new(backend: Backend) -> Self {
        Self {
            backend,
            source: Rc::default(),
            contents: Contents::default(),
            role_changes: Vec::new(),
            writers: Writers::Own,
        }
    }

    pub(crate) fn parse(backend: Backend, bytes: Vec<u8>) -> Result<Self, ParseError> {
        let source = String::from_utf8(bytes).map_err(|error| ParseError::Malformed(error.utf8_error().to_string()))?;
        let contents = Contents::parse(&source)?;
        Ok(Self { backend, source: Rc::new(source), contents, role_changes: Vec::new(), writers: Writers::Own })
    }

    /// Returns the mapping with the possible writers of its file.
    pub(super) fn written_by(self, writers: Writers) -> Self {
        Self { writers, ..self }
    }

    pub(super) fn writers(&self) -> &Writers {
        &self.writers
    }

    /// Removes the settings of all entries, also those of other backends. Returns whether there were any.
    pub(super) fn remove_settings(&mut self) -> bool {
        let mut removed = false;
        for (_, entry) in &mut self.contents.entries {
            let Ok(Members(mut members)) = serde_json::from_str(entry.text(&self.source)) else { continue };
            let count = members.len();
            members.retain(|(name, json)| !is_settings(name, json.get()));
            if members.len() < count {
                let mut writer = Writer::with_capacity(0);
                writer.object(members, |writer, json| writer.verbatim(json.get()));
                *entry = Slice::new(writer.into_text());
                removed = true;
            }
        }
        removed
    }

    /// Returns whether the mapping was parsed from `text`.
    pub(crate) fn was_read_from(&self, text: &str) -> bool {
        *self.source == text
    }

    /// Returns the workspace in the file, or an empty string.
    pub(crate) fn workspace(&self) -> String {
        self.contents.workspace.as_ref().and_then(|slice| text(self.text(slice))).unwrap_or_default()
    }

    pub(crate) fn set_workspace(&mut self, workspace: &str) {
        self.contents.workspace = Some(Slice::new(json_text(workspace)));
    }

    pub(crate) fn set_workspace_if_empty(&mut self, workspace: &str) {
        if self.workspace().is_empty() {
            self.set_workspace(workspace);
        }
    }

    /// Returns the usable entries, in the order of the file.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, Entry)> {
        self.raw_entries().filter_map(|(name, json)| Some((name, parse_entry(self.backend, json).ok()?)))
    }

    /// Returns the entries with this session ID, sorted by name.
    fn entries_with(&self, id: &AgentSessionId) -> Vec<(&str, Entry)> {
        // skips most entries without parsing them, except those with escapes, which may spell the ID differently
        let finder = memchr::memmem::Finder::new(id.as_str()).into_owned();
        let mut entries: Vec<_> = self
            .raw_entries()
            .filter(move |(_, json)| {
                finder.find(json.as_bytes()).is_some() || memchr::memchr(b'\\', json.as_bytes()).is_some()
            })
            .filter_map(|(name, json)| Some((name, parse_entry(self.backend, json).ok()?)))
            .filter(|(_, entry)| entry.id == *id)
            .collect();
        sort_by(&mut entries, |(one, _), (other, _)| one.cmp(other));
        entries
    }

    pub(crate) fn get(&self, name: &SessionName) -> Option<Entry> {
        parse_entry(self.backend, self.raw(name)?).ok()
    }

    /// Returns whether the name has an entry, usable or not.
    pub(crate) fn contains(&self, name: &SessionName) -> bool {
        self.raw(name).is_some()
    }

    /// Returns why the entry of this name is unusable, or `None` if it is usable or missing.
    pub(crate) fn why_unusable(&self, name: &SessionName) -> Option<UnusableId> {
        parse_entry(self.backend, self.raw(name)?).err()
    }

    /// Returns the session ID in the entry of this name, if it is an ID of `backend`. The mapping may be another
    /// backend's. An entry that is just an ID does not identify its backend.
    pub(crate) fn id_of(&self, name: &SessionName, backend: Backend) -> Option<AgentSessionId> {
        id_field(backend, &serde_json::from_str(self.raw(name)?).ok()?).ok()
    }

    /// Returns the first entry with this session ID, by name.
    pub(crate) fn find(&self, id: &AgentSessionId) -> Option<(SessionName, Entry)> {
        let (name, entry) = self.entries_with(id).into_iter().next()?;
        Some((SessionName::verbatim(name), entry))
    }

    /// Returns the sorted names of all entries with this session ID.
    pub(crate) fn names_of(&self, id: &AgentSessionId) -> Vec<String> {
        self.entries_with(id).into_iter().map(|(name, _)| name.to_owned()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries().count()
    }

    /// Adds an entry, or replaces the one of this name.
    pub(crate) fn insert(&mut self, name: &SessionName, entry: &Entry) {
        self.put(name.as_str(), Slice::new(entry_text(self.backend, Members::default(), entry)));
    }

    /// Updates the fields of an entry. Other fields are kept, and so are fields that `entry` does not have.
    pub(crate) fn amend(&mut self, name: &str, entry: &Entry) {
        if let Some(at) = self.position(name) {
            let old = self.text(&self.contents.entries[at].1);
            let mut members: Members<'_> = serde_json::from_str(old).unwrap_or_default();
            let old = parse_entry(self.backend, old).ok();
            if old.as_ref().is_some_and(|old| old.model.is_some()) && entry.model.is_none() {
                members.0.retain(|(name, _)| name != LAST_MODEL);
            }
            if old.as_ref().is_some_and(|old| old.effort.is_some()) && entry.effort.is_none() {
                members.0.retain(|(name, _)| name != LAST_EFFORT);
            }
            let from = old.map(|old| old.id).filter(|old| *old != entry.id);
            self.contents.entries[at].1 = Slice::new(entry_text(self.backend, members, entry));
            self.role_changes.extend(from.map(|from| RoleChange::Move { from, to: entry.id.clone() }));
        }
    }

    /// Keeps the role that the session begins with.
    pub(crate) fn keep_role(&mut self, id: &AgentSessionId, role: &str) {
        if !role.is_empty() && self.backend.capabilities().system_prompt {
            self.role_changes.push(RoleChange::Keep(id.clone(), role.to_owned()));
        }
    }

    /// Returns the changes of roles that belong to the changes of entries so far.
    pub(super) fn take_role_changes(&mut self) -> Vec<RoleChange> {
        std::mem::take(&mut self.role_changes)
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.release_role(name);
        self.contents.entries.retain(|(key, _)| key.text(&self.source) != name);
    }

    /// Renames an entry, and replaces the one that has the new name. The entry itself does not change.
    pub(crate) fn rename(&mut self, name: &SessionName, to: &SessionName) {
        if let Some(at) = self.position(name.as_str()) {
            let (_, entry) = self.contents.entries.remove(at);
            self.put(to.as_str(), entry);
        }
    }

    /// Returns the text of the file: keys sorted, indented by two spaces, non-ASCII characters unescaped, and one line
    /// break at the end.
    pub(crate) fn to_text(&self) -> String {
        let mut top: Vec<(&str, Option<&str>)> =
            self.contents.unknown_keys.iter().map(|(key, json)| (self.text(key), Some(self.text(json)))).collect();
        top.push((ALIASES, None));
        if let Some(workspace) = &self.contents.workspace {
            top.push((WORKSPACE, Some(self.text(workspace))));
        }
        let mut writer = Writer::with_capacity(self.source.len() + 1024);
        writer.object(top, |writer, value| match value {
            Some(json) => writer.json(json),
            None => writer.object(self.raw_entries().collect(), |writer, json| self.write_entry(writer, json)),
        });
        let mut text = writer.into_text();
        text.push('\n');
        text
    }

    fn write_entry(&self, writer: &mut Writer, json: &str) {
        // an entry that is just an ID becomes an object
        let id = if json.starts_with('"') { parse_entry(self.backend, json).ok() } else { None };
        let entry =
            id.map_or(Cow::Borrowed(json), |entry| Cow::Owned(entry_text(self.backend, Members::default(), &entry)));
        writer.json(&entry);
    }

    fn text<'a>(&'a self, slice: &'a Slice) -> &'a str {
        slice.text(&self.source)
    }

    /// Returns the names and the JSON of all entries.
    fn raw_entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.contents.entries.iter().map(|(name, json)| (self.text(name), self.text(json)))
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.contents.entries.iter().position(|(key, _)| self.text(key) == name)
    }

    fn raw(&self, name: &SessionName) -> Option<&str> {
        self.position(name.as_str()).map(|at| self.text(&self.contents.entries[at].1))
    }

    /// Notes that the name no longer refers to its session.
    fn release_role(&mut self, name: &str) {
        if !self.backend.capabilities().system_prompt {
            return;
        }
        let entry = self.position(name).map(|at| self.text(&self.contents.entries[at].1));
        let id = entry.and_then(|entry| parse_entry(self.backend, entry).ok()).map(|entry| entry.id);
        self.role_changes.extend(id.map(RoleChange::Release));
    }

    fn put(&mut self, name: &str, entry: Slice) {
        self.release_role(name);
        match self.position(name) {
            Some(at) => self.contents.entries[at].1 = entry,
            None => self.contents.entries.push((Slice::new(name), entry)),
        }
    }
}

impl Contents {
    fn parse(source: &str) -> Result<Self, ParseError> {
        // the aliases are usually an object, which can be parsed in the same pass
        let top = TopLevel::parse(source, true).or_else(|_| TopLevel::parse(source, false));
        let TopLevel { aliases, members: Members(mut members) } = top.map_err(|error| refusal(source, &error))?;
        let mut take = |key, is_wanted: fn(&str) -> bool| {
            let position = members.iter().position(|(name, raw)| name == key && is_wanted(raw.get()))?;
            Some(members.remove(position).1.get())
        };
        let aliases = match take(ALIASES, |raw| raw.starts_with('{') || raw == "null") {
            Some("null") => Some(Members::default()),
            Some(object) => Some(serde_json::from_str(object).map_err(|error| unsupported(&error))?),
            None => aliases,
        };
        let slice = |raw| Slice::part(source, raw);
        match aliases {
            Some(Members(entries)) => Ok(Self {
                workspace: take(WORKSPACE, |_| true).map(slice),
                entries: slices(source, entries),
                unknown_keys: slices(source, members),
            }),
            // the top level of an older file is the map of names, and a rewrite makes everything one level deeper
            None if is_deeper(source, DEEPEST - 1) => Err(too_deep()),
            None => Ok(Self {
                workspace: take(WORKSPACE, |raw| raw.starts_with('"')).map(slice),
                entries: slices(source, members),
                unknown_keys: Vec::new(),
            }),
        }
    }
}

fn slices(source: &str, members: Vec<(Cow<'_, str>, &RawValue)>) -> Vec<(Slice, Slice)> {
    let name_slice = |name| match name {
        Cow::Borrowed(name) => Slice::part(source, name),
        Cow::Owned(name) => Slice::new(name),
    };
    members.into_iter().map(|(name, raw)| (name_slice(name), Slice::part(source, raw.get()))).collect()
}

/// The members of a file, with `aliases` apart if it was parsed in the same pass.
struct TopLevel<'a> {
    aliases: Option<Members<'a>>,
    members: Members<'a>,
}

impl<'a> TopLevel<'a> {
    /// Parses a file whose nesting is not too deep. `with_aliases` also parses `aliases`, which must be an object then.
    fn parse(source: &'a str, with_aliases: bool) -> serde_json::Result<Self> {
        let mut deserializer = serde_json::Deserializer::from_str(source);
        let top = deserializer.deserialize_map(TopLevelVisitor { with_aliases })?;
        deserializer.end()?;
        Ok(top)
    }
}

struct TopLevelVisitor {
    with_aliases: bool,
}

impl<'de> Visitor<'de> for TopLevelVisitor {
    type Value = TopLevel<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let check = |raw: &RawValue, above| {
            if is_deeper(raw.get(), DEEPEST - above) { Err(A::Error::custom("nested too deep")) } else { Ok(()) }
        };
        let (mut aliases, mut members) = (None, Vec::new());
        while let Some(Key(key)) = map.next_key()? {
            if self.with_aliases && key == ALIASES {
                let Pairs(entries) = map.next_value()?;
                entries.iter().try_for_each(|(_, raw)| check(raw, 2))?;
                aliases = Some(Members::new(entries));
            } else {
                let raw = map.next_value()?;
                check(raw, 1)?;
                members.push((key, raw));
            }
        }
        Ok(TopLevel { aliases, members: Members::new(members) })
    }
}

/// Returns why a file is not a mapping, if its top level cannot be parsed because of `error`.
fn refusal(source: &str, error: &serde_json::Error) -> ParseError {
    if is_deeper(source, DEEPEST) {
        return too_deep();
    }
    match serde_json::from_str::<&RawValue>(source) {
        Err(error) => ParseError::Malformed(error.to_string()),
        Ok(raw) if !raw.get().starts_with('{') => ParseError::Malformed("its top level is not an object".to_owned()),
        Ok(_) => unsupported(error),
    }
}

fn too_deep() -> ParseError {
    ParseError::Unsupported(format!("it is nested deeper than {DEEPEST} levels"))
}

fn unsupported(error: &serde_json::Error) -> ParseError {
    ParseError::Unsupported(error.to_string())
}

/// Returns the content of a string that is not empty.
fn text(json: &str) -> Option<String> {
    serde_json::from_str(json).ok().filter(|text: &String| !text.is_empty())
}

/// Parses an entry, which is an object or just an ID.
fn parse_entry(backend: Backend, json: &str) -> Result<Entry, UnusableId> {
    if json.starts_with('"') {
        let id = AgentSessionId::new(&text(json).unwrap_or_default())?;
        return Ok(Entry {
            id,
            created_at: None,
            model: None,
            effort: None,
            first_turn_stopped: false,
            settings: None,
        });
    }
    let members: Members<'_> = serde_json::from_str(json).map_err(|_| UnusableId::Blank)?;
    Ok(Entry {
        id: id_field(backend, &members)?,
        created_at: field(&members, CREATED_AT),
        model: field(&members, LAST_MODEL),
        effort: field(&members, LAST_EFFORT).filter(|_| backend.capabilities().effort),
        first_turn_stopped: members.get(FIRST_TURN_STOPPED).is_some_and(is_true),
        settings: members
            .get(SETTINGS)
            .map(RawValue::get)
            .filter(|json| is_settings(SETTINGS, json))
            .map(str::to_owned),
    })
}

fn is_true(json: &RawValue) -> bool {
    json.get() == "true"
}

/// Returns whether a member of an entry is its settings. A key `settings` with another value is not from this program.
fn is_settings(key: &str, json: &str) -> bool {
    key == SETTINGS && json.starts_with('{')
}

fn field(members: &Members<'_>, name: &str) -> Option<String> {
    text(members.get(name)?.get())
}

fn id_field(backend: Backend, members: &Members<'_>) -> Result<AgentSessionId, UnusableId> {
    AgentSessionId::new(&field(members, backend.id_key()).unwrap_or_default())
}

/// Returns the text of an object: `members`, with the fields of `entry` in their place.
fn entry_text(backend: Backend, Members(members): Members<'_>, entry: &Entry) -> String {
    let mut members: Vec<(Cow<'_, str>, Cow<'_, str>)> =
        members.into_iter().map(|(name, raw)| (name, Cow::Borrowed(raw.get()))).collect();
    if !entry.first_turn_stopped {
        members.retain(|(name, json)| name != FIRST_TURN_STOPPED || json != "true");
    }
    if entry.settings.is_none() {
        members.retain(|(name, json)| !is_settings(name, json));
    }
    let fields = [
        (backend.id_key(), Some(json_text(entry.id.as_str()))),
        (CREATED_AT, entry.created_at.as_deref().map(json_text)),
        (FIRST_TURN_STOPPED, entry.first_turn_stopped.then(|| "true".to_owned())),
        (LAST_MODEL, entry.model.as_deref().map(json_text)),
        (LAST_EFFORT, entry.effort.as_deref().filter(|_| backend.capabilities().effort).map(json_text)),
        (SETTINGS, entry.settings.clone()),
    ];
    for (key, content) in fields {
        let Some(json) = content else { continue };
        match members.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = json.into(),
            None => members.push((Cow::Borrowed(key), json.into())),
        }
    }
    let mut writer = Writer::with_capacity(0);
    writer.object(members, |writer, json| writer.verbatim(&json));
    writer.into_text()
}

/// Returns whether brackets nest deeper than `limit`. Skips the count of levels if there are no more brackets than that.
fn is_deeper(json: &str, limit: usize) -> bool {
    memchr::memchr2_iter(b'{', b'[', json.as_bytes()).nth(limit).is_some() && depth(json.as_bytes()) > limit
}

/// Returns how deep brackets nest, outside of strings.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut position = 0;
    while let Some(byte) = json.get(position) {
        position += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => position = string_end(json, position),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn parse(text: &str) -> Mapping {
        Mapping::parse(Backend::Claude, text.into()).unwrap()
    }

    fn name(text: &str) -> SessionName {
        SessionName::new(text).unwrap()
    }

    #[test]
    fn settings_of_every_entry_are_removed() {
        let mut mapping = parse(
            r#"{"a": {"session_id": "i", "settings": {"x": 1}}, "other": {"thread_id": "t", "settings": {}},
            "unusable": {"session_id": "", "s\u0065ttings": {"x": 1}}, "word": {"session_id": "j", "settings": 1}, "bare": "b"}"#,
        );
        assert!(mapping.remove_settings());
        let text = mapping.to_text();
        assert_eq!(text.matches("settings").count(), 1, "{text}");
        assert!(text.contains("\"settings\": 1") && text.contains("\"thread_id\": \"t\""), "{text}");
        assert!(!parse(&text).remove_settings());
    }

    #[test]
    fn unknown_content_survives_every_rewrite() {
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
    fn top_level_of_an_older_file_is_the_map_of_names() {
        let mapping = parse(r#"{"d": {"session_id": "id-d"}, "s": "id-s", "workspace_dir": "/w"}"#);
        assert_eq!(mapping.workspace(), "/w");
        assert_eq!(mapping.entries().map(|(name, _)| name.to_owned()).collect::<Vec<_>>(), ["d", "s"]);
        let mapping = parse(r#"{"workspace_dir": {"session_id": "i"}}"#);
        assert_eq!(mapping.get(&name("workspace_dir")).unwrap().id.as_str(), "i");
        assert_eq!(parse("{}").len(), 0);
    }

    #[test]
    fn malformed_files_differ_from_unsupported_ones() {
        let error = |text: &[u8]| Mapping::parse(Backend::Claude, text.to_vec()).unwrap_err();
        for broken in [&b""[..], b"{oops", b"[1, 2]", b"7", b"{} {}", b"{\"a\": \xff}", b"{\"a\": NaN}"] {
            assert!(matches!(error(broken), ParseError::Malformed(_)), "{}", String::from_utf8_lossy(broken));
        }
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        for cannot in [&b"{\"aliases\": {\"\\ud800\": 1}}"[..], deep.as_bytes()] {
            assert!(
                matches!(error(cannot), ParseError::Unsupported(_)),
                "{}",
                String::from_utf8_lossy(&cannot[..30.min(cannot.len())])
            );
        }
        assert_eq!(parse("{\"aliases\": null}").len(), 0);
        // a value that is not a map of names is kept as an entry of that name
        assert!(parse("{\"aliases\": [1], \"a\": \"i\"}").to_text().contains("\"aliases\": ["));
    }

    #[test]
    fn every_shape_has_the_same_depth_limit_and_the_last_of_a_key_counts() {
        // a rewrite makes an older file one level deeper
        let older = ("{\"x\": ", 1, DEEPEST - 1);
        let today = [("{\"aliases\": {\"a\": ", 2, DEEPEST), ("{\"aliases\": {}, \"x\": ", 1, DEEPEST)];
        for (before, brackets, deepest) in today.into_iter().chain([older]) {
            for (depth, fits) in [(deepest, true), (deepest + 1, false)] {
                let inner = depth - brackets;
                let json = format!("{before}{}{}{}", "[".repeat(inner), "]".repeat(inner), "}".repeat(brackets));
                let parsed = Mapping::parse(Backend::Claude, json.into_bytes());
                assert_eq!(parsed.is_ok(), fits, "{before} {depth}");
                assert!(fits || matches!(parsed, Err(ParseError::Unsupported(_))), "{before} {depth}");
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
    fn cost_of_a_rewrite_does_not_grow_with_depth() {
        let numbers = format!("[{}0]", "0,".repeat(50_000));
        let texts = format!("[{}0]", format!("\"{}\",", "x".repeat(100)).repeat(1000));
        for (open, close) in [("[", "]"), ("{\"b\": ", ", \"a\": 0}")] {
            for items in [&numbers, &texts] {
                let [shallow, deep] = [1, 60].map(|depth| {
                    let [open, close] = [open, close].map(|bracket| bracket.repeat(depth));
                    format!("{{\"aliases\": {{}}, \"mine\": {open}{items}{close}}}")
                });
                let took = |file: &str| {
                    let start = Instant::now();
                    assert!(parse(file).to_text().len() > file.len());
                    start.elapsed()
                };
                // the minima approach the true costs; copying every level would make the deep one 60 times the other
                let (mut least_shallow, mut least_deep) = (Duration::MAX, Duration::MAX);
                let is_bounded = (0..25).any(|_| {
                    least_shallow = least_shallow.min(took(&shallow));
                    least_deep = least_deep.min(took(&deep));
                    least_deep <= least_shallow * 10
                });
                assert!(is_bounded, "{open}: {least_shallow:?} at depth 1, {least_deep:?} at depth 60");
            }
        }
    }

    #[test]
    fn escaped_id_is_found() {
        let mapping = parse(
            r#"{"aliases": {"a": {"session_id": "i\u0064"}, "b": "id", "c": {"session_id": "other", "x": "id"}}}"#,
        );
        assert_eq!(mapping.names_of(&AgentSessionId::new("id").unwrap()), ["a", "b"]);
    }

    #[test]
    fn last_of_two_entries_with_one_name_counts() {
        let mapping = parse(r#"{"aliases": {"b": "1", "a": "2", "b": "3"}}"#);
        let ids: Vec<_> = mapping.entries().map(|(name, entry)| format!("{name}={}", entry.id)).collect();
        assert_eq!(ids, ["b=3", "a=2"]);
    }

    #[test]
    fn id_key_names_the_backend_of_an_entry() {
        let mapping = parse(r#"{"aliases": {"a": {"thread_id": "t"}, "b": "x"}}"#);
        assert_eq!(mapping.id_of(&name("a"), Backend::Codex).unwrap().as_str(), "t");
        assert_eq!(mapping.id_of(&name("a"), Backend::Claude), None);
        assert_eq!(mapping.id_of(&name("b"), Backend::Claude), None);
    }

    #[test]
    fn mapping_recognizes_the_text_it_was_parsed_from() {
        let text = "{\"aliases\": {}}";
        let mut mapping = parse(text);
        mapping.set_workspace("/w");
        assert!(mapping.was_read_from(text));
        assert!(!mapping.was_read_from(&mapping.to_text()));
    }

    #[test]
    fn unusable_entry_takes_its_name() {
        let mapping = parse(r#"{"aliases": {"a": {"session_id": "-x"}, "b": "i"}}"#);
        let [a, b, c] = ["a", "b", "c"].map(name);
        assert!(mapping.contains(&a) && mapping.contains(&b) && !mapping.contains(&c));
        assert_eq!(mapping.why_unusable(&a), Some(UnusableId::Dash));
        assert_eq!((mapping.why_unusable(&b), mapping.why_unusable(&c)), (None, None));
        assert_eq!(mapping.find(&AgentSessionId::new("i").unwrap()), Some((b.clone(), mapping.get(&b).unwrap())));
    }

    #[test]
    fn workspace_is_only_set_if_it_is_empty() {
        let mut mapping = parse(r#"{"aliases": {}, "workspace_dir": ""}"#);
        for workspace in ["/first", "/second"] {
            mapping.set_workspace_if_empty(workspace);
        }
        assert_eq!(mapping.workspace(), "/first");
    }

    #[test]
    fn rename_keeps_the_whole_entry() {
        let mut mapping = parse(r#"{"aliases": {"a": {"session_id": "i", "x": 1}, "b": "j"}}"#);
        mapping.rename(&name("a"), &name("b"));
        assert_eq!(mapping.get(&name("a")), None);
        assert!(mapping.to_text().contains("\"x\": 1"));
        assert_eq!(mapping.get(&name("b")).unwrap().id.as_str(), "i");
    }
}
