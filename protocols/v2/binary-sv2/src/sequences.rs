//! Sequences behind a count prefix: `SEQ0_255[T]`, `SEQ0_64K[T]`, and `OPTION[T]` as [`Option`].

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use thiserror::Error;

use crate::{
    BufferTooShort, Decodable, DecodeError, DecodeErrorKind, Encodable, IntoOwned, Reader, Writer,
};

/// A sequence has more elements than its type allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{count} elements are above the maximum of {max}")]
pub struct SequenceTooLong {
    /// Number of elements of the rejected sequence.
    pub count: usize,
    /// The largest number that the type allows.
    pub max: usize,
}

/// Elements as they came, checked but not unpacked, or elements of our own.
#[derive(Clone)]
enum Elements<'a, T> {
    Wire { bytes: &'a [u8], count: usize },
    Owned(Vec<T>),
}

impl<'a, T: Decodable<'a>> Elements<'a, T> {
    #[inline]
    fn decode(reader: &mut Reader<'a>, count: usize) -> Result<Self, DecodeError> {
        if let Some(element_len) = T::FIXED_LEN {
            // At most 65 535 elements of a fixed length that is a property of a type: no overflow.
            return Ok(Self::Wire {
                bytes: reader.take(count * element_len)?,
                count,
            });
        }
        let start = reader.rest();
        for position in 0..count {
            T::decode(reader).map_err(|error| error.in_element(position))?;
        }
        let len = start.len() - reader.rest().len();
        Ok(Self::Wire {
            bytes: start.get(..len).unwrap_or_default(),
            count,
        })
    }
}

/// The elements of a sequence, decoded one by one.
#[derive(Clone, Debug)]
pub struct SeqIter<'s, 'a, T> {
    state: IterState<'s, 'a, T>,
}

#[derive(Clone, Debug)]
enum IterState<'s, 'a, T> {
    Wire {
        reader: Reader<'a>,
        left: usize,
        element: PhantomData<T>,
    },
    Owned(core::slice::Iter<'s, T>),
}

impl<'a, T: Decodable<'a> + Clone> Iterator for SeqIter<'_, 'a, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match &mut self.state {
            IterState::Wire { reader, left, .. } => {
                *left = left.checked_sub(1)?;
                // Every element was decoded once when the sequence was.
                T::decode(reader).ok()
            }
            IterState::Owned(elements) => elements.next().cloned(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.state {
            IterState::Wire { left, .. } => *left,
            IterState::Owned(elements) => elements.len(),
        };
        (left, Some(left))
    }
}

impl<'a, T: Decodable<'a> + Clone> ExactSizeIterator for SeqIter<'_, 'a, T> {}

macro_rules! sequences {
    ($($(#[$meta:meta])* $name:ident(prefix: $prefix:literal, max: $max:literal);)*) => {$(
        $(#[$meta])*
        #[derive(Clone)]
        pub struct $name<'a, T>(Elements<'a, T>);

        impl<'a, T> $name<'a, T> {
            /// Largest number of elements.
            pub const MAX_COUNT: usize = $max;

            /// Wraps elements.
            ///
            /// # Errors
            /// [`SequenceTooLong`] when there are more than [`Self::MAX_COUNT`].
            pub fn new(elements: Vec<T>) -> Result<Self, SequenceTooLong> {
                if elements.len() > $max {
                    return Err(SequenceTooLong { count: elements.len(), max: $max });
                }
                Ok(Self(Elements::Owned(elements)))
            }

            /// Number of elements.
            #[inline]
            pub fn len(&self) -> usize {
                match &self.0 {
                    Elements::Wire { count, .. } => *count,
                    Elements::Owned(elements) => elements.len(),
                }
            }

            /// Whether there are no elements.
            #[inline]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }

        impl<'a, T: Decodable<'a> + Clone> $name<'a, T> {
            /// The elements in order; those of a decoded sequence are decoded as they are asked for.
            #[inline]
            pub fn iter(&self) -> SeqIter<'_, 'a, T> {
                let state = match &self.0 {
                    Elements::Wire { bytes, count } => {
                        IterState::Wire { reader: Reader::new(bytes), left: *count, element: PhantomData }
                    }
                    Elements::Owned(elements) => IterState::Owned(elements.iter()),
                };
                SeqIter { state }
            }

            /// The elements in a vector.
            pub fn to_vec(&self) -> Vec<T> {
                self.iter().collect()
            }
        }

        impl<T> Default for $name<'_, T> {
            fn default() -> Self {
                Self(Elements::Owned(Vec::new()))
            }
        }

        impl<T> TryFrom<Vec<T>> for $name<'_, T> {
            type Error = SequenceTooLong;

            fn try_from(elements: Vec<T>) -> Result<Self, SequenceTooLong> {
                Self::new(elements)
            }
        }

        impl<'s, 'a, T: Decodable<'a> + Clone> IntoIterator for &'s $name<'a, T> {
            type Item = T;
            type IntoIter = SeqIter<'s, 'a, T>;

            fn into_iter(self) -> SeqIter<'s, 'a, T> {
                self.iter()
            }
        }

        impl<'a, 'b, T, U> PartialEq<$name<'b, U>> for $name<'a, T>
        where
            T: Decodable<'a> + Clone + PartialEq<U>,
            U: Decodable<'b> + Clone,
        {
            fn eq(&self, other: &$name<'b, U>) -> bool {
                self.len() == other.len() && self.iter().zip(other.iter()).all(|(ours, theirs)| ours == theirs)
            }
        }

        impl<'a, T: Decodable<'a> + Clone + Eq> Eq for $name<'a, T> {}

        impl<'a, T: Decodable<'a> + Clone + fmt::Debug> fmt::Debug for $name<'a, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_list().entries(self.iter()).finish()
            }
        }

        impl<T: Encodable> Encodable for $name<'_, T> {
            #[inline]
            fn encoded_len(&self) -> usize {
                $prefix + match &self.0 {
                    Elements::Wire { bytes, .. } => bytes.len(),
                    Elements::Owned(elements) => elements.iter().map(Encodable::encoded_len).sum(),
                }
            }

            #[inline]
            fn encode(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
                writer.put_prefix::<$prefix>(self.len())?;
                match &self.0 {
                    Elements::Wire { bytes, .. } => writer.put(bytes),
                    Elements::Owned(elements) => elements.iter().try_for_each(|element| element.encode(writer)),
                }
            }
        }

        impl<'a, T: Decodable<'a>> Decodable<'a> for $name<'a, T> {
            #[inline]
            fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                let count = reader.prefix::<$prefix>()?;
                Ok(Self(Elements::decode(reader, count)?))
            }
        }

        impl<'a, T> IntoOwned for $name<'a, T>
        where
            T: Decodable<'a> + Clone + IntoOwned,
        {
            type Owned = $name<'static, T::Owned>;

            fn into_owned(self) -> $name<'static, T::Owned> {
                let elements = match self.0 {
                    Elements::Owned(elements) => elements.into_iter().map(IntoOwned::into_owned).collect(),
                    Elements::Wire { .. } => self.iter().map(IntoOwned::into_owned).collect(),
                };
                $name(Elements::Owned(elements))
            }
        }
    )*};
}

sequences! {
    /// `SEQ0_255[T]`: up to 255 elements behind a one-byte count (specification 3.1).
    ///
    /// A decoded sequence borrows its bytes and takes no memory of its own, whatever count a peer announces. Owned, it
    /// takes a vector of elements: more than its bytes where they are shorter than a pointer.
    Seq0255(prefix: 1, max: 255);
    /// `SEQ0_64K[T]`: up to 65 535 elements behind a two-byte count (specification 3.1).
    ///
    /// A decoded sequence borrows its bytes and takes no memory of its own, whatever count a peer announces. Owned, it
    /// takes a vector of elements: more than its bytes where they are shorter than a pointer.
    Seq064K(prefix: 2, max: 65_535);
}

/// `OPTION[T]`: a count that is 0 or 1, then the element (specification 3.1).
impl<T: Encodable> Encodable for Option<T> {
    #[inline]
    fn encoded_len(&self) -> usize {
        1 + self.as_ref().map_or(0, Encodable::encoded_len)
    }

    #[inline]
    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
        writer.put(&[u8::from(self.is_some())])?;
        self.as_ref()
            .map_or(Ok(()), |element| element.encode(writer))
    }
}

impl<'a, T: Decodable<'a>> Decodable<'a> for Option<T> {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match reader.prefix::<1>()? {
            0 => Ok(None),
            1 => Ok(Some(T::decode(reader)?)),
            length => Err(DecodeErrorKind::LengthAboveMax { length, max: 1 }.into()),
        }
    }
}

impl<T: IntoOwned> IntoOwned for Option<T> {
    type Owned = Option<T::Owned>;

    fn into_owned(self) -> Self::Owned {
        self.map(IntoOwned::into_owned)
    }
}
