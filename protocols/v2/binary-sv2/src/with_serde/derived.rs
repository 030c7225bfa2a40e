//! What the derives and macros of messages call, so that it is compiled once and not for each message.

use core::fmt;
use core::marker::PhantomData;

use serde_core::de::{DeserializeSeed, Error, IgnoredAny, Unexpected};
use serde_core::forward_to_deserialize_any;

pub use serde_core::de::{
    Deserialize, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};
pub use serde_core::ser::{Serialize, SerializeStruct, Serializer};

/// The field at `position` of a message that is given as a sequence.
///
/// # Errors
/// When the field does not deserialize, or is missing.
#[inline]
pub fn next_field<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    access: &mut A,
    position: usize,
    visitor: &impl Visitor<'de>,
) -> Result<T, A::Error> {
    match access.next_element()? {
        Some(value) => Ok(value),
        None => Err(A::Error::invalid_length(position, visitor)),
    }
}

/// The position of the next field of a message that is given as a map, `Some(None)` for a name that is not in `names`.
///
/// # Errors
/// When the name does not deserialize.
pub fn next_name<'de, A: MapAccess<'de>>(
    access: &mut A,
    names: &'static [&'static str],
) -> Result<Option<Option<usize>>, A::Error> {
    access.next_key_seed(Name(names))
}

/// Reads the value of the field named last.
///
/// # Errors
/// When the value does not deserialize, or the field was there before.
pub fn named_field<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    access: &mut A,
    field: &mut Option<T>,
    name: &'static str,
) -> Result<(), A::Error> {
    if field.is_some() {
        return Err(A::Error::duplicate_field(name));
    }
    *field = Some(access.next_value()?);
    Ok(())
}

/// Passes over the value of a name that no field has.
///
/// # Errors
/// When the value does not deserialize.
pub fn skip<'de, A: MapAccess<'de>>(access: &mut A) -> Result<(), A::Error> {
    access.next_value::<IgnoredAny>().map(|_| ())
}

/// The field if it was there; an option is empty where it is missing.
///
/// # Errors
/// When it is missing and no option.
pub fn found_field<'de, T: Deserialize<'de>, E: Error>(
    field: Option<T>,
    name: &'static str,
) -> Result<T, E> {
    match field {
        Some(value) => Ok(value),
        None => T::deserialize(Missing(name, PhantomData)),
    }
}

/// A field's name, as its position among the names.
struct Name(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field")
    }

    fn visit_u64<E: Error>(self, position: u64) -> Result<Option<usize>, E> {
        let position = usize::try_from(position).ok();
        Ok(position.filter(|position| *position < self.0.len()))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }

    fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|known| known.as_bytes() == name))
    }
}

/// Stands for the value of a field that is missing.
struct Missing<E>(&'static str, PhantomData<E>);

impl<'de, E: Error> Deserializer<'de> for Missing<E> {
    type Error = E;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, E> {
        Err(E::missing_field(self.0))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_none()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// No message has this number.
#[cold]
pub fn unknown_number<E: Error>(number: u32) -> E {
    E::invalid_value(
        Unexpected::Unsigned(number.into()),
        &"the number of a message",
    )
}

/// One of an enum's messages, by its name or its number.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Names of all, in the order of `numbers`.
    pub names: &'static [&'static str],
    /// Numbers of all.
    pub numbers: &'static [u32],
}

impl<'de> DeserializeSeed<'de> for Variant {
    /// The number.
    type Value = u32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u32, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Variant {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name or number of a message")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u32, E> {
        let known = self
            .numbers
            .iter()
            .find(|known| u64::from(**known) == number);
        known.copied().ok_or_else(|| {
            E::invalid_value(Unexpected::Unsigned(number), &"the number of a message")
        })
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<u32, E> {
        let named = self.names.iter().zip(self.numbers);
        named
            .filter(|(known, _)| **known == name)
            .map(|(_, number)| *number)
            .next()
            .ok_or_else(|| E::unknown_variant(name, self.names))
    }
}
