//! Strategies of `proptest`: pools of any shape and what is done with them.
//!
//! ```
//! use buffer_sv2::{model, prop_test};
//! use proptest::prelude::*;
//!
//! proptest!(|(shape in prop_test::shape(), ops in prop_test::ops(0..40))| {
//!     model::run(shape, ops);
//! });
//! ```

use alloc::vec::Vec;
use core::ops::Range;

use proptest::prelude::*;

use crate::SlabShape;
use crate::model::Op;

/// Most slots of a generated shape: more than two words of the bitmap.
const MAX_SLOTS: usize = 150;

/// Longest slots of a generated shape, in bytes.
const MAX_SLOT_LEN: usize = 600;

/// Shapes of small pools, the smallest often: one that is always full shows more.
pub fn shape() -> impl Strategy<Value = SlabShape> {
    let slots = prop_oneof![1..4usize, 1..=MAX_SLOTS];
    (slots, 1..=MAX_SLOT_LEN).prop_map(|(slots, slot_len)| SlabShape { slots, slot_len })
}

/// One operation. Half of all take, a third returns; of those that take a sixth is mostly too long for a slot.
pub fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0..=MAX_SLOT_LEN).prop_map(|len| Op::Take { len }),
        1 => (0..20_000usize).prop_map(|len| Op::Take { len }),
        4 => any::<usize>().prop_map(|which| Op::Return { which }),
        1 => any::<usize>().prop_map(|which| Op::Write { which }),
        1 => any::<usize>().prop_map(|which| Op::CloneHandle { which }),
        1 => any::<usize>().prop_map(|which| Op::DropHandle { which }),
    ]
}

/// Sequences of as many operations as `count` says.
pub fn ops(count: Range<usize>) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), count)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    proptest! {
        #[test]
        fn the_pool_does_as_its_model(shape in shape(), ops in ops(0..200)) {
            crate::model::run(shape, ops);
        }
    }
}
