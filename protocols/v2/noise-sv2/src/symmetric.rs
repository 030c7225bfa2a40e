//! The running hash and key of a handshake: the SymmetricState of specification 4.4.2.

use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::cipher::{AeadCipher, CipherError, CipherState, DefaultCipher, KEY_LEN};

/// The name of the protocol, hashed into every handshake. Specification 4.5.1.
pub const PROTOCOL_NAME: &str = "Noise_NX_Secp256k1+EllSwift_ChaChaPoly_SHA256";

/// SHA-256 over the concatenation of `parts`.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

// RFC 2104 with SHA-256; every key here is 32 bytes, so none is longer than the 64-byte block.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let pad = |fill: u8| {
        let mut block = Zeroizing::new([fill; 64]);
        for (byte, key_byte) in block.iter_mut().zip(key) {
            *byte ^= key_byte;
        }
        block
    };
    let mut inner = Sha256::new_with_prefix(*pad(0x36));
    for part in parts {
        inner.update(part);
    }
    sha256(&[&*pad(0x5c), &inner.finalize()])
}

type Key = Zeroizing<[u8; KEY_LEN]>;

fn hkdf(chaining_key: &[u8; 32], input: &[u8]) -> (Key, Key) {
    let extracted = Zeroizing::new(hmac(chaining_key, &[input]));
    let first = Zeroizing::new(hmac(&extracted, &[&[1]]));
    let second = Zeroizing::new(hmac(&extracted, &[&*first, &[2]]));
    (first, second)
}

/// What both sides of a handshake compute in step: the hash of everything sent so far, the chaining
/// key, and the cipher under the key of the moment.
///
/// [`Initiator`](crate::Initiator) and [`Responder`](crate::Responder) drive it through the NX
/// pattern; it is public for other patterns and for checking transcripts step by step.
pub struct SymmetricState<C = DefaultCipher> {
    hash: [u8; 32],
    chaining_key: [u8; 32],
    cipher: Option<CipherState<C>>,
}

impl<C: AeadCipher> SymmetricState<C> {
    /// The state before the first message: hash of the protocol's name, no key.
    pub fn new() -> Self {
        let chaining_key = sha256(&[PROTOCOL_NAME.as_bytes()]);
        Self {
            hash: sha256(&[&chaining_key]),
            chaining_key,
            cipher: None,
        }
    }

    /// The hash of the transcript so far.
    pub const fn handshake_hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// The chaining key, a secret as soon as the first Diffie-Hellman result is mixed in.
    pub const fn chaining_key(&self) -> &[u8; 32] {
        &self.chaining_key
    }

    /// Extends the transcript hash by `data`.
    pub fn mix_hash(&mut self, data: &[u8]) {
        self.hash = sha256(&[&self.hash, data]);
    }

    /// Folds the secret `input` into the chaining key and starts a new cipher with counter 0.
    pub fn mix_key(&mut self, input: &[u8; 32]) {
        let (chaining_key, key) = hkdf(&self.chaining_key, input);
        self.chaining_key = *chaining_key;
        self.cipher = Some(CipherState::new(&key));
    }

    /// Encrypts in place with the transcript hash as associated data, then hashes the ciphertext.
    ///
    /// `message` ends in room for the tag once a key exists; before that it is sent as it is.
    ///
    /// # Errors
    /// As [`CipherState::seal`].
    pub fn encrypt_and_hash(&mut self, message: &mut [u8]) -> Result<(), CipherError> {
        if let Some(cipher) = &mut self.cipher {
            cipher.seal(&self.hash, message)?;
        }
        self.mix_hash(message);
        Ok(())
    }

    /// Hashes the ciphertext and decrypts it in place, the mirror of [`Self::encrypt_and_hash`].
    ///
    /// # Errors
    /// As [`CipherState::open`]; the transcript hash then stays as it was.
    pub fn decrypt_and_hash(&mut self, message: &mut [u8]) -> Result<(), CipherError> {
        let hash = sha256(&[&self.hash, message]);
        if let Some(cipher) = &mut self.cipher {
            cipher.open(&self.hash, message)?;
        }
        self.hash = hash;
        Ok(())
    }

    /// The two transport ciphers: initiator to responder, then responder to initiator.
    pub fn split(self) -> (CipherState<C>, CipherState<C>) {
        let (to_responder, to_initiator) = hkdf(&self.chaining_key, &[]);
        (
            CipherState::new(&to_responder),
            CipherState::new(&to_initiator),
        )
    }
}

impl<C: AeadCipher> Default for SymmetricState<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> Drop for SymmetricState<C> {
    fn drop(&mut self) {
        self.chaining_key.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_is_rfc_2104() {
        // RFC 4231 test case 1, its 20-byte key padded with zeros as RFC 2104 does itself.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        assert_eq!(
            hex::encode(hmac(&key, &[b"Hi ", b"There"])),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }
}
