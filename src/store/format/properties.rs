//! Tests of properties of every file: parsing never panics and agrees with another parser, and a rewrite loses nothing.
//!
//! The cases are the same in every run. `PROPTEST_CASES=100000 cargo test --release properties` tries more of them,
//! `PROPTEST_RNG_SEED=7` others.

use std::collections::BTreeMap;
use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::string::string_regex;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::Value;

use super::*;

fn check<S: Strategy>(strategy: &S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let mut config = Config { failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(2026);
    }
    TestRunner::new(config).run(strategy, property).unwrap_or_else(|failure| panic!("{failure}"));
}

/// A JSON value that keeps its spelling. This model shares no code with the parser under test.
#[derive(Clone)]
enum Json {
    /// The spelling of a number, `true`, `false` or `null`.
    Word(String),
    Text(Text),
    List(Vec<Json>),
    Object(Vec<(Text, Json)>),
}

/// A string: its characters and escapes, each with its value in UTF-16.
#[derive(Clone)]
struct Text(Vec<(String, Vec<u16>)>);

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spelled(" "))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spelled())
    }
}

impl Text {
    fn plain(text: &str) -> Self {
        Self(text.chars().map(|c| (c.to_string(), c.encode_utf16(&mut [0; 2]).to_vec())).collect())
    }

    fn escaped(text: &str) -> Self {
        let escaped = |unit: u16| (format!("\\u{unit:04X}"), vec![unit]);
        Self(text.encode_utf16().map(escaped).collect())
    }

    fn spelled(&self) -> String {
        let characters: String = self.0.iter().map(|(spelled, _)| spelled.as_str()).collect();
        format!("\"{characters}\"")
    }

    /// Returns the content, or `None` if it contains a lone surrogate.
    fn decoded(&self) -> Option<String> {
        let units: Vec<u16> = self.0.iter().flat_map(|(_, units)| units.clone()).collect();
        String::from_utf16(&units).ok()
    }
}

impl Json {
    /// Returns its text, with `space` wherever white space is allowed.
    fn spelled(&self, space: &str) -> String {
        let list = |open: &str, items: Vec<String>, close: &str| {
            format!("{open}{space}{}{close}", items.join(&format!("{space},{space}")))
        };
        match self {
            Self::Word(word) => word.clone(),
            Self::Text(text) => text.spelled(),
            Self::List(items) => list("[", items.iter().map(|item| item.spelled(space)).collect(), "]"),
            Self::Object(members) => {
                let member =
                    |(key, value): &(Text, Self)| format!("{}{space}:{space}{}", key.spelled(), value.spelled(space));
                list("{", members.iter().map(member).collect(), "}")
            }
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::Word(_) | Self::Text(_) => 0,
            Self::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(members) => 1 + members.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
        }
    }

    /// Returns the last member of each name. Returns `None` if this is not an object, or a name contains a lone surrogate.
    fn members(&self) -> Option<BTreeMap<String, &Self>> {
        let Self::Object(members) = self else { return None };
        members.iter().map(|(key, value)| Some((key.decoded()?, value))).collect()
    }

    fn text(&self) -> Option<String> {
        if let Self::Text(text) = self { text.decoded() } else { None }
    }
}

/// The expected content of a rewritten file.
enum Written {
    Verbatim(String),
    List(Vec<Written>),
    Object(BTreeMap<String, Written>),
}

impl Written {
    fn of(json: &Json, space: &str) -> Self {
        match json {
            Json::Text(text) => Self::Verbatim(text.decoded().map_or_else(|| text.spelled(), |text| quoted(&text))),
            Json::List(items) => Self::List(items.iter().map(|item| Self::of(item, space)).collect()),
            Json::Object(_) => match json.members() {
                Some(members) => {
                    Self::Object(members.into_iter().map(|(key, value)| (key, Self::of(value, space))).collect())
                }
                None => Self::Verbatim(json.spelled(space)),
            },
            Json::Word(word) => Self::Verbatim(word.clone()),
        }
    }

    /// Returns the text that Python's `json.dumps(…, indent=2, sort_keys=True, ensure_ascii=False)` prints.
    fn print(&self, indent: &str) -> String {
        let deeper = format!("{indent}  ");
        let list = |open: &str, items: Vec<String>, close: &str| match items.as_slice() {
            [] => format!("{open}{close}"),
            items => format!("{open}\n{deeper}{}\n{indent}{close}", items.join(&format!(",\n{deeper}"))),
        };
        match self {
            Self::Verbatim(text) => text.clone(),
            Self::List(items) => list("[", items.iter().map(|item| item.print(&deeper)).collect(), "]"),
            Self::Object(members) => {
                let member = |(key, value): (&String, &Self)| format!("{}: {}", quoted(key), value.print(&deeper));
                list("{", members.iter().map(member).collect(), "}")
            }
        }
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted += "\\n",
            '\r' => quoted += "\\r",
            '\t' => quoted += "\\t",
            '\u{8}' => quoted += "\\b",
            '\u{c}' => quoted += "\\f",
            c if c < ' ' => quoted.extend(format!("\\u{:04x}", u32::from(c)).chars()),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// The result that the contract requires for a file (section 3).
enum Expected {
    Malformed,
    Unsupported,
    Mapping { text: String, workspace: String, entries: BTreeMap<String, Entry> },
}

impl Expected {
    fn of(backend: Backend, file: &Json, space: &str) -> Self {
        if file.depth() > DEEPEST {
            return Self::Unsupported;
        }
        if !matches!(file, Json::Object(_)) {
            return Self::Malformed;
        }
        let Some(mut top) = file.members() else { return Self::Unsupported };
        let aliases = top.remove(ALIASES);
        let (entries, workspace, others) = match aliases {
            Some(Json::Word(null)) if null == "null" => (BTreeMap::new(), top.remove(WORKSPACE), top),
            Some(aliases @ Json::Object(_)) => {
                let Some(entries) = aliases.members() else { return Self::Unsupported };
                (entries, top.remove(WORKSPACE), top)
            }
            _ => {
                // a rewrite makes a file of the older shape one level deeper
                if file.depth() == DEEPEST {
                    return Self::Unsupported;
                }
                let is_text = matches!(top.get(WORKSPACE), Some(Json::Text(_)));
                let workspace = if is_text { top.remove(WORKSPACE) } else { None };
                top.extend(aliases.map(|value| (ALIASES.to_owned(), value)));
                (top, workspace, BTreeMap::new())
            }
        };
        let understood = |(name, value): (&String, &&Json)| Some((name.clone(), understood(backend, value)?));
        let usable: BTreeMap<String, Entry> = entries.iter().filter_map(understood).collect();
        let written = |(name, value): (String, &Json)| {
            let entry = match (value, usable.get(&name)) {
                (Json::Text(_), Some(entry)) => Written::Object(BTreeMap::from([(
                    backend.id_key().to_owned(),
                    Written::Verbatim(quoted(entry.id.as_str())),
                )])),
                _ => Written::of(value, space),
            };
            (name, entry)
        };
        let mut whole: BTreeMap<String, Written> =
            others.into_iter().map(|(key, value)| (key, Written::of(value, space))).collect();
        whole.insert(ALIASES.to_owned(), Written::Object(entries.into_iter().map(written).collect()));
        whole.extend(workspace.map(|value| (WORKSPACE.to_owned(), Written::of(value, space))));
        Self::Mapping {
            text: Written::Object(whole).print("") + "\n",
            workspace: workspace.and_then(Json::text).unwrap_or_default(),
            entries: usable,
        }
    }
}

fn understood(backend: Backend, value: &Json) -> Option<Entry> {
    let id = |text: String| {
        let id = crate::session::trim(&text).to_owned();
        let usable = !id.is_empty() && !id.starts_with('-') && !id.chars().any(char::is_control);
        usable.then(|| AgentSessionId::new(&id).unwrap())
    };
    if let Some(text) = value.text() {
        return Some(Entry {
            id: id(text)?,
            created_at: None,
            model: None,
            effort: None,
            first_turn_stopped: false,
            settings: None,
        });
    }
    let members = value.members()?;
    let field = |key: &str| members.get(key).and_then(|value| value.text()).filter(|text| !text.is_empty());
    Some(Entry {
        id: id(field(backend.id_key())?)?,
        created_at: field(CREATED_AT),
        model: field(LAST_MODEL),
        effort: field(LAST_EFFORT).filter(|_| backend == Backend::Claude),
        first_turn_stopped: matches!(members.get(FIRST_TURN_STOPPED), Some(Json::Word(word)) if word == "true"),
        settings: None,
    })
}

fn backends() -> impl Strategy<Value = Backend> {
    select(Backend::ALL.to_vec())
}

/// White space that JSON allows.
fn spaces() -> impl Strategy<Value = &'static str> {
    select(vec!["", " ", "\n", "\r\n\t "])
}

/// A character or an escape, sometimes a lone surrogate.
fn characters() -> impl Strategy<Value = (String, Vec<u16>)> {
    let escapes = [("\\n", 10), ("\\\"", 34), ("\\\\", 92), ("\\/", 47), ("\\u0000", 0), ("\\b", 8), ("\\f", 12)];
    let escape = select(escapes.to_vec()).prop_map(|(spelled, unit)| (spelled.to_owned(), vec![unit]));
    let half = select(vec![0xd83d_u16, 0xdbff, 0xde00, 0xdc00]).prop_map(|unit| (format!("\\u{unit:04x}"), vec![unit]));
    let plain = prop_oneof![
        select(vec!['a', '-', ' ', '\u{7f}', '\u{9b}', 'é', '\u{2028}', '😀', '{', ']', ',']),
        any::<char>().prop_map(|c| if c < ' ' || "\"\\".contains(c) { 'x' } else { c }),
    ]
    .prop_map(|c| Text::plain(&c.to_string()).0.remove(0));
    prop_oneof![8 => plain, 3 => escape, 1 => half]
}

/// Mostly known names, which random texts would rarely contain.
fn texts() -> impl Strategy<Value = Text> {
    let known = vec![
        ALIASES,
        WORKSPACE,
        CREATED_AT,
        LAST_MODEL,
        LAST_EFFORT,
        "session_id",
        "thread_id",
        "a",
        "b",
        "",
        " i ",
        "-x",
    ];
    prop_oneof![
        6 => select(known.clone()).prop_map(Text::plain),
        1 => select(known).prop_map(Text::escaped),
        3 => vec(characters(), 0..4).prop_map(Text),
    ]
}

fn words() -> impl Strategy<Value = Json> {
    let numbers = string_regex("-?[1-9][0-9]{0,40}(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,9})?").unwrap();
    let words = ["null", "true", "false", "0", "-0", "1.50", "1e999", "-1E+400", "0.1e-5", "1E5"];
    prop_oneof![select(words.to_vec()).prop_map(|word| Json::Word(word.to_owned())), numbers.prop_map(Json::Word),]
}

/// Any JSON value.
fn values() -> impl Strategy<Value = Json> {
    let leaves = prop_oneof![words(), texts().prop_map(Json::Text)];
    leaves.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            1 => vec(inner.clone(), 0..4).prop_map(Json::List),
            3 => vec((texts(), inner), 0..5).prop_map(Json::Object),
        ]
    })
}

/// Mostly entries, but also other values.
fn entries() -> impl Strategy<Value = Json> {
    let keys = select(vec!["session_id", "thread_id", CREATED_AT, LAST_MODEL, LAST_EFFORT, FIRST_TURN_STOPPED, "mine"]);
    let members = vec((keys.prop_map(Text::plain), values()), 1..5);
    let id = (select(vec!["session_id", "thread_id"]), texts());
    let entry = (id, members).prop_map(|((key, id), mut members)| {
        members.push((Text::plain(key), Json::Text(id)));
        Json::Object(members)
    });
    prop_oneof![3 => entry, 1 => texts().prop_map(Json::Text), 1 => values()]
}

/// Files of the current shape and of the older one, and others.
fn files() -> impl Strategy<Value = Json> {
    let aliases = prop_oneof![
        8 => vec((texts(), entries()), 0..5).prop_map(Json::Object),
        1 => Just(Json::Word("null".to_owned())),
        1 => values(),
    ];
    let top = (aliases, vec((texts(), values()), 0..4), any::<Index>());
    let today = top.prop_map(|(aliases, mut members, at)| {
        members.insert(at.index(members.len() + 1), (Text::plain(ALIASES), aliases));
        Json::Object(members)
    });
    let older = vec((texts(), entries()), 0..5).prop_map(Json::Object);
    prop_oneof![6 => today, 3 => older, 1 => values()]
}

/// A file whose depth is near the limit. The deepest value may be in a member that a repeated name replaces.
fn deep_files() -> impl Strategy<Value = Json> {
    let in_what = vec(any::<bool>(), DEEPEST - 6..DEEPEST + 2);
    (in_what, values(), texts(), any::<bool>(), any::<bool>()).prop_map(|(in_what, value, name, older, replaced)| {
        let value = in_what.into_iter().fold(value, |value, list| {
            if list { Json::List(vec![value]) } else { Json::Object(vec![(Text::plain("x"), value)]) }
        });
        let mut entries = vec![(name.clone(), value)];
        if replaced {
            entries.push((name, Json::Word("1".to_owned())));
        }
        let entries = Json::Object(entries);
        if older { entries } else { Json::Object(vec![(Text::plain(ALIASES), entries)]) }
    })
}

fn is_as_expected(backend: Backend, file: &Json, space: &str) -> Result<(), TestCaseError> {
    let read = Mapping::parse(backend, file.spelled(space).into_bytes());
    match (Expected::of(backend, file, space), read) {
        (Expected::Malformed, Err(ParseError::Malformed(_)))
        | (Expected::Unsupported, Err(ParseError::Unsupported(_))) => Ok(()),
        (Expected::Mapping { text, workspace, entries }, Ok(mapping)) => {
            prop_assert_eq!(mapping.to_text(), &*text);
            let again = Mapping::parse(backend, text.clone().into_bytes());
            let again = again.map_err(|error| TestCaseError::fail(format!("not read again: {error:?}")))?;
            for mapping in [&mapping, &again] {
                prop_assert_eq!(mapping.workspace(), &*workspace);
                let understood = mapping.entries().map(|(name, entry)| (name.to_owned(), entry)).collect();
                prop_assert_eq!(&entries, &understood);
                prop_assert_eq!(mapping.len(), entries.len());
            }
            prop_assert_eq!(again.to_text(), text);
            Ok(())
        }
        (_, read) => Err(TestCaseError::fail(format!("read as {:?}", read.map(|mapping| mapping.to_text())))),
    }
}

#[test]
fn every_file_is_parsed_and_rewritten_like_the_model() {
    check(&(backends(), files(), spaces()), |(backend, file, space)| is_as_expected(backend, &file, space));
}

#[test]
fn deep_files_can_be_parsed_after_a_rewrite() {
    check(&(backends(), deep_files()), |(backend, file)| is_as_expected(backend, &file, ""));
}

#[test]
fn parser_agrees_with_serde_json_about_any_bytes() {
    // a valid file with some bytes inserted, removed or changed
    let changes = vec((any::<Index>(), 0..3_usize, prop_oneof![any::<u8>(), select(b"{}[]\",:\\u0en".to_vec())]), 0..4);
    let spoilt = (files(), spaces(), changes).prop_map(|(file, space, changes)| {
        let mut bytes = file.spelled(space).into_bytes();
        for (at, taken, byte) in changes {
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..(at + taken).min(bytes.len()), [byte]);
        }
        bytes
    });
    let bytes = prop_oneof![4 => spoilt, 1 => vec(any::<u8>(), 0..64)];
    check(&(backends(), bytes), |(backend, bytes)| {
        let read = Mapping::parse(backend, bytes.clone());
        let value: Option<Value> = serde_json::from_slice(&bytes).ok();
        match (&read, &value) {
            (Ok(mapping), _) => {
                let text = mapping.to_text();
                let again = Mapping::parse(backend, text.clone().into_bytes());
                prop_assert_eq!(again.map(|mapping| mapping.to_text()), Ok(text.clone()));
                if let Some(value) = value {
                    prop_assert_eq!(in_current_shape(backend, value), serde_json::from_str::<Value>(&text).unwrap());
                }
            }
            (Err(ParseError::Malformed(_)), Some(value)) => prop_assert!(!value.is_object()),
            (Err(ParseError::Unsupported(_)), Some(_)) => prop_assert!(false, "refused without a reason"),
            (Err(_), None) => {}
        }
        Ok(())
    });
}

/// Returns the expected rewrite of a file that `serde_json` can hold.
fn in_current_shape(backend: Backend, value: Value) -> Value {
    let Value::Object(mut top) = value else { panic!("a mapping is an object") };
    let mut shaped = match top.remove(ALIASES) {
        Some(aliases @ (Value::Object(_) | Value::Null)) => {
            top.insert(
                ALIASES.to_owned(),
                if aliases.is_null() { Value::Object(serde_json::Map::new()) } else { aliases },
            );
            top
        }
        other => {
            let workspace = top.get(WORKSPACE).filter(|workspace| workspace.is_string()).cloned();
            if workspace.is_some() {
                top.remove(WORKSPACE);
            }
            top.extend(other.map(|other| (ALIASES.to_owned(), other)));
            let mut shaped = serde_json::Map::from_iter([(ALIASES.to_owned(), Value::Object(top))]);
            shaped.extend(workspace.map(|workspace| (WORKSPACE.to_owned(), workspace)));
            shaped
        }
    };
    for entry in shaped[ALIASES].as_object_mut().unwrap().values_mut() {
        if let Some(id) = entry.as_str().and_then(|id| AgentSessionId::new(id).ok()) {
            *entry = serde_json::json!({ backend.id_key(): id.as_str() });
        }
    }
    Value::Object(shaped)
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Insert,
    Amend,
    Rename,
    Remove,
    Workspace,
}

/// Returns the members of an object with the JSON of their values.
fn parts(json: &str) -> BTreeMap<String, String> {
    let Members(members) = serde_json::from_str(json).unwrap_or_default();
    members.into_iter().map(|(key, raw)| (key.into_owned(), raw.get().to_owned())).collect()
}

#[test]
fn change_touches_nothing_else() {
    use Change::{Amend, Insert, Remove, Rename, Workspace};
    let change = select(vec![Insert, Amend, Rename, Remove, Workspace]);
    let cases = (backends(), files(), spaces(), change, any::<Index>(), any::<Index>(), any::<bool>());
    check(&cases, |(backend, file, space, change, from, to, has_fields)| {
        let Ok(mut mapping) = Mapping::parse(backend, file.spelled(space).into_bytes()) else { return Ok(()) };
        let mut names: Vec<String> = mapping.raw_entries().map(|(name, _)| name.to_owned()).collect();
        names.push("new".to_owned());
        let [from, to] = [from, to].map(|at| SessionName::verbatim(at.get::<String>(&names)));
        let value = has_fields.then(|| "value".to_owned());
        let entry = Entry {
            id: AgentSessionId::new("id").unwrap(),
            created_at: value.clone(),
            model: value.clone(),
            effort: value.filter(|_| backend.capabilities().effort),
            first_turn_stopped: has_fields,
            settings: None,
        };
        let before = parts(&mapping.to_text());
        match change {
            Insert => mapping.insert(&from, &entry),
            Amend => mapping.amend(from.as_str(), &entry),
            Rename => mapping.rename(&from, &to),
            Remove => mapping.remove(from.as_str()),
            Workspace => mapping.set_workspace("/new"),
        }
        let text = mapping.to_text();
        prop_assert_eq!(
            Mapping::parse(backend, text.clone().into_bytes()).map(|again| again.to_text()),
            Ok(text.clone())
        );
        let after = parts(&text);
        // everything except the entries
        let mut others = before.clone();
        if matches!(change, Workspace) {
            others.insert(WORKSPACE.to_owned(), "\"/new\"".to_owned());
        }
        others.insert(ALIASES.to_owned(), after[ALIASES].clone());
        prop_assert_eq!(&others, &after);
        // the entries
        let [mut want, after] = [&before, &after].map(|parts_of| parts(&parts_of[ALIASES]));
        let was_there = want.contains_key(from.as_str());
        match change {
            Insert => {
                prop_assert_eq!(mapping.get(&from), Some(entry));
                want.insert(from.as_str().to_owned(), after[from.as_str()].clone());
            }
            Amend if was_there => {
                let [old_members, members] = [&want, &after].map(|entries| parts(&entries[from.as_str()]));
                for (key, value) in &old_members {
                    let keys = [backend.id_key(), CREATED_AT, LAST_MODEL, LAST_EFFORT, FIRST_TURN_STOPPED];
                    let may_change = keys.contains(&key.as_str());
                    prop_assert!(may_change || members.get(key) == Some(value), "{} is lost", key);
                }
                let amended = mapping.get(&from).unwrap();
                prop_assert_eq!(&amended.id, &entry.id);
                prop_assert_eq!(amended.first_turn_stopped, entry.first_turn_stopped);
                if has_fields {
                    prop_assert_eq!(&amended.model, &entry.model);
                } else {
                    prop_assert_eq!(members.get(LAST_MODEL), old_members.get(LAST_MODEL));
                }
                want.insert(from.as_str().to_owned(), after[from.as_str()].clone());
            }
            Rename => {
                if let Some(moved) = want.remove(from.as_str()) {
                    want.insert(to.as_str().to_owned(), moved);
                }
            }
            Remove => drop(want.remove(from.as_str())),
            Amend | Workspace => {}
        }
        prop_assert_eq!(want, after);
        Ok(())
    });
}
