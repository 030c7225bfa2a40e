//! TLV fields: what an extension appends to a message of another one (specification 3.4.3).

use alloc::vec::Vec;

use thiserror::Error;

/// Length of a TLV header in bytes: extension U16, field U8, length U16.
pub const TLV_HEADER_LEN: usize = 5;

/// Order of the bytes in a TLV header.
///
/// The specification's examples are big-endian, its rule for integers and deployed software are little-endian. We
/// write little-endian and read both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlvByteOrder {
    /// What deployed software sends and what we send.
    LittleEndian,
    /// What the specification's examples show.
    BigEndian,
}

/// The bytes behind a message end before a TLV field does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TlvError {
    /// Fewer bytes than a TLV header are left.
    #[error("{available} bytes left where a TLV header of {TLV_HEADER_LEN} should stand")]
    ShortHeader {
        /// Bytes that are left.
        available: usize,
    },
    /// The announced value reaches past the payload.
    #[error("a TLV value of {length} bytes was announced, {available} are left")]
    ShortValue {
        /// Length that the header announces.
        length: usize,
        /// Bytes that are left behind the header.
        available: usize,
    },
}

/// One TLV field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// Number of the extension that the field belongs to.
    pub extension_type: u16,
    /// Number of the field within the extension.
    pub field_type: u8,
    /// The value, possibly empty.
    pub value: &'a [u8],
}

impl Tlv<'_> {
    /// Appends the field to a payload, its header little-endian.
    ///
    /// A value above 65 535 bytes has no form on the wire and is not appended: `false` says so.
    #[must_use]
    pub fn append_to(&self, payload: &mut Vec<u8>) -> bool {
        let Ok(length) = u16::try_from(self.value.len()) else {
            return false;
        };
        payload.extend_from_slice(&self.extension_type.to_le_bytes());
        payload.push(self.field_type);
        payload.extend_from_slice(&length.to_le_bytes());
        payload.extend_from_slice(self.value);
        true
    }
}

/// The TLV fields in the bytes behind a message; ends after the first error.
#[derive(Clone, Debug)]
pub struct TlvFields<'a> {
    rest: &'a [u8],
    order: TlvByteOrder,
}

impl<'a> TlvFields<'a> {
    /// The fields in `bytes` with headers in the given order.
    pub const fn new(bytes: &'a [u8], order: TlvByteOrder) -> Self {
        Self { rest: bytes, order }
    }

    /// Order in which the headers are read.
    pub const fn order(&self) -> TlvByteOrder {
        self.order
    }

    fn number(&self, bytes: [u8; 2]) -> u16 {
        match self.order {
            TlvByteOrder::LittleEndian => u16::from_le_bytes(bytes),
            TlvByteOrder::BigEndian => u16::from_be_bytes(bytes),
        }
    }

    fn field(&self) -> Result<(Tlv<'a>, &'a [u8]), TlvError> {
        let Some((&[extension_0, extension_1, field_type, length_0, length_1], rest)) =
            self.rest.split_first_chunk::<TLV_HEADER_LEN>()
        else {
            return Err(TlvError::ShortHeader {
                available: self.rest.len(),
            });
        };
        let length = usize::from(self.number([length_0, length_1]));
        let Some((value, rest)) = rest.split_at_checked(length) else {
            return Err(TlvError::ShortValue {
                length,
                available: rest.len(),
            });
        };
        Ok((
            Tlv {
                extension_type: self.number([extension_0, extension_1]),
                field_type,
                value,
            },
            rest,
        ))
    }
}

impl<'a> Iterator for TlvFields<'a> {
    type Item = Result<Tlv<'a>, TlvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        self.rest = field.as_ref().map_or(&[], |(_, rest)| rest);
        Some(field.map(|(tlv, _)| tlv))
    }
}

/// The TLV fields in the bytes behind a message, headers little-endian as deployed software sends them.
pub const fn tlv_fields(trailing: &[u8]) -> TlvFields<'_> {
    TlvFields::new(trailing, TlvByteOrder::LittleEndian)
}

/// The TLV fields in the bytes behind a message, in the byte order in which they make sense.
///
/// Big-endian is chosen only where the little-endian reading names none of the `negotiated` extensions and the
/// big-endian reading does, down to the last byte.
pub fn tlv_fields_for<'a>(trailing: &'a [u8], negotiated: &[u16]) -> TlvFields<'a> {
    let names_negotiated = |fields: &mut TlvFields<'_>| {
        fields
            .flatten()
            .any(|field| negotiated.contains(&field.extension_type))
    };
    let little = tlv_fields(trailing);
    if names_negotiated(&mut little.clone()) {
        return little;
    }
    let big = TlvFields::new(trailing, TlvByteOrder::BigEndian);
    if big.clone().all(|field| field.is_ok()) && names_negotiated(&mut big.clone()) {
        big
    } else {
        little
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn a_field_is_read_back_in_both_orders() {
        let big: &[u8] = &[0x00, 0x02, 0x01, 0x00, 0x03, b'a', b'b', b'c'];
        let little: &[u8] = &[0x02, 0x00, 0x01, 0x03, 0x00, b'a', b'b', b'c'];
        let expected = Tlv {
            extension_type: 2,
            field_type: 1,
            value: b"abc",
        };
        for (bytes, order) in [
            (big, TlvByteOrder::BigEndian),
            (little, TlvByteOrder::LittleEndian),
        ] {
            let fields = tlv_fields_for(bytes, &[2]);
            assert_eq!(fields.order(), order);
            assert_eq!(fields.collect::<Vec<_>>(), [Ok(expected)]);
        }
    }

    #[test]
    fn an_empty_value_is_read_in_the_order_that_names_a_negotiated_extension() {
        let fields = tlv_fields_for(&[0x00, 0x02, 0x01, 0x00, 0x00], &[2]);
        assert_eq!(fields.order(), TlvByteOrder::BigEndian);
        let fields = tlv_fields_for(&[0x00, 0x02, 0x01, 0x00, 0x00], &[0x200]);
        assert_eq!(fields.order(), TlvByteOrder::LittleEndian);
    }

    #[test]
    fn junk_ends_the_walk_with_an_error() {
        let mut bytes = vec![];
        assert!(
            Tlv {
                extension_type: 2,
                field_type: 1,
                value: b"x"
            }
            .append_to(&mut bytes)
        );
        bytes.extend_from_slice(&[0xff; 3]);
        let mut fields = tlv_fields_for(&bytes, &[2]);
        assert_eq!(
            fields.next(),
            Some(Ok(Tlv {
                extension_type: 2,
                field_type: 1,
                value: b"x"
            }))
        );
        assert_eq!(
            fields.next(),
            Some(Err(TlvError::ShortHeader { available: 3 }))
        );
        assert_eq!(fields.next(), None);
    }

    #[test]
    fn a_value_too_long_for_the_wire_is_not_appended() {
        let mut bytes = vec![];
        assert!(
            !Tlv {
                extension_type: 2,
                field_type: 1,
                value: &vec![0; 65_536]
            }
            .append_to(&mut bytes)
        );
        assert!(bytes.is_empty());
    }
}
