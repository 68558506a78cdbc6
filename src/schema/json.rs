//! A JSON document in the sense of JSON Schema: numbers are equal by value, and no key is repeated.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// Returns a member of an object or an element of an array.
    pub(super) fn member(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.get(key),
            // an index has no sign and no leading zero
            Self::Array(elements) => elements.get(key.parse::<usize>().ok().filter(|index| index.to_string() == key)?),
            _ => None,
        }
    }

    /// Returns a number of elements, characters or members.
    pub(super) fn count(&self) -> Option<usize> {
        match self {
            Self::Number(Number::Integer(count)) => usize::try_from(*count).ok(),
            _ => None,
        }
    }

    /// Returns the name of the type, as `type` has it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(Number::Integer(_)) => "integer",
            Self::Number(Number::Float(value)) if value.fract() == 0.0 => "integer",
            Self::Number(Number::Float(_)) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }
}

/// A short form for messages.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 60;
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(Number::Integer(value)) => value.fmt(f),
            Self::Number(Number::Float(value)) => value.fmt(f),
            Self::String(text) => match text.char_indices().nth(LONGEST) {
                Some((end, _)) => write!(f, "\"{}…\"", &text[..end]),
                None => write!(f, "\"{text}\""),
            },
            Self::Array(_) => f.write_str("an array"),
            Self::Object(_) => f.write_str("an object"),
        }
    }
}

/// A number. Each value has one form.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    /// An integer, also one that was written as `1.0`.
    Integer(i128),
    /// A number with a fraction, or of at least 2^100.
    Float(f64),
}

impl Number {
    fn from_float(value: f64) -> Self {
        const LARGEST: f64 = 1_267_650_600_228_229_401_496_703_205_376.0; // 2^100
        #[expect(clippy::cast_possible_truncation, reason = "the value was compared")]
        if value.fract() == 0.0 && value.abs() < LARGEST { Self::Integer(value as i128) } else { Self::Float(value) }
    }

    #[expect(clippy::cast_precision_loss, reason = "only for fractions, and numbers of any size")]
    pub(super) fn to_float(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    pub(super) fn is_multiple_of(self, step: Self) -> bool {
        /// What rounding may add to a quotient, such as that of 0.3 and 0.1.
        const TOLERANCE: f64 = 1e-9;
        if let (Self::Integer(value), Self::Integer(step)) = (self, step) {
            return step != 0 && value % step == 0;
        }
        let quotient = self.to_float() / step.to_float();
        (quotient - quotient.round()).abs() <= TOLERANCE
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Float(_), Self::Integer(_)) => other.cmp(self).reverse(),
            // a float below 2^100 has a fraction, so it is never equal
            #[expect(clippy::cast_possible_truncation, reason = "a float of any other size saturates")]
            (Self::Integer(a), Self::Float(b)) => a.cmp(&(b.floor() as i128)).then(Ordering::Less),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Document;
        impl<'de> Visitor<'de> for Document {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Number(Number::Integer(value.into())))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Number(Number::Integer(value.into())))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Number(Number::from_float(value)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::String(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Json, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = array.next_element()? {
                    elements.push(element);
                }
                Ok(Json::Array(elements))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Json, A::Error> {
                let mut members = BTreeMap::new();
                while let Some(key) = object.next_key::<String>()? {
                    // programs differ in which of the values they read
                    if members.contains_key(&key) {
                        return Err(A::Error::custom(format_args!("the key {} is repeated", Json::String(key))));
                    }
                    members.insert(key, object.next_value()?);
                }
                Ok(Json::Object(members))
            }
        }
        deserializer.deserialize_any(Document)
    }
}
