//! proptest for the data types: every value that a type allows, long ones shortened to what a test can afford.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;

use proptest::arbitrary::{Arbitrary, any};
use proptest::collection::vec;
use proptest::strategy::{BoxedStrategy, Strategy};

use crate::{
    B016M, B032, B064K, B0255, Bytes, Decodable, Mac, PubKey, Seq064K, Seq0255, Signature, Str0255,
    U24, U256,
};

/// Longest byte string that is generated, in bytes; the types allow up to 16 MB.
const MAX_LEN: usize = 600;

/// Longest sequence that is generated, in elements; the types allow up to 65 535.
const MAX_COUNT: usize = 20;

impl Arbitrary for U24 {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with(_: ()) -> Self::Strategy {
        // Bits 24 to 31 are shifted out rather than filtered, which would refuse nearly all.
        let value = any::<u32>().prop_map(|random| Self::new(random >> 8).unwrap_or(Self::MAX));
        value.boxed()
    }
}

macro_rules! byte_arrays {
    ($($name:ident, $len:literal;)*) => {$(
        impl Arbitrary for $name {
            type Parameters = ();
            type Strategy = BoxedStrategy<Self>;

            fn arbitrary_with(_: ()) -> Self::Strategy {
                let bytes = vec(any::<u8>(), $len);
                bytes.prop_map(|bytes| Self(core::array::from_fn(|at| bytes.get(at).copied().unwrap_or(0)))).boxed()
            }
        }
    )*};
}

byte_arrays! {
    U256, 32;
    PubKey, 32;
    Signature, 64;
    Mac, 16;
}

macro_rules! byte_strings {
    ($($name:ident),*) => {$(
        impl Arbitrary for $name<'static> {
            type Parameters = ();
            type Strategy = BoxedStrategy<Self>;

            fn arbitrary_with(_: ()) -> Self::Strategy {
                let bytes = vec(any::<u8>(), 0..=Self::MAX_LEN.min(MAX_LEN));
                // Not longer than the type allows: the empty string stands for nothing.
                bytes.prop_map(|bytes| Self::try_from(bytes).unwrap_or_default()).boxed()
            }
        }
    )*};
}

byte_strings!(B032, B0255, B064K, B016M);

impl Arbitrary for Str0255<'static> {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    /// Text mostly, and bytes that are none.
    fn arbitrary_with(_: ()) -> Self::Strategy {
        let text = any::<String>().prop_map(String::into_bytes);
        let bytes = vec(any::<u8>(), 0..=Self::MAX_LEN);
        let either = proptest::prop_oneof![3 => text, 1 => bytes];
        either
            .prop_map(|mut bytes| {
                bytes.truncate(Self::MAX_LEN);
                Self::try_from(bytes).unwrap_or_default()
            })
            .boxed()
    }
}

impl Arbitrary for Bytes<'static> {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with(_: ()) -> Self::Strategy {
        vec(any::<u8>(), 0..=MAX_LEN)
            .prop_map(|bytes| Self(bytes.into()))
            .boxed()
    }
}

macro_rules! sequences {
    ($($name:ident),*) => {$(
        impl<T> Arbitrary for $name<'static, T>
        where
            T: Arbitrary + Clone + Debug + Decodable<'static> + 'static,
        {
            type Parameters = ();
            type Strategy = BoxedStrategy<Self>;

            fn arbitrary_with(_: ()) -> Self::Strategy {
                let elements = vec(any::<T>(), 0..=Self::MAX_COUNT.min(MAX_COUNT));
                elements.prop_map(|elements: Vec<T>| Self::new(elements).unwrap_or_default()).boxed()
            }
        }
    )*};
}

sequences!(Seq0255, Seq064K);
