//! How messages become C structs and back.
//!
//! A field of a C struct has a type of the wire and a type of C. [`Field`] is implemented for types of the wire, and
//! [`payload!`] puts the fields of a message together, in the order of the wire.

use core::ops::Range;

use binary_sv2::{
    B016M, B032, B064K, B0255, BufferTooShort, Decodable, Encodable, Reader, Seq064K, Seq0255,
    Str0255, U256, Writer,
};
use const_sv2::MessageKind;
use framing_sv2::Header;

use crate::boundary::boundary;
use crate::pointer::{Out, addresses, apart, buffer, bytes, check_bytes, reference};
use crate::result::{Fault, SV2_BUFFER_TOO_SHORT, SV2_MESSAGE_TOO_LONG, SV2_PANIC, sv2_result};
use crate::view::{sv2_b016m_seq, sv2_bytes, sv2_option_u32, sv2_u32_seq, sv2_u256_seq};

/// A type of the wire that a field of a C struct has.
pub(crate) trait Field {
    /// What C sees of it.
    type C;

    /// Reads the field; what it borrows belongs to the payload.
    fn read(reader: &mut Reader<'_>) -> Result<Self::C, Fault>;

    /// Checks the field, and that the memory it is read from is not `target`; gives its length on the wire.
    ///
    /// # Safety
    /// The pointers of `value` lead to what they say.
    unsafe fn check(value: &Self::C, target: &Range<usize>) -> Result<usize, Fault>;

    /// Writes the field, which was checked.
    ///
    /// # Safety
    /// As for [`Field::check`].
    unsafe fn write(value: &Self::C, writer: &mut Writer<'_>) -> Result<(), BufferTooShort>;
}

/// A C struct that is a message's payload.
pub(crate) trait Payload: Sized {
    /// The message's line in the tables of the specification.
    const KIND: MessageKind;

    /// Reads the fields in the order of the wire.
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault>;

    /// Checks all fields and gives the length of the payload.
    ///
    /// # Safety
    /// The pointers of the struct lead to what they say.
    unsafe fn check(&self, target: &Range<usize>) -> Result<usize, Fault>;

    /// Writes the fields, which were checked.
    ///
    /// # Safety
    /// As for [`Payload::check`].
    unsafe fn write(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooShort>;
}

/// Makes a C struct the payload of a message: `payload!(sv2_reconnect = common::RECONNECT { new_host: Str0255, new_port: u16 });`
macro_rules! payload {
    ($name:ident = $table:ident::$kind:ident { $($field:ident: $wire:ty),* $(,)? }) => {
        impl $crate::payload::Payload for $name {
            const KIND: const_sv2::MessageKind = const_sv2::$table::$kind;

            fn read(reader: &mut binary_sv2::Reader<'_>) -> Result<Self, $crate::result::Fault> {
                $(let $field = <$wire as $crate::payload::Field>::read(reader)?;)*
                Ok(Self { $($field),* })
            }

            unsafe fn check(
                &self,
                target: &core::ops::Range<usize>,
            ) -> Result<usize, $crate::result::Fault> {
                // At most 2^24 in each field that passes its check, so no overflow.
                // SAFETY: the caller's promise, for each field.
                Ok(0 $(+ unsafe { <$wire as $crate::payload::Field>::check(&self.$field, target) }?)*)
            }

            unsafe fn write(
                &self,
                writer: &mut binary_sv2::Writer<'_>,
            ) -> Result<(), binary_sv2::BufferTooShort> {
                // SAFETY: the caller's promise, for each field.
                $(unsafe { <$wire as $crate::payload::Field>::write(&self.$field, writer) }?;)*
                Ok(())
            }
        }
    };
}

pub(crate) use payload;

/// The body of every `sv2_…_decode`.
///
/// # Safety
/// `payload` leads to `payload_len` bytes unless it is NULL or they are 0; `out` is NULL or can be written to.
pub(crate) unsafe fn decode<T: Payload>(
    payload: *const u8,
    payload_len: usize,
    out: *mut T,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new(out) }?;
        check_bytes(payload, payload_len)?;
        apart(&out.addresses(), &addresses(payload, payload_len))?;
        // SAFETY: the caller's promise.
        let payload = unsafe { bytes(payload, payload_len) }?;
        out.write(T::read(&mut Reader::new(payload))?);
        Ok(())
    })
}

/// The body of every `sv2_…_encode`.
///
/// # Safety
/// `message` is NULL or leads to a message whose pointers lead to what they say; `to` leads to `capacity` bytes that can be written to unless
/// it is NULL or they are 0; `len` is NULL or can be written to.
pub(crate) unsafe fn encode<T: Payload>(
    message: *const T,
    to: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let (message, len) = unsafe { (reference(message)?, Out::new(len)?) };
        check_bytes(to, capacity)?;
        let target = addresses(to, capacity);
        apart(&target, &addresses(message, size_of::<T>()))?;
        apart(&target, &len.addresses())?;
        // SAFETY: the caller's promise.
        let payload_len = unsafe { message.check(&target) }?;
        let header =
            Header::for_message(&T::KIND, payload_len).map_err(|_| Fault(SV2_MESSAGE_TOO_LONG))?;
        let frame_len = Header::LEN + payload_len;
        if capacity < frame_len {
            len.write(frame_len);
            return Err(Fault(SV2_BUFFER_TOO_SHORT));
        }
        // SAFETY: the caller's promise; that it overlaps nothing that is read was checked.
        let mut writer = Writer::new(unsafe { buffer(to, capacity) }?);
        // SAFETY: the caller's promise.
        let written = writer
            .put(&header.to_bytes())
            .and_then(|()| unsafe { message.write(&mut writer) });
        // What was checked fits, or a caller changed it meanwhile.
        if written.is_err() || writer.written() != frame_len {
            return Err(Fault(SV2_PANIC));
        }
        len.write(frame_len);
        Ok(())
    })
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Field for $number {
            type C = Self;

            fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
                Ok(Self::decode(reader)?)
            }

            unsafe fn check(_value: &Self, _target: &Range<usize>) -> Result<usize, Fault> {
                Ok(size_of::<Self>())
            }

            unsafe fn write(value: &Self, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
                writer.put(&value.to_le_bytes())
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64, f32);

/// 0 or 1 when decoded; any number but 0 is true when encoded.
impl Field for bool {
    type C = u8;

    fn read(reader: &mut Reader<'_>) -> Result<u8, Fault> {
        Ok(u8::from(Self::decode(reader)?))
    }

    unsafe fn check(_value: &u8, _target: &Range<usize>) -> Result<usize, Fault> {
        Ok(1)
    }

    unsafe fn write(value: &u8, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
        writer.put(&[u8::from(*value != 0)])
    }
}

impl Field for U256 {
    type C = [u8; 32];

    fn read(reader: &mut Reader<'_>) -> Result<[u8; 32], Fault> {
        Ok(Self::decode(reader)?.0)
    }

    unsafe fn check(_value: &[u8; 32], _target: &Range<usize>) -> Result<usize, Fault> {
        Ok(32)
    }

    unsafe fn write(value: &[u8; 32], writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
        writer.put(value)
    }
}

macro_rules! byte_strings {
    ($($name:ident: $prefix:literal),*) => {$(
        impl Field for $name<'_> {
            type C = sv2_bytes;

            fn read(reader: &mut Reader<'_>) -> Result<sv2_bytes, Fault> {
                // A decoded byte string borrows, so its bytes are the payload's.
                Ok(sv2_bytes::of($name::decode(reader)?.as_bytes()))
            }

            unsafe fn check(value: &sv2_bytes, target: &Range<usize>) -> Result<usize, Fault> {
                value.check($name::MAX_LEN)?;
                apart(target, &value.addresses())?;
                Ok($prefix + value.len)
            }

            unsafe fn write(
                value: &sv2_bytes,
                writer: &mut Writer<'_>,
            ) -> Result<(), BufferTooShort> {
                put_prefix::<$prefix>(value.len, writer)?;
                // SAFETY: the caller's promise.
                unsafe { put_view(value, writer) }
            }
        }
    )*};
}

byte_strings!(Str0255: 1, B032: 1, B0255: 1, B064K: 2, B016M: 3);

impl Field for Seq0255<'_, U256> {
    type C = sv2_u256_seq;

    fn read(reader: &mut Reader<'_>) -> Result<sv2_u256_seq, Fault> {
        let (bytes, count) = elements::<1, _>(reader, Seq0255::<U256>::decode, Seq0255::len)?;
        Ok(sv2_u256_seq {
            data: bytes.data,
            count,
        })
    }

    unsafe fn check(value: &sv2_u256_seq, target: &Range<usize>) -> Result<usize, Fault> {
        let bytes = value.as_bytes(Seq0255::<U256>::MAX_COUNT)?;
        apart(target, &bytes.addresses())?;
        Ok(1 + bytes.len)
    }

    unsafe fn write(value: &sv2_u256_seq, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
        put_prefix::<1>(value.count, writer)?;
        let bytes = sv2_bytes {
            data: value.data,
            len: value.count * 32,
        };
        // SAFETY: the caller's promise.
        unsafe { put_view(&bytes, writer) }
    }
}

impl Field for Seq064K<'_, u32> {
    type C = sv2_u32_seq;

    fn read(reader: &mut Reader<'_>) -> Result<sv2_u32_seq, Fault> {
        let (bytes, count) = elements::<2, _>(reader, Seq064K::<u32>::decode, Seq064K::len)?;
        Ok(sv2_u32_seq {
            encoded: bytes.data,
            items: core::ptr::null(),
            count,
        })
    }

    unsafe fn check(value: &sv2_u32_seq, target: &Range<usize>) -> Result<usize, Fault> {
        let memory = value.memory(Seq064K::<u32>::MAX_COUNT)?;
        apart(target, &memory.addresses())?;
        // SAFETY: the caller's promise; alignment is checked here.
        unsafe { value.items() }?;
        Ok(2 + memory.len)
    }

    unsafe fn write(value: &sv2_u32_seq, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
        put_prefix::<2>(value.count, writer)?;
        // SAFETY: the caller's promise.
        match unsafe { value.items() }.unwrap_or_default() {
            None => {
                let bytes = sv2_bytes {
                    data: value.encoded,
                    len: value.count * 4,
                };
                // SAFETY: the caller's promise.
                unsafe { put_view(&bytes, writer) }
            }
            Some(items) => items
                .iter()
                .try_for_each(|item| writer.put(&item.to_le_bytes())),
        }
    }
}

impl Field for Seq064K<'_, B016M<'_>> {
    type C = sv2_b016m_seq;

    fn read(reader: &mut Reader<'_>) -> Result<sv2_b016m_seq, Fault> {
        let (bytes, count) = elements::<2, _>(reader, Seq064K::<B016M<'_>>::decode, Seq064K::len)?;
        Ok(sv2_b016m_seq {
            encoded: bytes.data,
            encoded_len: bytes.len,
            items: core::ptr::null(),
            count,
        })
    }

    unsafe fn check(value: &sv2_b016m_seq, target: &Range<usize>) -> Result<usize, Fault> {
        // SAFETY: the caller's promise.
        let len = unsafe { value.wire_len(Seq064K::<B016M<'_>>::MAX_COUNT) }?;
        // SAFETY: the caller's promise.
        match unsafe { value.items() }? {
            None => apart(target, &addresses(value.encoded, value.encoded_len))?,
            Some(items) => {
                apart(target, &addresses(value.items, size_of_val(items)))?;
                items
                    .iter()
                    .try_for_each(|item| apart(target, &item.addresses()))?;
            }
        }
        Ok(2 + len)
    }

    unsafe fn write(value: &sv2_b016m_seq, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
        put_prefix::<2>(value.count, writer)?;
        // SAFETY: the caller's promise.
        match unsafe { value.items() }.unwrap_or_default() {
            None => {
                let bytes = sv2_bytes {
                    data: value.encoded,
                    len: value.encoded_len,
                };
                // SAFETY: the caller's promise.
                unsafe { put_view(&bytes, writer) }
            }
            Some(items) => items.iter().try_for_each(|item| {
                put_prefix::<3>(item.len, writer)?;
                // SAFETY: the caller's promise.
                unsafe { put_view(item, writer) }
            }),
        }
    }
}

impl Field for Option<u32> {
    type C = sv2_option_u32;

    fn read(reader: &mut Reader<'_>) -> Result<sv2_option_u32, Fault> {
        let value = Self::decode(reader)?;
        Ok(sv2_option_u32 {
            is_present: u8::from(value.is_some()),
            value: value.unwrap_or(0),
        })
    }

    unsafe fn check(value: &sv2_option_u32, _target: &Range<usize>) -> Result<usize, Fault> {
        Ok(if value.is_present == 0 { 1 } else { 5 })
    }

    unsafe fn write(value: &sv2_option_u32, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
        let value = (value.is_present != 0).then_some(value.value);
        value.encode(writer)
    }
}

/// Reads a sequence behind a count of `PREFIX` bytes; gives the bytes of its elements and their number.
fn elements<'a, const PREFIX: usize, S>(
    reader: &mut Reader<'a>,
    decode: impl FnOnce(&mut Reader<'a>) -> Result<S, binary_sv2::DecodeError>,
    count: impl FnOnce(&S) -> usize,
) -> Result<(sv2_bytes, usize), Fault> {
    let start = reader.rest();
    let sequence = decode(reader)?;
    let end = start.len() - reader.rest().len();
    let bytes = start.get(PREFIX..end).unwrap_or_default();
    Ok((sv2_bytes::of(bytes), count(&sequence)))
}

/// Writes the low `PREFIX` bytes of a length that was checked to fit.
fn put_prefix<const PREFIX: usize>(
    length: usize,
    writer: &mut Writer<'_>,
) -> Result<(), BufferTooShort> {
    let bytes = length.to_le_bytes();
    writer.put(bytes.get(..PREFIX).unwrap_or(&bytes))
}

/// Writes bytes of the caller's that were checked.
///
/// # Safety
/// The view leads to its bytes.
unsafe fn put_view(view: &sv2_bytes, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
    // SAFETY: the caller's promise.
    writer.put(unsafe { bytes(view.data, view.len) }.unwrap_or_default())
}
