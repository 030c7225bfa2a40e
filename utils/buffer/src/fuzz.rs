//! What a fuzzer calls.

use crate::SlabShape;
use crate::model::{Op, run as run_model};

/// Operations of one run at most; what follows is ignored.
pub const MAX_OPS: usize = 1024;

/// Longest slots in bytes of a run: short ones show as much, sooner.
const MAX_SLOT_LEN: u16 = 1024;

/// Reads any bytes as the shape of a pool and what is done with it, and compares the pool with its model.
///
/// The first byte is the number of slots less one, two are their length (little-endian); each three after that are an
/// operation and its number. The same bytes do the same, whatever ran before.
///
/// # Panics
/// When the pool breaks a promise; see [`crate::model::run`].
pub fn run(data: &[u8]) {
    let Some((&[slots, len_low, len_high], rest)) = data.split_first_chunk() else {
        return;
    };
    let shape = SlabShape {
        slots: usize::from(slots) + 1,
        slot_len: usize::from(u16::from_le_bytes([len_low, len_high]) % MAX_SLOT_LEN) + 1,
    };
    let ops = rest.as_chunks().0.iter().take(MAX_OPS);
    run_model(shape, ops.map(|op| parse(*op)));
}

/// Half of the operations take, a quarter returns.
fn parse([kind, low, high]: [u8; 3]) -> Op {
    let number = usize::from(u16::from_le_bytes([low, high]));
    match kind % 12 {
        0..=4 => Op::Take {
            len: number % (usize::from(MAX_SLOT_LEN) + 1),
        },
        5 => Op::Take { len: number },
        6..=8 => Op::Return { which: number },
        9 => Op::Write { which: number },
        10 => Op::CloneHandle { which: number },
        _ => Op::DropHandle { which: number },
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn every_operation_can_be_reached() {
        let ops: Vec<_> = (0..12).map(|kind| parse([kind, 1, 2])).collect();
        let expected = [
            Op::Take { len: 0x201 },
            Op::Return { which: 0x201 },
            Op::Write { which: 0x201 },
            Op::CloneHandle { which: 0x201 },
            Op::DropHandle { which: 0x201 },
        ];
        assert!(expected.iter().all(|op| ops.contains(op)));
        assert!(ops.iter().all(|op| expected.contains(op)));
    }

    #[test]
    fn any_length_of_input_will_do() {
        let data: Vec<u8> = (0..40).map(|byte: u8| byte.wrapping_mul(37)).collect();
        for len in 0..=data.len() {
            run(&data[..len]);
        }
    }
}
