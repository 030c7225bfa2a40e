//! The NX handshake: two messages, each phase a type that the next step consumes.

pub use const_sv2::{HANDSHAKE_ACT_1_LEN as ACT1_LEN, HANDSHAKE_ACT_2_LEN as ACT2_LEN};

use const_sv2::CERTIFICATE_LEN;

use crate::certificate::{Certificate, CertificateError};
use crate::cipher::{AeadCipher, CipherError, DefaultCipher, TAG_LEN};
use crate::keys::{AuthorityPublicKey, ENCODED_KEY_LEN, EphemeralKey, StaticKey, decode_key};
use crate::symmetric::SymmetricState;
use crate::transport::{Opener, Sealer, Transport};

const SEALED_KEY_LEN: usize = ENCODED_KEY_LEN + TAG_LEN;
const SEALED_CERTIFICATE_LEN: usize = CERTIFICATE_LEN + TAG_LEN;

const _: () = assert!(ACT1_LEN == ENCODED_KEY_LEN);
const _: () = assert!(ACT2_LEN == ENCODED_KEY_LEN + SEALED_KEY_LEN + SEALED_CERTIFICATE_LEN);

/// Why a handshake failed; the connection ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer's message was changed on the way, or the peer does not speak this protocol.
    #[error("the handshake message cannot be decrypted: {0}")]
    Cipher(#[from] CipherError),
    /// The server could not prove that it belongs to the pinned authority.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// The client's side, waiting for the server's message.
pub struct Initiator<C = DefaultCipher> {
    state: SymmetricState<C>,
    ephemeral: EphemeralKey,
    authority: Option<AuthorityPublicKey>,
}

impl Initiator {
    /// Begins a handshake: the waiting client and the 64 bytes to send.
    ///
    /// With no `authority` pinned any server is accepted, so the connection is secret but may be with
    /// anyone.
    pub fn new(
        authority: Option<AuthorityPublicKey>,
        ephemeral: EphemeralKey,
    ) -> (Self, [u8; ACT1_LEN]) {
        Self::with_cipher(authority, ephemeral)
    }
}

impl<C: AeadCipher> Initiator<C> {
    /// As [`Initiator::new`] with a cipher of the caller's choice.
    pub fn with_cipher(
        authority: Option<AuthorityPublicKey>,
        ephemeral: EphemeralKey,
    ) -> (Self, [u8; ACT1_LEN]) {
        let act1 = ephemeral.encoding();
        (
            Self {
                state: after_act1(&act1),
                ephemeral,
                authority,
            },
            act1,
        )
    }

    /// Takes the server's 234 bytes and, if they prove its identity, gives the transport ciphers.
    ///
    /// The certificate must be valid at `now_unix_secs`, give or take `clock_allowance_secs`
    /// ([`DEFAULT_CLOCK_ALLOWANCE_SECS`](crate::DEFAULT_CLOCK_ALLOWANCE_SECS)); with no authority
    /// pinned only its version is checked. There is no third message.
    ///
    /// # Errors
    /// [`HandshakeError`]: close the connection.
    pub fn finish(
        mut self,
        act2: &[u8; ACT2_LEN],
        now_unix_secs: u64,
        clock_allowance_secs: u32,
    ) -> Result<Transport<C>, HandshakeError> {
        let (server_ephemeral, mut static_key, mut certificate) = split_act2(*act2);

        self.state.mix_hash(&server_ephemeral);
        self.state
            .mix_key(&self.ephemeral.shared_secret_as_initiator(&server_ephemeral));
        self.state.decrypt_and_hash(&mut static_key)?;
        let static_key = first(&static_key);

        self.state
            .mix_key(&self.ephemeral.shared_secret_as_initiator(&static_key));
        self.state.decrypt_and_hash(&mut certificate)?;
        let certificate = Certificate::from_bytes(&first(&certificate));

        match &self.authority {
            None => certificate.check_version()?,
            Some(authority) => certificate.verify(
                authority,
                &decode_key(&static_key),
                now_unix_secs,
                clock_allowance_secs,
            )?,
        }
        let (to_server, to_client) = self.state.split();
        Ok(Transport {
            sealer: Sealer::new(to_server),
            opener: Opener::new(to_client),
        })
    }
}

/// The server's side, waiting for the client's message.
pub struct Responder<'a, C = DefaultCipher> {
    static_key: &'a StaticKey,
    certificate: &'a Certificate,
    cipher: core::marker::PhantomData<C>,
}

impl<'a> Responder<'a> {
    /// A server that proves itself with `static_key` and the certificate issued for it.
    pub const fn new(static_key: &'a StaticKey, certificate: &'a Certificate) -> Self {
        Self::with_cipher(static_key, certificate)
    }
}

impl<'a, C> Responder<'a, C> {
    /// As [`Responder::new`] with a cipher of the caller's choice.
    pub const fn with_cipher(static_key: &'a StaticKey, certificate: &'a Certificate) -> Self {
        Self {
            static_key,
            certificate,
            cipher: core::marker::PhantomData,
        }
    }
}

impl<C: AeadCipher> Responder<'_, C> {
    /// Takes the client's 64 bytes: the transport ciphers and the 234 bytes to send.
    ///
    /// Every string of 64 bytes is a client's key, so a stranger is noticed only when the first
    /// sealed frame cannot be opened.
    ///
    /// # Errors
    /// Only what the cipher itself reports; none of those in this crate ever do.
    pub fn respond(
        self,
        act1: &[u8; ACT1_LEN],
        ephemeral: EphemeralKey,
    ) -> Result<(Transport<C>, [u8; ACT2_LEN]), HandshakeError> {
        let mut state = after_act1(act1);

        let encoding = ephemeral.encoding();
        state.mix_hash(&encoding);
        state.mix_key(&ephemeral.shared_secret_as_responder(act1));
        let mut static_key = [0; SEALED_KEY_LEN];
        static_key[..ENCODED_KEY_LEN].copy_from_slice(&self.static_key.encoding());
        state.encrypt_and_hash(&mut static_key)?;

        state.mix_key(&self.static_key.shared_secret_as_responder(act1));
        let mut certificate = [0; SEALED_CERTIFICATE_LEN];
        certificate[..CERTIFICATE_LEN].copy_from_slice(&self.certificate.to_bytes());
        state.encrypt_and_hash(&mut certificate)?;

        let (to_server, to_client) = state.split();
        let transport = Transport {
            sealer: Sealer::new(to_client),
            opener: Opener::new(to_server),
        };
        Ok((transport, join_act2(&encoding, &static_key, &certificate)))
    }
}

fn after_act1<C: AeadCipher>(act1: &[u8; ACT1_LEN]) -> SymmetricState<C> {
    let mut state = SymmetricState::new();
    state.mix_hash(act1);
    // The first message carries an empty payload, sealed under no key: it only moves the hash.
    state.mix_hash(&[]);
    state
}

type Act2Parts = (
    [u8; ENCODED_KEY_LEN],
    [u8; SEALED_KEY_LEN],
    [u8; SEALED_CERTIFICATE_LEN],
);

fn split_act2(act2: [u8; ACT2_LEN]) -> Act2Parts {
    let (ephemeral, rest) = act2.split_at(ENCODED_KEY_LEN);
    (
        first(ephemeral),
        first(rest),
        first(&rest[SEALED_KEY_LEN..]),
    )
}

fn join_act2(ephemeral: &[u8], static_key: &[u8], certificate: &[u8]) -> [u8; ACT2_LEN] {
    let mut act2 = [0; ACT2_LEN];
    let (to_ephemeral, rest) = act2.split_at_mut(ENCODED_KEY_LEN);
    let (to_static_key, to_certificate) = rest.split_at_mut(SEALED_KEY_LEN);
    to_ephemeral.copy_from_slice(ephemeral);
    to_static_key.copy_from_slice(static_key);
    to_certificate.copy_from_slice(certificate);
    act2
}

// The lengths are constants of this module, so the slices are never too short.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::AuthoritySecretKey;

    #[test]
    fn both_ciphers_shake_hands() {
        let authority = AuthoritySecretKey::from_bytes(&[1; 32]).unwrap();
        let server = StaticKey::new(&[2; 32], &[3; 32]).unwrap();
        let certificate = Certificate::issue(&authority, &server, 0..=100, &[4; 32]);
        let client_key = EphemeralKey::new(&[5; 32], &[6; 32]).unwrap();
        let server_key = EphemeralKey::new(&[7; 32], &[8; 32]).unwrap();

        let (client, act1) = Initiator::new(Some(authority.public_key()), client_key);
        let (mut at_server, act2) =
            Responder::<crate::PortableCipher>::with_cipher(&server, &certificate)
                .respond(&act1, server_key)
                .unwrap();
        let mut at_client = client.finish(&act2, 50, 0).unwrap();

        let mut frame = [9; 40];
        at_client.sealer.seal_frame(&mut frame).unwrap();
        let (header, payload) = frame.split_first_chunk_mut().unwrap();
        assert_eq!(at_server.opener.open_header(header), Ok([9; 6]));
        assert_eq!(at_server.opener.open_payload(payload), Ok(2));
        assert_eq!(payload[..2], [9; 2]);
    }

    #[test]
    fn a_certificate_of_an_unknown_version_is_refused_even_unpinned() {
        let authority = AuthoritySecretKey::from_bytes(&[1; 32]).unwrap();
        let server = StaticKey::new(&[2; 32], &[3; 32]).unwrap();
        let mut bytes = Certificate::issue(&authority, &server, 0..=100, &[4; 32]).to_bytes();
        for (version, expected) in [(0, Ok(())), (1, Err(CertificateError::Version(1).into()))] {
            bytes[0] = version;
            let client_key = EphemeralKey::new(&[5; 32], &[6; 32]).unwrap();
            let server_key = EphemeralKey::new(&[7; 32], &[8; 32]).unwrap();
            let (client, act1) = Initiator::new(None, client_key);
            let certificate = Certificate::from_bytes(&bytes);
            let responded = Responder::new(&server, &certificate).respond(&act1, server_key);
            let (_, act2) = responded.unwrap();
            // Long expired: without a pinned authority nothing but the version counts.
            let finished = client.finish(&act2, 1_000_000, 0).map(drop);
            assert_eq!(finished, expected);
        }
    }
}
