//! ChaCha20-Poly1305 behind a small trait, and the counter that gives each message its nonce.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};

/// Length of a cipher key in bytes.
pub const KEY_LEN: usize = 32;

/// Length in bytes of the authentication tag that ends every ciphertext.
pub const TAG_LEN: usize = const_sv2::AEAD_TAG_LEN;

/// Why a message could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CipherError {
    /// The tag does not match: wrong key, wrong order of messages, or changed bytes.
    #[error("message authentication failed")]
    Authentication,
    /// All 2^64 - 1 nonces of this direction are used; the connection must be opened anew.
    #[error("no nonce is left for this direction")]
    NonceExhausted,
    /// The buffer has no room for the tag, or not the length the plaintext asks for.
    #[error("the buffer does not have the length of the message")]
    BufferLength,
}

/// ChaCha20-Poly1305 (RFC 8439) under one key.
///
/// The nonce is 4 zero bytes followed by `counter` as a little-endian `u64`. Specification 4.3, 4.4.1.
pub trait AeadCipher: Sized {
    /// The cipher under `key`.
    fn new(key: &[u8; KEY_LEN]) -> Self;

    /// Encrypts in place: `message` is the plaintext followed by [`TAG_LEN`] bytes that take the tag.
    ///
    /// # Errors
    /// [`CipherError::BufferLength`] when there is no room for the tag.
    fn seal_in_place(
        &self,
        counter: u64,
        associated_data: &[u8],
        message: &mut [u8],
    ) -> Result<(), CipherError>;

    /// Decrypts in place: `message` is the ciphertext followed by its tag, and after success begins
    /// with the plaintext. After an error its contents are unspecified.
    ///
    /// # Errors
    /// [`CipherError::Authentication`] when the tag does not match, [`CipherError::BufferLength`]
    /// when `message` is shorter than a tag.
    fn open_in_place(
        &self,
        counter: u64,
        associated_data: &[u8],
        message: &mut [u8],
    ) -> Result<(), CipherError>;
}

/// The cipher this build uses: the fastest one its features allow.
#[cfg(feature = "std")]
pub type DefaultCipher = AssemblyCipher;
/// The cipher this build uses: the fastest one its features allow.
#[cfg(not(feature = "std"))]
pub type DefaultCipher = PortableCipher;

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

fn split_tag(message: &mut [u8]) -> Result<(&mut [u8], &mut [u8; TAG_LEN]), CipherError> {
    message
        .split_last_chunk_mut()
        .ok_or(CipherError::BufferLength)
}

/// The pure-Rust cipher: for `no_std`, and the reference the other one is tested against.
pub struct PortableCipher(ChaCha20Poly1305);

impl AeadCipher for PortableCipher {
    fn new(key: &[u8; KEY_LEN]) -> Self {
        Self(ChaCha20Poly1305::new(key.into()))
    }

    fn seal_in_place(
        &self,
        counter: u64,
        associated_data: &[u8],
        message: &mut [u8],
    ) -> Result<(), CipherError> {
        let (text, tag) = split_tag(message)?;
        let computed = self
            .0
            .encrypt_inout_detached(&nonce(counter).into(), associated_data, text.into())
            .map_err(|_| CipherError::BufferLength)?;
        tag.copy_from_slice(&computed);
        Ok(())
    }

    fn open_in_place(
        &self,
        counter: u64,
        associated_data: &[u8],
        message: &mut [u8],
    ) -> Result<(), CipherError> {
        let (text, tag) = split_tag(message)?;
        self.0
            .decrypt_inout_detached(
                &nonce(counter).into(),
                associated_data,
                text.into(),
                &(*tag).into(),
            )
            .map_err(|_| CipherError::Authentication)
    }
}

#[cfg(feature = "std")]
pub use assembly::AssemblyCipher;

#[cfg(feature = "std")]
mod assembly {
    use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

    use super::{AeadCipher, CipherError, KEY_LEN, nonce, split_tag};

    /// The cipher of aws-lc, written in assembly for the vector units of x86-64 and ARM.
    pub struct AssemblyCipher(LessSafeKey);

    impl AeadCipher for AssemblyCipher {
        fn new(key: &[u8; KEY_LEN]) -> Self {
            let key = UnboundKey::new(&CHACHA20_POLY1305, key)
                .expect("a key of the algorithm's length is accepted");
            Self(LessSafeKey::new(key))
        }

        fn seal_in_place(
            &self,
            counter: u64,
            associated_data: &[u8],
            message: &mut [u8],
        ) -> Result<(), CipherError> {
            let (text, tag) = split_tag(message)?;
            let nonce = Nonce::assume_unique_for_key(nonce(counter));
            let computed = self
                .0
                .seal_in_place_separate_tag(nonce, Aad::from(associated_data), text)
                .map_err(|_| CipherError::BufferLength)?;
            tag.copy_from_slice(computed.as_ref());
            Ok(())
        }

        fn open_in_place(
            &self,
            counter: u64,
            associated_data: &[u8],
            message: &mut [u8],
        ) -> Result<(), CipherError> {
            let (text, tag) = split_tag(message)?;
            let nonce = Nonce::assume_unique_for_key(nonce(counter));
            self.0
                .open_in_place_separate_tag(nonce, Aad::from(associated_data), tag, text)
                .map_err(|_| CipherError::Authentication)?;
            Ok(())
        }
    }
}

/// A cipher and the counter of the messages it has handled: the CipherState of specification 4.4.1.
pub struct CipherState<C = DefaultCipher> {
    cipher: C,
    counter: u64,
}

impl<C: AeadCipher> CipherState<C> {
    /// A state under `key` whose first message has counter 0.
    pub fn new(key: &[u8; KEY_LEN]) -> Self {
        Self::at(key, 0)
    }

    /// A state under `key` whose next message has the given counter: to take up a session again.
    ///
    /// A counter that was used before under the same key breaks the cipher.
    pub fn at(key: &[u8; KEY_LEN], counter: u64) -> Self {
        Self {
            cipher: C::new(key),
            counter,
        }
    }

    /// The counter of the next message.
    pub const fn counter(&self) -> u64 {
        self.counter
    }

    /// Encrypts the next message in place, as [`AeadCipher::seal_in_place`].
    ///
    /// # Errors
    /// Those of the cipher, and [`CipherError::NonceExhausted`] once 2^64 - 1 messages are sealed.
    pub fn seal(&mut self, associated_data: &[u8], message: &mut [u8]) -> Result<(), CipherError> {
        let next = self.next_counter()?;
        self.cipher
            .seal_in_place(self.counter, associated_data, message)?;
        self.counter = next;
        Ok(())
    }

    /// Decrypts the next message in place, as [`AeadCipher::open_in_place`]. A failure leaves the
    /// counter as it was.
    ///
    /// # Errors
    /// Those of the cipher, and [`CipherError::NonceExhausted`] once 2^64 - 1 messages are opened.
    pub fn open(&mut self, associated_data: &[u8], message: &mut [u8]) -> Result<(), CipherError> {
        let next = self.next_counter()?;
        self.cipher
            .open_in_place(self.counter, associated_data, message)?;
        self.counter = next;
        Ok(())
    }

    // Noise reserves 2^64 - 1, so the last usable counter is the one before it.
    fn next_counter(&self) -> Result<u64, CipherError> {
        self.counter
            .checked_add(1)
            .ok_or(CipherError::NonceExhausted)
    }
}

impl<C> core::fmt::Debug for CipherState<C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CipherState")
            .field("counter", &self.counter)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn sealed<C: AeadCipher>(key: &[u8; 32], counter: u64, ad: &[u8], text: &[u8]) -> Vec<u8> {
        let mut message = text.to_vec();
        message.resize(text.len() + TAG_LEN, 0);
        C::new(key)
            .seal_in_place(counter, ad, &mut message)
            .unwrap();
        message
    }

    proptest! {
        #[test]
        fn the_fast_cipher_is_the_portable_cipher(
            key: [u8; 32],
            counter: u64,
            ad in prop::collection::vec(any::<u8>(), 0..64),
            text in prop::collection::vec(any::<u8>(), 0..600),
            flip: prop::sample::Index,
        ) {
            let mut message = sealed::<DefaultCipher>(&key, counter, &ad, &text);
            prop_assert_eq!(&message, &sealed::<PortableCipher>(&key, counter, &ad, &text));

            let mut changed = message.clone();
            changed[flip.index(message.len())] ^= 1;
            for result in [
                DefaultCipher::new(&key).open_in_place(counter, &ad, &mut changed.clone()),
                PortableCipher::new(&key).open_in_place(counter, &ad, &mut changed),
                PortableCipher::new(&key).open_in_place(!counter, &ad, &mut message.clone()),
            ] {
                prop_assert_eq!(result, Err(CipherError::Authentication));
            }

            let mut portable = message.clone();
            DefaultCipher::new(&key).open_in_place(counter, &ad, &mut message).unwrap();
            PortableCipher::new(&key).open_in_place(counter, &ad, &mut portable).unwrap();
            prop_assert_eq!(&message[..text.len()], &text[..]);
            prop_assert_eq!(&portable[..text.len()], &text[..]);
        }
    }

    #[test]
    fn the_reserved_nonce_is_never_used() {
        let mut state = CipherState::<DefaultCipher>::at(&[7; 32], u64::MAX - 1);
        let mut message = [0; TAG_LEN];
        state.seal(&[], &mut message).unwrap();
        assert_eq!(
            state.seal(&[], &mut message),
            Err(CipherError::NonceExhausted)
        );
        assert_eq!(
            state.open(&[], &mut message),
            Err(CipherError::NonceExhausted)
        );
        assert_eq!(state.counter(), u64::MAX);
    }

    #[test]
    fn a_failed_open_keeps_the_counter() {
        let mut sender = CipherState::<DefaultCipher>::new(&[7; 32]);
        let mut receiver = CipherState::<DefaultCipher>::new(&[7; 32]);
        let mut message = [0; 20];
        sender.seal(&[], &mut message).unwrap();
        let mut changed = message;
        changed[0] ^= 1;
        assert_eq!(
            receiver.open(&[], &mut changed),
            Err(CipherError::Authentication)
        );
        assert_eq!(receiver.counter(), 0);
        receiver.open(&[], &mut message).unwrap();
        assert_eq!(receiver.counter(), 1);
        assert_eq!(
            receiver.open(&[], &mut [0; 3]),
            Err(CipherError::BufferLength)
        );
        assert_eq!(
            receiver.seal(&[], &mut [0; 3]),
            Err(CipherError::BufferLength)
        );
        assert_eq!(receiver.counter(), 1);
    }
}
