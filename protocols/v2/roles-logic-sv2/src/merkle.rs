//! Merkle trees of transactions, seen from the coinbase.
//!
//! Nodes are 32 raw bytes in the order in which they are hashed, never the displayed order. An odd level repeats its
//! last node, as consensus does.

use alloc::vec::Vec;

use crate::hash::hash_pair;
pub use crate::hash::sha256d;

/// The reserved value of a coinbase's witness: 32 zero bytes (JB-14).
pub const WITNESS_RESERVED_VALUE: [u8; 32] = [0; 32];

/// The root that the coinbase's txid and the path lead to: the running hash is always the left operand.
///
/// `path` is ordered deepest first; an empty one gives the txid itself.
#[inline]
pub fn root_from_path(coinbase_txid: &[u8; 32], path: &[[u8; 32]]) -> [u8; 32] {
    path.iter()
        .fold(*coinbase_txid, |hash, node| hash_pair(&hash, node))
}

/// The path of the coinbase, deepest first, from the txids of all other transactions in block order.
pub fn coinbase_path(other_txids: &[[u8; 32]]) -> Vec<[u8; 32]> {
    let mut path = Vec::with_capacity(
        other_txids
            .len()
            .checked_ilog2()
            .map_or(0, |log| log as usize + 1),
    );
    // The level without its first node, which depends on the coinbase.
    let mut level = other_txids.to_vec();
    while let Some(sibling) = level.first() {
        path.push(*sibling);
        level = pair_up(level.get(1..).unwrap_or_default());
    }
    path
}

/// The root over all nodes, the coinbase's first; `None` when there are none.
pub fn root(nodes: &[[u8; 32]]) -> Option<[u8; 32]> {
    let (first, others) = nodes.split_first()?;
    Some(root_from_path(first, &coinbase_path(others)))
}

/// The hash a witness commitment holds: over the root of the wtxids (the coinbase's is zero) and the reserved value.
pub fn witness_commitment(other_wtxids: &[[u8; 32]]) -> [u8; 32] {
    let root = root_from_path(&[0; 32], &coinbase_path(other_wtxids));
    hash_pair(&root, &WITNESS_RESERVED_VALUE)
}

fn pair_up(level: &[[u8; 32]]) -> Vec<[u8; 32]> {
    level
        .chunks(2)
        .filter_map(|pair| Some(hash_pair(pair.first()?, pair.last()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree as the textbook builds it, all levels in full.
    fn naive_root(nodes: &[[u8; 32]]) -> [u8; 32] {
        let mut level = nodes.to_vec();
        while level.len() > 1 {
            level = pair_up(&level);
        }
        level[0]
    }

    #[test]
    fn path_and_full_tree_agree_for_every_count() {
        for count in 1..70u8 {
            let nodes: Vec<_> = (0..count).map(|i| sha256d(&[i])).collect();
            assert_eq!(root(&nodes), Some(naive_root(&nodes)), "{count} nodes");
            assert_eq!(
                coinbase_path(&nodes[1..]).len() as u32,
                count.next_power_of_two().ilog2()
            );
        }
        assert_eq!(root(&[]), None);
    }
}
