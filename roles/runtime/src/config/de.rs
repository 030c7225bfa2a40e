//! Reads a raw struct from a table and knows, for every mistake, the key.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, Deserializer, Error, Expected, IntoDeserializer, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use toml::{Table, Value};

use super::Invalid;

/// Reads the whole table; fields of structs that it does not give are added to `absent`, by their keys.
pub(super) fn from_table<R: DeserializeOwned>(
    table: &Table,
    overrides: &BTreeMap<String, String>,
    absent: &RefCell<Vec<String>>,
) -> Result<R, Invalid> {
    let root = Value::Table(table.clone());
    R::deserialize(Node {
        key: String::new(),
        value: &root,
        context: Context { overrides, absent },
    })
}

#[derive(Clone, Copy)]
struct Context<'a> {
    overrides: &'a BTreeMap<String, String>,
    absent: &'a RefCell<Vec<String>>,
}

struct Node<'a> {
    key: String,
    value: &'a Value,
    context: Context<'a>,
}

impl<'a> Node<'a> {
    /// The text of an override: it has no type yet.
    fn text(&self) -> Option<&'a str> {
        let overridden = self.context.overrides.contains_key(&self.key);
        self.value.as_str().filter(|_| overridden)
    }

    fn child(&self, name: &str, value: &'a Value) -> Self {
        let key = match self.key.as_str() {
            "" => name.to_owned(),
            parent => format!("{parent}.{name}"),
        };
        Self {
            key,
            value,
            context: self.context,
        }
    }

    fn visit_table<'de, V: Visitor<'de>>(
        &self,
        table: &'a Table,
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        let entries = table
            .iter()
            .map(|(name, value)| (name.as_str(), self.child(name, value)));
        visitor.visit_map(MapDeserializer::new(entries))
    }

    fn check_names(&self, table: &Table, fields: &[&str]) -> Result<(), Invalid> {
        for (name, value) in table {
            if !fields.contains(&name.as_str()) {
                let fix = match nearest(name, fields) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => format!("known are {}", quoted(fields)),
                };
                let key = self.child(name, value).key;
                return Err(Invalid::new(key, "is not a key of this program", fix));
            }
        }
        let missing = fields.iter().filter(|field| !table.contains_key(**field));
        let mut absent = self.context.absent.borrow_mut();
        absent.extend(missing.map(|field| self.child(field, self.value).key));
        Ok(())
    }

    fn visit_any<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Invalid> {
        match self.value {
            Value::String(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(is) => visitor.visit_bool(*is),
            Value::Datetime(time) => visitor.visit_string(time.to_string()),
            Value::Array(values) => {
                let items = values.iter().enumerate();
                let items = items.map(|(i, value)| self.child(&i.to_string(), value));
                visitor.visit_seq(SeqDeserializer::new(items))
            }
            Value::Table(table) => self.visit_table(table, visitor),
        }
    }

    /// Names this key in an error of the visitor, which does not know it.
    fn named<T>(&self, result: Result<T, Invalid>) -> Result<T, Invalid> {
        result.map_err(|mut invalid| {
            if invalid.key.is_empty() {
                invalid.key.clone_from(&self.key);
            } else if let Some(field) = invalid.key.strip_prefix('.') {
                invalid.key = self.child(field, self.value).key;
            }
            invalid
        })
    }
}

impl<'a> IntoDeserializer<'_, Invalid> for Node<'a> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! typed_text {
    ($($method:ident $visit:ident $type:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
            let parsed = self.text().and_then(|text| text.parse::<$type>().ok());
            self.named(match parsed {
                Some(value) => visitor.$visit(value),
                None => self.visit_any(visitor),
            })
        }
    )*};
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Invalid;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        self.named(self.visit_any(visitor))
    }

    typed_text! {
        deserialize_bool visit_bool bool,
        deserialize_i8 visit_i64 i64,
        deserialize_i16 visit_i64 i64,
        deserialize_i32 visit_i64 i64,
        deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u64 u64,
        deserialize_u16 visit_u64 u64,
        deserialize_u32 visit_u64 u64,
        deserialize_u64 visit_u64 u64,
        deserialize_f32 visit_f64 f64,
        deserialize_f64 visit_f64 f64,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        // The environment cannot remove a key, so an empty text does.
        match self.text() {
            Some("") => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        let Some(text) = self.text() else {
            return self.deserialize_any(visitor);
        };
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        self.named(visitor.visit_seq(SeqDeserializer::new(items)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        let Value::Table(table) = self.value else {
            return self.deserialize_any(visitor);
        };
        self.check_names(table, fields)?;
        self.named(self.visit_table(table, visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        let Value::String(text) = self.value else {
            return self.deserialize_any(visitor);
        };
        self.named(visitor.visit_enum(text.as_str().into_deserializer()))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map identifier ignored_any
    }
}

impl Error for Invalid {
    fn custom<T: Display>(message: T) -> Self {
        Self::new("", message.to_string(), "")
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        // What a key holds may be a secret, so only its type is named.
        let what = format!(
            "is {}, not {}",
            kind(found),
            in_words(&expected.to_string())
        );
        Self::new("", what, "correct the value")
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let fix = match nearest(variant, expected) {
            Some(known) => format!("did you mean `{known}`? Known are {}", quoted(expected)),
            None => format!("known are {}", quoted(expected)),
        };
        Self::new("", format!("has an unknown value `{variant}`"), fix)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!(".{field}"), "is missing", "give it a value")
    }
}

impl std::error::Error for Invalid {}

impl Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`: {}; {}", self.key, self.what, self.fix)
    }
}

fn kind(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Signed(number) => format!("the number {number}"),
        Unexpected::Unsigned(number) => format!("the number {number}"),
        Unexpected::Float(number) => format!("the number {number}"),
        Unexpected::Bool(is) => format!("{is}"),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a section".to_owned(),
        _ => "a text".to_owned(),
    }
}

fn in_words(expected: &str) -> String {
    let bound = match expected {
        "u8" => u64::from(u8::MAX),
        "u16" => u64::from(u16::MAX),
        "u32" => u64::from(u32::MAX),
        "u64" | "usize" => return "a whole number from 0".to_owned(),
        "i8" | "i16" | "i32" | "i64" => return "a whole number".to_owned(),
        "f32" | "f64" => return "a number".to_owned(),
        "a boolean" => return "true or false".to_owned(),
        "a string" => return "a text in quotes".to_owned(),
        "a sequence" => return "a list in brackets".to_owned(),
        other if other.starts_with("struct ") => return "a section".to_owned(),
        other => return other.to_owned(),
    };
    format!("a whole number from 0 to {bound}")
}

fn quoted(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// The known name that a mistyped one was probably meant to be.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let far = (name.chars().count() / 3).max(2);
    let distances = known.iter().map(|known| (distance(name, known), *known));
    let (distance, nearest) = distances.min()?;
    (distance <= far).then_some(nearest)
}

/// Number of characters to insert, remove or replace to get from one name to the other; two neighbours swapped count
/// as one.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<_>>()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replace = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            let swapped = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
            if swapped {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}
