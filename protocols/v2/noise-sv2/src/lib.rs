//! The Noise NX handshake and transport cipher of Stratum V2, certificates and authority keys.
//!
//! Nothing here reads a clock, a socket or a random source: the time, the bytes and the secrets are
//! arguments. A handshake is two messages, and each step consumes the one before:
//!
//! ```
//! use noise_sv2::{
//!     AuthoritySecretKey, Certificate, DEFAULT_CLOCK_ALLOWANCE_SECS, EphemeralKey, Initiator,
//!     Responder, StaticKey,
//! };
//!
//! // Every secret below comes from a cryptographic random source in earnest.
//! let now = 1_700_000_000;
//! let authority = AuthoritySecretKey::from_bytes(&[1; 32])?;
//! let server_key = StaticKey::new(&[2; 32], &[3; 32])?;
//! let certificate = Certificate::issue(&authority, &server_key, now..=now + 3600, &[4; 32]);
//!
//! let ephemeral = EphemeralKey::new(&[5; 32], &[6; 32])?;
//! let (client, act1) = Initiator::new(Some(authority.public_key()), ephemeral);
//!
//! let ephemeral = EphemeralKey::new(&[7; 32], &[8; 32])?;
//! let (mut server, act2) = Responder::new(&server_key, &certificate).respond(&act1, ephemeral)?;
//!
//! let mut client = client.finish(&act2, now.into(), DEFAULT_CLOCK_ALLOWANCE_SECS)?;
//!
//! // A frame without payload: its header, and room for the tag.
//! let mut frame = [0; 22];
//! frame[..6].copy_from_slice(&[0, 0, 0x56, 0, 0, 0]);
//! client.sealer.seal_frame(&mut frame)?;
//! assert_eq!(server.opener.open_header(&mut frame)?, [0, 0, 0x56, 0, 0, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With the feature `std`, on by default, frames are sealed by the assembly of aws-lc; without it by
//! pure Rust, and the crate is `no_std` with `alloc`. Both are compiled and tested against each other;
//! a third one, such as a hardware cipher, implements [`AeadCipher`].
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod certificate;
mod cipher;
mod handshake;
mod keys;
mod symmetric;
mod transport;

pub use certificate::{Certificate, CertificateError, DEFAULT_CLOCK_ALLOWANCE_SECS};
#[cfg(feature = "std")]
pub use cipher::AssemblyCipher;
pub use cipher::{
    AeadCipher, CipherError, CipherState, DefaultCipher, KEY_LEN, PortableCipher, TAG_LEN,
};
pub use handshake::{ACT1_LEN, ACT2_LEN, HandshakeError, Initiator, Responder};
pub use keys::{
    AuthorityPublicKey, AuthoritySecretKey, ENCODED_KEY_LEN, EphemeralKey, KeyError, KeyTextError,
    MAX_KEY_DRAWS, StaticKey, decode_key,
};
pub use symmetric::{PROTOCOL_NAME, SymmetricState};
pub use transport::{
    BLOCK_LEN, HEADER_LEN, Opener, SEALED_BLOCK_LEN, SEALED_HEADER_LEN, Sealer, Transport,
    opened_payload_len, sealed_payload_len,
};
