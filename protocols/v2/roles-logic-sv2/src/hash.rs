//! Double SHA-256 of the fixed shapes that mining hashes.

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

/// A 64-byte SHA-256 block.
pub(crate) type Block = [u8; 64];

/// SHA-256 after some whole blocks.
pub(crate) type Midstate = [u32; 8];

/// SHA-256 before the first block.
pub(crate) const INITIAL: Midstate = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The padding of a 64-byte message is a block of its own.
const PADDING_OF_64: Block = padding(512);

const fn padding(message_bits: u16) -> Block {
    let mut block = [0; 64];
    block[0] = 0x80;
    let length = message_bits.to_be_bytes();
    block[62] = length[0];
    block[63] = length[1];
    block
}

/// SHA-256 of SHA-256 of `data`: txids, block hashes, merkle nodes. 32 raw bytes.
pub fn sha256d(data: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(data)).into()
}

/// Runs `blocks` through the compression function.
#[inline]
pub(crate) fn compress(state: &mut Midstate, blocks: &[Block]) {
    compress256(state, blocks);
}

/// The second SHA-256, over the outcome of the first.
#[inline]
pub(crate) fn second_hash(first: &Midstate) -> [u8; 32] {
    let mut block = padding(256);
    block.copy_within(0..1, 32);
    write_state(first, &mut block);
    let mut state = INITIAL;
    compress(&mut state, &[block]);
    let mut hash = [0; 32];
    write_state(&state, &mut hash);
    hash
}

/// `SHA256d(left || right)`, a merkle node.
#[inline]
pub(crate) fn hash_pair(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..32].copy_from_slice(left);
    block[32..].copy_from_slice(right);
    let mut state = INITIAL;
    compress(&mut state, &[block, PADDING_OF_64]);
    second_hash(&state)
}

/// `SHA256d` of an 80-byte block header.
#[inline]
pub(crate) fn hash_header(header: &[u8; 80]) -> [u8; 32] {
    let mut blocks = [[0; 64], padding(640)];
    // The mark of the padding goes behind the header's last 16 bytes.
    blocks[1].copy_within(0..1, 16);
    blocks[0].copy_from_slice(&header[..64]);
    blocks[1][..16].copy_from_slice(&header[64..]);
    let mut state = INITIAL;
    compress(&mut state, &blocks);
    second_hash(&state)
}

#[inline]
fn write_state(state: &Midstate, to: &mut [u8]) {
    for (to, word) in to.chunks_exact_mut(4).zip(state) {
        to.copy_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_shapes_agree_with_the_general_one() {
        let mut message = [0u8; 80];
        for (i, byte) in message.iter_mut().enumerate() {
            *byte = (i * 7 + 3) as u8;
        }
        assert_eq!(hash_header(&message), sha256d(&message));
        let left = message[..32].try_into().unwrap();
        let right = message[32..64].try_into().unwrap();
        assert_eq!(hash_pair(left, right), sha256d(&message[..64]));
    }
}
