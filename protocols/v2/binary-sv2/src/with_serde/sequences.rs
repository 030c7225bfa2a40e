//! Sequences: lists, with the limits of their types.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use serde_core::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde_core::ser::{Serialize, Serializer};

use super::newtype;
use crate::{Decodable, Seq064K, Seq0255, SequenceTooLong};

/// Most elements that memory is taken for before they are there.
const MAX_RESERVED_COUNT: usize = 64;

/// At most `MAX` elements.
struct List<T, const MAX: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor::<T, MAX>(PhantomData))
    }
}

struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
    type Value = List<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let reserved = access.size_hint().unwrap_or(0).min(MAX_RESERVED_COUNT);
        let mut elements = Vec::with_capacity(reserved);
        while let Some(element) = access.next_element()? {
            if elements.len() == MAX {
                let too_long = SequenceTooLong {
                    count: MAX + 1,
                    max: MAX,
                };
                return Err(A::Error::custom(too_long));
            }
            elements.push(element);
        }
        Ok(List(elements))
    }
}

macro_rules! sequences {
    ($($name:ident, $wire_name:literal;)*) => {$(
        impl<'a, T: Decodable<'a> + Clone + Serialize> Serialize for $name<'a, T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                struct Elements<'s, 'a, T>(&'s $name<'a, T>);

                impl<'a, T: Decodable<'a> + Clone + Serialize> Serialize for Elements<'_, 'a, T> {
                    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                        serializer.collect_seq(self.0.iter())
                    }
                }

                serializer.serialize_newtype_struct($wire_name, &Elements(self))
            }
        }

        impl<'de, T: Deserialize<'de>> Deserialize<'de> for $name<'_, T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let List(elements) = newtype::<List<T, { $name::<()>::MAX_COUNT }>, D>(deserializer, $wire_name)?;
                Self::new(elements).map_err(D::Error::custom)
            }
        }
    )*};
}

sequences! {
    Seq0255, "SEQ0_255";
    Seq064K, "SEQ0_64K";
}
