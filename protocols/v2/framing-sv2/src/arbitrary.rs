//! proptest for frames.

use alloc::vec::Vec;

use proptest::arbitrary::{Arbitrary, any};
use proptest::collection::vec;
use proptest::strategy::{BoxedStrategy, Strategy};

use crate::{EitherFrame, Frame, Header, NoiseFrame, Sv2Frame};

/// Longest payload that is generated, in bytes; frames hold up to 16 MB.
const MAX_LEN: usize = 600;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=MAX_LEN)
}

impl Arbitrary for Header {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    /// Every six bytes are a header.
    fn arbitrary_with(_: ()) -> Self::Strategy {
        any::<[u8; Self::LEN]>().prop_map(Self::from_bytes).boxed()
    }
}

impl Arbitrary for Sv2Frame<'static> {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with(_: ()) -> Self::Strategy {
        let parts = (any::<u16>(), any::<u8>(), bytes());
        parts
            .prop_map(|(extension_type, msg_type, payload)| {
                Self::new(extension_type, msg_type, payload).expect("the payload is short")
            })
            .boxed()
    }
}

impl Arbitrary for NoiseFrame<'static> {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with(_: ()) -> Self::Strategy {
        bytes().prop_map(Self::from_bytes_unchecked).boxed()
    }
}

impl Arbitrary for EitherFrame<'static> {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with(_: ()) -> Self::Strategy {
        let noise = any::<NoiseFrame<'static>>().prop_map(Self::from);
        let sv2 = any::<Sv2Frame<'static>>().prop_map(Self::from);
        proptest::prop_oneof![noise, sv2].boxed()
    }
}
