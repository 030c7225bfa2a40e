//! From values to bytes.

use alloc::vec::Vec;
use core::fmt::Display;

use binary_sv2::{BufferTooShort, LengthError, SequenceTooLong, Writer};
use serde_core::ser::{self, Serialize};

use crate::Error;
use crate::wire_type::{Prefix, WireType};

/// The value's bytes in a vector of their own.
///
/// # Errors
/// [`Error::NoWireForm`], or a length above what its type allows.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    let mut serializer = Serializer::new(Vec::new());
    value.serialize(&mut serializer)?;
    Ok(serializer.into_output())
}

/// Writes the value at the start of `buffer` and gives the number of bytes written.
///
/// # Errors
/// As [`to_vec`], and [`Error::BufferTooShort`].
pub fn to_slice<T: Serialize + ?Sized>(value: &T, buffer: &mut [u8]) -> Result<usize, Error> {
    let mut serializer = Serializer::new(Writer::new(buffer));
    value.serialize(&mut serializer)?;
    Ok(serializer.into_output().written())
}

/// Number of bytes that the value takes.
///
/// # Errors
/// As [`to_vec`].
pub fn encoded_len<T: Serialize + ?Sized>(value: &T) -> Result<usize, Error> {
    let mut serializer = Serializer::new(0);
    value.serialize(&mut serializer)?;
    Ok(serializer.into_output())
}

/// Where the bytes go: a vector that grows, a [`Writer`] over memory of the caller's, or a number that counts them.
pub trait Output {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`BufferTooShort`] when they do not fit.
    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferTooShort>;
}

impl Output for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferTooShort> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

impl Output for Writer<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferTooShort> {
        Writer::put(self, bytes)
    }
}

impl Output for usize {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferTooShort> {
        *self += bytes.len();
        Ok(())
    }
}

/// Writes values to the wire; use `&mut Serializer` as the serializer.
#[derive(Debug)]
pub struct Serializer<O> {
    output: O,
    /// The data type that the newtype around the next value names.
    wire_type: Option<WireType>,
}

impl<O: Output> Serializer<O> {
    /// A serializer that writes to `output`.
    pub const fn new(output: O) -> Self {
        Self {
            output,
            wire_type: None,
        }
    }

    /// What was written to.
    pub fn into_output(self) -> O {
        self.output
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.output.put(bytes)?)
    }

    /// A value of serde's own data model: no newtype may call it something else.
    #[inline]
    fn put_plain(&mut self, bytes: &[u8], what: &'static str) -> Result<(), Error> {
        self.untyped(what)?;
        self.put(bytes)
    }

    #[inline]
    fn untyped(&self, what: &'static str) -> Result<(), Error> {
        match self.wire_type {
            None => Ok(()),
            Some(_) => Err(Error::NoWireForm(what)),
        }
    }

    #[inline]
    fn put_prefix(&mut self, prefix: Prefix, length: usize) -> Result<(), Error> {
        let bytes = length.to_le_bytes();
        self.put(bytes.get(..prefix.len()).unwrap_or(&bytes))
    }

    fn fields(&mut self, what: &'static str) -> Result<Fields<'_, O>, Error> {
        self.untyped(what)?;
        Ok(Fields(self))
    }
}

macro_rules! numbers {
    ($($method:ident($number:ty), $name:literal;)*) => {$(
        #[inline]
        fn $method(self, value: $number) -> Result<(), Error> {
            self.put_plain(&value.to_le_bytes(), concat!("a newtype of ", $name))
        }
    )*};
}

macro_rules! no_wire_form {
    ($($method:ident($($argument:ty),*), $what:literal;)*) => {$(
        fn $method(self $(, _: $argument)*) -> Result<(), Error> {
            Err(Error::NoWireForm($what))
        }
    )*};
}

impl<'s, O: Output> ser::Serializer for &'s mut Serializer<O> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Elements<'s, O>;
    type SerializeTuple = Fields<'s, O>;
    type SerializeTupleStruct = Fields<'s, O>;
    type SerializeTupleVariant = ser::Impossible<(), Error>;
    type SerializeMap = ser::Impossible<(), Error>;
    type SerializeStruct = Fields<'s, O>;
    type SerializeStructVariant = ser::Impossible<(), Error>;

    numbers! {
        serialize_u8(u8), "an 8-bit integer";
        serialize_u16(u16), "a 16-bit integer";
        serialize_u64(u64), "a 64-bit integer";
        serialize_f32(f32), "a float";
    }

    no_wire_form! {
        serialize_i8(i8), "a signed integer";
        serialize_i16(i16), "a signed integer";
        serialize_i32(i32), "a signed integer";
        serialize_i64(i64), "a signed integer";
        serialize_f64(f64), "a 64-bit float";
        serialize_char(char), "a character";
        serialize_str(&str), "text without a data type, such as STR0_255,";
        serialize_unit(), "a unit";
        serialize_unit_struct(&'static str), "a unit";
        serialize_unit_variant(&'static str, u32, &'static str), "a variant that is no message";
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.put_plain(&[u8::from(value)], "a newtype of a boolean")
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        if self
            .wire_type
            .take_if(|kind| *kind == WireType::U24)
            .is_none()
        {
            return self.put_plain(&value.to_le_bytes(), "a newtype of a 32-bit integer");
        }
        let [low, middle, high, 0] = value.to_le_bytes() else {
            return Err(Error::NoWireForm("a U24 above 24 bits"));
        };
        self.put(&[low, middle, high])
    }

    #[inline]
    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        let length = bytes.len();
        match self.wire_type.take() {
            Some(WireType::Array { len }) if len == length => {}
            Some(WireType::Rest) => {}
            Some(WireType::ByteString { max, .. }) if length > max => {
                return Err(LengthError { length, max }.into());
            }
            Some(WireType::ByteString { prefix, .. }) => self.put_prefix(prefix, length)?,
            Some(WireType::Array { .. }) => {
                return Err(Error::NoWireForm("an array of another length"));
            }
            Some(_) => return Err(Error::NoWireForm("a sequence or integer of bytes")),
            None => {
                return Err(Error::NoWireForm("a byte string without a data type"));
            }
        }
        self.put(bytes)
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Error> {
        self.put_plain(&[0], "a newtype of an option")
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.put_plain(&[1], "a newtype of an option")?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        if let Some(wire_type) = WireType::named(name) {
            self.untyped("a data type in another one")?;
            self.wire_type = Some(wire_type);
        }
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.untyped("a newtype of a variant")?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_seq(self, count: Option<usize>) -> Result<Elements<'s, O>, Error> {
        let count = count.ok_or(Error::NoWireForm("a list of unknown length"))?;
        match self.wire_type.take() {
            Some(WireType::Sequence { max, .. }) if count > max => {
                Err(SequenceTooLong { count, max }.into())
            }
            Some(WireType::Sequence { prefix, .. }) => {
                self.put_prefix(prefix, count)?;
                Ok(Elements {
                    serializer: self,
                    left: count,
                })
            }
            _ => Err(Error::NoWireForm(
                "a list without a data type, such as SEQ0_255,",
            )),
        }
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Fields<'s, O>, Error> {
        self.fields("a newtype of a tuple")
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Fields<'s, O>, Error> {
        self.fields("a newtype of a tuple")
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'s, O>, Error> {
        self.fields("a newtype of a struct")
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Err(Error::NoWireForm("a variant that is no message"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        Err(Error::NoWireForm("a map"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        Err(Error::NoWireForm("a variant that is no message"))
    }

    fn collect_str<T: Display + ?Sized>(self, _: &T) -> Result<(), Error> {
        Err(Error::NoWireForm(
            "text without a data type, such as STR0_255,",
        ))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The elements of a sequence.
#[derive(Debug)]
pub struct Elements<'s, O> {
    serializer: &'s mut Serializer<O>,
    /// Elements that were announced and have not come.
    left: usize,
}

impl<O: Output> ser::SerializeSeq for Elements<'_, O> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, element: &T) -> Result<(), Error> {
        let left = self.left.checked_sub(1);
        self.left = left.ok_or(Error::NoWireForm("a list longer than announced"))?;
        element.serialize(&mut *self.serializer)
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        match self.left {
            0 => Ok(()),
            _ => Err(Error::NoWireForm("a list shorter than announced")),
        }
    }
}

/// The fields of a struct, or the elements of a tuple.
#[derive(Debug)]
pub struct Fields<'s, O>(&'s mut Serializer<O>);

impl<O: Output> ser::SerializeStruct for Fields<'_, O> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        _: &'static str,
        field: &T,
    ) -> Result<(), Error> {
        field.serialize(&mut *self.0)
    }

    fn skip_field(&mut self, _: &'static str) -> Result<(), Error> {
        Err(Error::NoWireForm("a field that is skipped"))
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl<O: Output> ser::SerializeTuple for Fields<'_, O> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, element: &T) -> Result<(), Error> {
        element.serialize(&mut *self.0)
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl<O: Output> ser::SerializeTupleStruct for Fields<'_, O> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, field: &T) -> Result<(), Error> {
        field.serialize(&mut *self.0)
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}
