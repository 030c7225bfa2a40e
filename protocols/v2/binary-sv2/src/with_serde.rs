//! serde for the data types.
//!
//! What serde's data model has, it gets: integers, floats, booleans, options, structs. The other data types are
//! newtypes that carry the name of the specification (`B0_255`, `SEQ0_64K`, …), so that a format which knows the names
//! can write the wire's bytes and others need not care.

mod byte_strings;
pub mod derived;
mod sequences;

use core::fmt;
use core::marker::PhantomData;

use serde_core::de::{Deserialize, Deserializer, Error, Visitor};
use serde_core::ser::{Serialize, Serializer};

use crate::U24;

/// Takes a newtype apart whose inside is a `T`.
struct Newtype<T>(&'static str, PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Newtype<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<T, D::Error> {
        T::deserialize(inner)
    }
}

/// Reads the newtype of this name.
fn newtype<'de, T, D>(deserializer: D, name: &'static str) -> Result<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_newtype_struct(name, Newtype(name, PhantomData))
}

impl Serialize for U24 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct("U24", &u32::from(*self))
    }
}

impl<'de> Deserialize<'de> for U24 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(newtype(deserializer, "U24")?).map_err(D::Error::custom)
    }
}
