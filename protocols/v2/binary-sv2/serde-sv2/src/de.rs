//! From bytes to values.

use binary_sv2::{Decodable, DecodeErrorKind, Reader, U24};
use serde_core::de::value::U32Deserializer;
use serde_core::de::{
    self, Deserialize, DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, SeqAccess,
    VariantAccess, Visitor,
};

use crate::Error;
use crate::wire_type::{Prefix, WireType};

/// Reads a value from the start of `bytes`; bytes behind it are no error (specification 3.4.3).
///
/// # Errors
/// [`Error::Decode`] names the field that the bytes do not hold; [`Error::NoWireForm`] for a type that Stratum V2 does
/// not have.
pub fn from_bytes<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Error> {
    from_bytes_prefix(bytes).map(|(value, _)| value)
}

/// Reads a value from the start of `bytes` and gives the bytes behind it, where TLV fields stand.
///
/// # Errors
/// As [`from_bytes`].
pub fn from_bytes_prefix<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
) -> Result<(T, &'de [u8]), Error> {
    let mut deserializer = Deserializer::new(bytes);
    let value = T::deserialize(&mut deserializer)?;
    Ok((value, deserializer.rest()))
}

/// Reads the payload of the message whose number is `msg_type` into an enum of messages, and gives the bytes behind it.
///
/// # Errors
/// As [`from_bytes`]; [`Error::Refused`] when the enum has no such message.
pub fn message_from_bytes<'de, T: Deserialize<'de>>(
    msg_type: u8,
    payload: &'de [u8],
) -> Result<(T, &'de [u8]), Error> {
    let mut deserializer = Deserializer::of_message(msg_type, payload);
    let message = T::deserialize(&mut deserializer)?;
    Ok((message, deserializer.rest()))
}

/// Reads values from the wire; use `&mut Deserializer` as the deserializer.
#[derive(Clone, Debug)]
pub struct Deserializer<'de> {
    reader: Reader<'de>,
    /// The data type that the newtype around the next value names.
    wire_type: Option<WireType>,
    /// The variant of an enum: it does not stand in the payload.
    msg_type: Option<u8>,
}

impl<'de> Deserializer<'de> {
    /// A deserializer at the start of `bytes`.
    pub const fn new(bytes: &'de [u8]) -> Self {
        Self {
            reader: Reader::new(bytes),
            wire_type: None,
            msg_type: None,
        }
    }

    /// A deserializer of a payload whose frame says that it is message `msg_type`.
    pub const fn of_message(msg_type: u8, payload: &'de [u8]) -> Self {
        Self {
            msg_type: Some(msg_type),
            ..Self::new(payload)
        }
    }

    /// The bytes that have not been read.
    pub const fn rest(&self) -> &'de [u8] {
        self.reader.rest()
    }

    /// A value of serde's own data model: no newtype may call it something else.
    #[inline]
    fn untyped(&self, what: &'static str) -> Result<(), Error> {
        match self.wire_type {
            None => Ok(()),
            Some(_) => Err(Error::NoWireForm(what)),
        }
    }

    #[inline]
    fn plain<T: Decodable<'de>>(&mut self, what: &'static str) -> Result<T, Error> {
        self.untyped(what)?;
        Ok(T::decode(&mut self.reader)?)
    }

    /// A length or count of at most `max`.
    #[inline]
    fn prefix(&mut self, prefix: Prefix, max: usize) -> Result<usize, Error> {
        let [low, middle, high] = match prefix {
            Prefix::One => {
                let [low] = *self.reader.array()?;
                [low, 0, 0]
            }
            Prefix::Two => {
                let [low, middle] = *self.reader.array()?;
                [low, middle, 0]
            }
            Prefix::Three => *self.reader.array()?,
        };
        let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        if length > max {
            return Err(Error::Decode(
                DecodeErrorKind::LengthAboveMax { length, max }.into(),
            ));
        }
        Ok(length)
    }

    #[inline]
    fn byte_string(&mut self) -> Result<&'de [u8], Error> {
        let len = match self.wire_type.take() {
            Some(WireType::ByteString { prefix, max }) => self.prefix(prefix, max)?,
            Some(WireType::Array { len }) => len,
            Some(WireType::Rest) => self.rest().len(),
            _ => return Err(Error::NoWireForm("a byte string without a data type")),
        };
        Ok(self.reader.take(len)?)
    }
}

macro_rules! numbers {
    ($($method:ident => $visit:ident, $what:literal;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.plain($what)?)
        }
    )*};
}

macro_rules! no_wire_form {
    ($($method:ident($($argument:ty),*), $what:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self $(, _: $argument)*, _: V) -> Result<V::Value, Error> {
            Err(Error::NoWireForm($what))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Deserializer<'de> {
    type Error = Error;

    numbers! {
        deserialize_bool => visit_bool, "a newtype of a boolean";
        deserialize_u8 => visit_u8, "a newtype of an 8-bit integer";
        deserialize_u16 => visit_u16, "a newtype of a 16-bit integer";
        deserialize_u64 => visit_u64, "a newtype of a 64-bit integer";
        deserialize_f32 => visit_f32, "a newtype of a float";
    }

    no_wire_form! {
        deserialize_any(), "a value of any type";
        deserialize_ignored_any(), "a value of any type";
        deserialize_identifier(), "an identifier";
        deserialize_i8(), "a signed integer";
        deserialize_i16(), "a signed integer";
        deserialize_i32(), "a signed integer";
        deserialize_i64(), "a signed integer";
        deserialize_f64(), "a 64-bit float";
        deserialize_char(), "a character";
        deserialize_str(), "text without a data type, such as STR0_255,";
        deserialize_string(), "text without a data type, such as STR0_255,";
        deserialize_unit(), "a unit";
        deserialize_unit_struct(&'static str), "a unit";
        deserialize_map(), "a map";
    }

    #[inline]
    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self
            .wire_type
            .take_if(|kind| *kind == WireType::U24)
            .is_some()
        {
            return visitor.visit_u32(U24::decode(&mut self.reader)?.into());
        }
        visitor.visit_u32(self.plain("a newtype of a 32-bit integer")?)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_bytes(self.byte_string()?)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.untyped("a newtype of an option")?;
        match self.prefix(Prefix::One, 1)? {
            0 => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if let Some(wire_type) = WireType::named(name) {
            self.untyped("a data type in another one")?;
            self.wire_type = Some(wire_type);
        }
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Some(WireType::Sequence { prefix, max }) = self.wire_type.take() else {
            return Err(Error::NoWireForm(
                "a list without a data type, such as SEQ0_255,",
            ));
        };
        let count = self.prefix(prefix, max)?;
        let mut elements = Elements {
            deserializer: self,
            position: 0,
            count,
        };
        let value = visitor.visit_seq(&mut elements)?;
        match count - elements.position {
            0 => Ok(value),
            _ => Err(Error::invalid_length(count, &"fewer elements")),
        }
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.untyped("a newtype of a tuple")?;
        visitor.visit_seq(Elements {
            deserializer: self,
            position: 0,
            count,
        })
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(count, visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.untyped("a newtype of a struct")?;
        visitor.visit_seq(Fields {
            deserializer: self,
            names: names.iter(),
        })
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.untyped("a newtype of a variant")?;
        let Some(msg_type) = self.msg_type else {
            return Err(Error::NoWireForm(
                "an enum without the number of its message",
            ));
        };
        visitor.visit_enum(Message {
            deserializer: self,
            msg_type,
        })
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The elements of a sequence or tuple.
struct Elements<'d, 'de> {
    deserializer: &'d mut Deserializer<'de>,
    position: usize,
    count: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if self.position == self.count {
            return Ok(None);
        }
        let element = seed
            .deserialize(&mut *self.deserializer)
            .map_err(|error| error.in_element(self.position))?;
        self.position += 1;
        Ok(Some(element))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.count - self.position)
    }
}

/// The fields of a struct.
struct Fields<'d, 'de> {
    deserializer: &'d mut Deserializer<'de>,
    names: core::slice::Iter<'static, &'static str>,
}

impl<'de> SeqAccess<'de> for Fields<'_, 'de> {
    type Error = Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(name) = self.names.next() else {
            return Ok(None);
        };
        seed.deserialize(&mut *self.deserializer)
            .map(Some)
            .map_err(|error| error.in_field(name))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.names.len())
    }
}

/// The variant of an enum that the frame's header names.
struct Message<'d, 'de> {
    deserializer: &'d mut Deserializer<'de>,
    msg_type: u8,
}

impl<'de> EnumAccess<'de> for Message<'_, 'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let number: U32Deserializer<Error> = u32::from(self.msg_type).into_deserializer();
        Ok((seed.deserialize(number)?, self))
    }
}

impl<'de> VariantAccess<'de> for Message<'_, 'de> {
    type Error = Error;

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.deserializer)
    }

    fn unit_variant(self) -> Result<(), Error> {
        Err(Error::NoWireForm("a variant that is no message"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(Error::NoWireForm("a variant that is no message"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        Err(Error::NoWireForm("a variant that is no message"))
    }
}
