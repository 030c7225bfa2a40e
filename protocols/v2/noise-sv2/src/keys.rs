//! Handshake keys with their ElligatorSwift encoding, authority keys and their text form.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use secp256k1::ellswift::{ElligatorSwift, ElligatorSwiftParty};
use secp256k1::ffi::types::AlignedType;
use secp256k1::{
    AllPreallocated, Keypair, Message, PublicKey, Secp256k1, SecretKey, XOnlyPublicKey, schnorr,
};
use zeroize::Zeroizing;

/// Length in bytes of the ElligatorSwift encoding of a public key.
pub const ENCODED_KEY_LEN: usize = 64;

/// Draws until [`AuthoritySecretKey::generate`] gives up. Fewer than one number in 2^127 is no key, so a source that fails
/// twice in a row is broken.
pub const MAX_KEY_DRAWS: usize = 8;

const AUTHORITY_KEY_VERSION: u16 = u16::from_le_bytes(const_sv2::AUTHORITY_KEY_PREFIX);

/// Why bytes are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The secret is zero or not below the order of the group; draw another one.
    #[error("the secret key is zero or not below the group order")]
    SecretOutOfRange,
    /// The 32 bytes are not the x coordinate of a point of secp256k1.
    #[error("the public key is not a point of secp256k1")]
    NotOnCurve,
    /// The ElligatorSwift encoding is that of another key.
    #[error("the ElligatorSwift encoding belongs to another key")]
    EncodingMismatch,
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyTextError {
    /// A character does not occur in Base58; its position counts bytes from 0.
    #[error("the character at position {0} is not base58")]
    Character(usize),
    /// The checksum does not match: a character is wrong or missing.
    #[error("the checksum does not match, a character is wrong or missing")]
    Checksum,
    /// The text holds more or fewer bytes than such a key has.
    #[error("the key does not have the right length")]
    Length,
    /// An authority key begins with version 1; this is what stands there instead.
    #[error("authority keys have version 1, this one has version {0}")]
    Version(u16),
    /// The text is well formed, the bytes in it are no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Units of 16 bytes that a context of the C library takes: 208 bytes on 64-bit machines, with some to spare.
const CONTEXT_UNITS: usize = 32;

/// Runs with a context on the stack: keys take no memory, so none can be missing in the middle of a handshake.
fn with_context<T>(run: impl FnOnce(&Secp256k1<AllPreallocated<'_>>) -> T) -> T {
    let mut memory = [AlignedType::zeroed(); CONTEXT_UNITS];
    let context = Secp256k1::preallocated_new(&mut memory);
    run(&context.expect("the length of a context is one of the library's constants, and a test's"))
}

/// A secret key and the encoding of its public key that travels in the handshake.
///
/// The encoding is not unique and is what both sides hash, so the two belong together.
#[derive(Clone)]
struct EncodedKey {
    secret: SecretKey,
    encoding: ElligatorSwift,
}

impl EncodedKey {
    fn new(secret: &[u8; 32], aux: &[u8; 32]) -> Result<Self, KeyError> {
        let secret = SecretKey::from_slice(secret).map_err(|_| KeyError::SecretOutOfRange)?;
        let encoding =
            with_context(|context| ElligatorSwift::from_seckey(context, secret, Some(*aux)));
        Ok(Self { secret, encoding })
    }

    fn from_parts(secret: &[u8; 32], encoding: &[u8; 64]) -> Result<Self, KeyError> {
        let secret = SecretKey::from_slice(secret).map_err(|_| KeyError::SecretOutOfRange)?;
        let key = Self {
            secret,
            encoding: ElligatorSwift::from_array(*encoding),
        };
        let (expected, _) = with_context(|context| secret.x_only_public_key(context));
        if x_only(key.encoding) != expected {
            return Err(KeyError::EncodingMismatch);
        }
        Ok(key)
    }
}

impl Drop for EncodedKey {
    fn drop(&mut self) {
        self.secret.non_secure_erase();
    }
}

fn x_only(encoding: ElligatorSwift) -> XOnlyPublicKey {
    PublicKey::from_ellswift(encoding).x_only_public_key().0
}

/// The x coordinate, 32 bytes big-endian, of the key an ElligatorSwift encoding stands for.
///
/// Every string of 64 bytes is the encoding of some key. Specification 4.3.1.1, BIP324.
pub fn decode_key(encoding: &[u8; ENCODED_KEY_LEN]) -> [u8; 32] {
    x_only(ElligatorSwift::from_array(*encoding)).serialize()
}

macro_rules! handshake_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(EncodedKey);

        impl $name {
            /// A key from 32 secret bytes and 32 bytes that choose among the encodings of its
            /// public key; both come from a cryptographic random source.
            ///
            /// # Errors
            /// [`KeyError::SecretOutOfRange`], about once in 2^127 draws: draw again.
            pub fn new(secret: &[u8; 32], aux: &[u8; 32]) -> Result<Self, KeyError> {
                EncodedKey::new(secret, aux).map(Self)
            }

            /// A key with the encoding it was given before: for stored keys and recorded transcripts.
            ///
            /// # Errors
            /// [`KeyError::SecretOutOfRange`], or [`KeyError::EncodingMismatch`] when `encoding`
            /// stands for another key.
            pub fn from_parts(
                secret: &[u8; 32],
                encoding: &[u8; ENCODED_KEY_LEN],
            ) -> Result<Self, KeyError> {
                EncodedKey::from_parts(secret, encoding).map(Self)
            }

            /// The ElligatorSwift encoding of the public key, as it is sent and hashed.
            pub fn encoding(&self) -> [u8; ENCODED_KEY_LEN] {
                self.0.encoding.to_array()
            }

            /// The secret shared with the holder of `peer`, where this side opened the connection.
            /// Specification 4.4.2, BIP324 `v2_ecdh`.
            pub fn shared_secret_as_initiator(
                &self,
                peer: &[u8; ENCODED_KEY_LEN],
            ) -> Zeroizing<[u8; 32]> {
                let peer = ElligatorSwift::from_array(*peer);
                ecdh(self.0.encoding, peer, self.0.secret, ElligatorSwiftParty::A)
            }

            /// The secret shared with the holder of `peer`, who opened the connection.
            pub fn shared_secret_as_responder(
                &self,
                peer: &[u8; ENCODED_KEY_LEN],
            ) -> Zeroizing<[u8; 32]> {
                let peer = ElligatorSwift::from_array(*peer);
                ecdh(peer, self.0.encoding, self.0.secret, ElligatorSwiftParty::B)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

fn ecdh(
    initiator: ElligatorSwift,
    responder: ElligatorSwift,
    secret: SecretKey,
    party: ElligatorSwiftParty,
) -> Zeroizing<[u8; 32]> {
    let shared = ElligatorSwift::shared_secret(initiator, responder, secret, party, None);
    Zeroizing::new(shared.to_secret_bytes())
}

handshake_key! {
    /// A key for one handshake; the handshake consumes it, so it cannot serve twice.
    EphemeralKey
}

handshake_key! {
    /// The long-lived key of a server, certified by the authority. Wiped from memory when dropped.
    #[derive(Clone)]
    StaticKey
}

impl StaticKey {
    /// The x coordinate of the public key, 32 bytes big-endian: what the certificate covers.
    pub fn x_only(&self) -> [u8; 32] {
        x_only(self.0.encoding).serialize()
    }
}

/// The public key of the authority that certifies servers; clients pin it.
///
/// Its text form is Base58Check over the version `01 00` and the 32 bytes. Specification 4.7.
///
/// ```
/// use noise_sv2::AuthorityPublicKey;
///
/// let text = "9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";
/// let key: AuthorityPublicKey = text.parse()?;
/// assert_eq!(key.to_string(), text);
/// # Ok::<(), noise_sv2::KeyTextError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityPublicKey(XOnlyPublicKey);

impl AuthorityPublicKey {
    /// The key with this x coordinate, 32 bytes big-endian.
    ///
    /// # Errors
    /// [`KeyError::NotOnCurve`] when no point has it.
    pub fn from_bytes(x_only: &[u8; 32]) -> Result<Self, KeyError> {
        XOnlyPublicKey::from_slice(x_only)
            .map(Self)
            .map_err(|_| KeyError::NotOnCurve)
    }

    /// The x coordinate, 32 bytes big-endian.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.serialize()
    }

    /// Whether `signature` is this authority's BIP340 signature over `digest`.
    pub fn verifies(&self, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        let Ok(signature) = schnorr::Signature::from_slice(signature) else {
            return false;
        };
        let message = Message::from_digest(*digest);
        with_context(|context| {
            context
                .verify_schnorr(&signature, &message, &self.0)
                .is_ok()
        })
    }
}

impl fmt::Display for AuthorityPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 34];
        bytes[..2].copy_from_slice(&const_sv2::AUTHORITY_KEY_PREFIX);
        bytes[2..].copy_from_slice(&self.0.serialize());
        f.write_str(&bs58::encode(bytes).with_check().into_string())
    }
}

impl fmt::Debug for AuthorityPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorityPublicKey({self})")
    }
}

impl FromStr for AuthorityPublicKey {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        let bytes = decode_text::<34>(text)?;
        let [low, high, x_only @ ..] = *bytes;
        let version = u16::from_le_bytes([low, high]);
        if version != AUTHORITY_KEY_VERSION {
            return Err(KeyTextError::Version(version));
        }
        Ok(Self::from_bytes(&x_only)?)
    }
}

/// The secret key of an authority: signs the certificates of servers.
///
/// Its text form is Base58Check over the 32 bytes, without a version. Wiped from memory when dropped;
/// it has no `Display`, and `Debug` does not show it.
#[derive(Clone)]
pub struct AuthoritySecretKey(Keypair);

impl AuthoritySecretKey {
    /// The key with these 32 secret bytes, big-endian.
    ///
    /// # Errors
    /// [`KeyError::SecretOutOfRange`] when they are zero or not below the group order.
    pub fn from_bytes(secret: &[u8; 32]) -> Result<Self, KeyError> {
        with_context(|context| Keypair::from_seckey_slice(context, secret))
            .map(Self)
            .map_err(|_| KeyError::SecretOutOfRange)
    }

    /// A new key; `random` draws 32 bytes from a cryptographic random source, again while they are no key.
    ///
    /// ```
    /// use noise_sv2::{AuthoritySecretKey, KeyError};
    ///
    /// # fn random_bytes() -> [u8; 32] { [5; 32] }
    /// let key = AuthoritySecretKey::generate(random_bytes)?;
    /// println!("clients pin {}", key.public_key());
    /// # Ok::<(), KeyError>(())
    /// ```
    ///
    /// # Errors
    /// [`KeyError::SecretOutOfRange`] when [`MAX_KEY_DRAWS`] in a row are no key: the source is broken.
    pub fn generate(mut random: impl FnMut() -> [u8; 32]) -> Result<Self, KeyError> {
        (0..MAX_KEY_DRAWS)
            .find_map(|_| Self::from_bytes(&Zeroizing::new(random())).ok())
            .ok_or(KeyError::SecretOutOfRange)
    }

    /// The public key that verifies what this one signs.
    pub fn public_key(&self) -> AuthorityPublicKey {
        AuthorityPublicKey(self.0.x_only_public_key().0)
    }

    /// The text form, to be written to a configuration file and nowhere else.
    pub fn to_text(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(self.0.secret_bytes());
        Zeroizing::new(bs58::encode(&*secret).with_check().into_string())
    }

    /// The BIP340 signature over `digest`; `aux` is fresh randomness that hardens the signing.
    pub fn sign(&self, digest: &[u8; 32], aux: &[u8; 32]) -> [u8; 64] {
        let message = Message::from_digest(*digest);
        with_context(|context| context.sign_schnorr_with_aux_rand(&message, &self.0, aux))
            .serialize()
    }
}

impl Drop for AuthoritySecretKey {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

impl fmt::Debug for AuthoritySecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthoritySecretKey").finish_non_exhaustive()
    }
}

impl FromStr for AuthoritySecretKey {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        Ok(Self::from_bytes(&*decode_text::<32>(text)?)?)
    }
}

fn decode_text<const N: usize>(text: &str) -> Result<Zeroizing<[u8; N]>, KeyTextError> {
    use bs58::decode::Error;

    // Room for the longest key and its checksum with some to spare, so that a slightly longer text
    // is told apart from a mistyped one.
    let mut bytes = Zeroizing::new([0; 64]);
    let len = bs58::decode(text)
        .with_check(None)
        .onto(&mut *bytes)
        .map_err(|e| match e {
            Error::BufferTooSmall => KeyTextError::Length,
            Error::InvalidCharacter { index, .. } | Error::NonAsciiCharacter { index } => {
                KeyTextError::Character(index)
            }
            _ => KeyTextError::Checksum,
        })?;
    if len != N {
        return Err(KeyTextError::Length);
    }
    let mut key = Zeroizing::new([0; N]);
    key.copy_from_slice(&bytes[..N]);
    Ok(key)
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use super::*;

    // The pair that deployed example configurations carry.
    const SECRET: &str = "mkDLTBBRxdBv998612qipDYoTK3YUrqLe8uWw7gu3iXbSrn2n";
    const PUBLIC: &str = "9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72";

    #[test]
    fn deployed_text_forms_are_read_and_written() {
        let secret: AuthoritySecretKey = SECRET.parse().unwrap();
        assert_eq!(secret.public_key().to_string(), PUBLIC);
        assert_eq!(*secret.to_text(), SECRET);
        assert_eq!(PUBLIC.parse(), Ok(secret.public_key()));
    }

    #[test]
    fn text_that_is_no_key_says_why() {
        let secret = |text: &str| text.parse::<AuthoritySecretKey>().unwrap_err();
        let public = |text: &str| text.parse::<AuthorityPublicKey>().unwrap_err();
        assert_eq!(secret(PUBLIC), KeyTextError::Length);
        assert_eq!(public(SECRET), KeyTextError::Length);
        assert_eq!(secret(""), KeyTextError::Checksum);
        assert_eq!(secret(&SECRET.replace('m', "n")), KeyTextError::Checksum);
        assert_eq!(secret("mk0"), KeyTextError::Character(2));
        assert_eq!(secret("mé"), KeyTextError::Character(1));
        assert_eq!(public(&"z".repeat(100_000)), KeyTextError::Length);
        let zero = bs58::encode([0; 32]).with_check().into_string();
        assert_eq!(secret(&zero), KeyTextError::Key(KeyError::SecretOutOfRange));
    }

    #[test]
    fn secrets_do_not_show() {
        let authority: AuthoritySecretKey = SECRET.parse().unwrap();
        assert_eq!(format!("{authority:?}"), "AuthoritySecretKey { .. }");
        let key = StaticKey::new(&[1; 32], &[2; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "StaticKey { .. }");
    }

    #[test]
    fn a_context_fits_its_memory_twice() {
        assert!(Secp256k1::preallocate_size() * 2 <= CONTEXT_UNITS);
    }

    #[test]
    fn secrets_out_of_range_are_refused() {
        let order = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
            .unwrap()
            .try_into()
            .unwrap();
        for secret in [[0; 32], order, [0xff; 32]] {
            assert_eq!(
                EphemeralKey::new(&secret, &[0; 32]).unwrap_err(),
                KeyError::SecretOutOfRange
            );
            assert_eq!(
                AuthoritySecretKey::from_bytes(&secret).unwrap_err(),
                KeyError::SecretOutOfRange
            );
        }
    }

    #[test]
    fn a_new_key_is_drawn_until_it_is_one_but_not_for_ever() {
        let mut draws = 0;
        let key = AuthoritySecretKey::generate(|| {
            draws += 1;
            if draws < MAX_KEY_DRAWS {
                [0xff; 32]
            } else {
                [5; 32]
            }
        });
        let expected = AuthoritySecretKey::from_bytes(&[5; 32]).unwrap();
        assert_eq!(key.unwrap().public_key(), expected.public_key());
        assert_eq!(draws, MAX_KEY_DRAWS);
        let mut draws = 0;
        let broken = AuthoritySecretKey::generate(|| {
            draws += 1;
            [0; 32]
        });
        assert_eq!(broken.unwrap_err(), KeyError::SecretOutOfRange);
        assert_eq!(draws, MAX_KEY_DRAWS);
    }

    #[test]
    fn encodings_vary_and_belong_to_their_key() {
        let one = StaticKey::new(&[1; 32], &[2; 32]).unwrap();
        let other = StaticKey::new(&[1; 32], &[3; 32]).unwrap();
        assert_ne!(one.encoding(), other.encoding());
        assert_eq!(one.x_only(), other.x_only());
        assert_eq!(decode_key(&one.encoding()), one.x_only());
        let again = StaticKey::from_parts(&[1; 32], &other.encoding()).unwrap();
        assert_eq!(again.encoding(), other.encoding());
        assert_eq!(
            StaticKey::from_parts(&[4; 32], &other.encoding()).unwrap_err(),
            KeyError::EncodingMismatch
        );
    }
}
