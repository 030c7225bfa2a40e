//! The Noise handshake over a stream, for both sides.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use noise_sv2::{
    ACT1_LEN, ACT2_LEN, AuthorityPublicKey, AuthoritySecretKey, Certificate,
    DEFAULT_CLOCK_ALLOWANCE_SECS, EphemeralKey, HandshakeError, Initiator, Responder, StaticKey,
    Transport,
};

use crate::keys_ahead::KeysAhead;
use crate::runtime::{Io, read_exact, write_all};
use crate::{CloseReason, random_bytes};

/// How a client secures a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientSecurity {
    /// Not at all: only for a local network (specification 4).
    #[default]
    Plain,
    /// Noise.
    Noise {
        /// The authority whose certificate the server must show; without one any server is believed.
        authority: Option<AuthorityPublicKey>,
    },
}

/// How a server secures its connections.
#[derive(Clone, Debug, Default)]
pub enum ServerSecurity {
    /// Not at all: only for a local network (specification 4).
    #[default]
    Plain,
    /// Noise; the identity is shared by all connections.
    Noise(Arc<ServerIdentity>),
}

/// Seconds by which a certificate's validity begins before it is issued, for clients whose clocks are late.
const CERTIFICATE_BACKDATE_SECS: u32 = 3600;

/// What a server proves itself with: a static key, and a certificate for it, signed once and again before it expires.
///
/// A thread of its own makes up to 1024 ephemeral keys ahead whenever there are no handshakes.
pub struct ServerIdentity {
    authority: AuthoritySecretKey,
    static_key: StaticKey,
    validity_secs: u32,
    certificate: Mutex<Option<Certificate>>,
    ephemeral_keys: KeysAhead,
}

impl ServerIdentity {
    /// How long a certificate is valid unless the configuration says otherwise.
    pub const DEFAULT_VALIDITY: Duration = Duration::from_secs(24 * 3600);

    /// An identity with a fresh static key, vouched for by `authority` with certificates valid for `validity`.
    pub fn new(authority: AuthoritySecretKey, validity: Duration) -> Self {
        Self {
            authority,
            static_key: key_from(StaticKey::new),
            validity_secs: u32::try_from(validity.as_secs()).unwrap_or(u32::MAX),
            certificate: Mutex::new(None),
            ephemeral_keys: KeysAhead::new(),
        }
    }

    /// The key that clients pin.
    pub fn authority(&self) -> AuthorityPublicKey {
        self.authority.public_key()
    }

    /// A certificate of which at least half of the validity is left at `now`, in Unix seconds; that leaves room for
    /// clients whose clocks are early. The same one until then.
    pub fn certificate(&self, now: u64) -> Certificate {
        // A certificate is replaced whole, so a panic elsewhere cannot have left half of one.
        let mut current = self
            .certificate
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match *current {
            Some(certificate) if self.is_fresh(&certificate.validity(), now) => certificate,
            _ => *current.insert(self.issue(now)),
        }
    }

    fn is_fresh(&self, validity: &RangeInclusive<u32>, now: u64) -> bool {
        let last = u64::from(*validity.end()).saturating_sub(u64::from(self.validity_secs) / 2);
        (u64::from(*validity.start())..=last).contains(&now)
    }

    fn issue(&self, now: u64) -> Certificate {
        let now = u32::try_from(now).unwrap_or(u32::MAX);
        let from = now.saturating_sub(CERTIFICATE_BACKDATE_SECS);
        let validity = from..=now.saturating_add(self.validity_secs);
        Certificate::issue(&self.authority, &self.static_key, validity, &random_bytes())
    }
}

impl std::fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerIdentity")
            .field("authority", &self.authority.public_key())
            .finish_non_exhaustive()
    }
}

/// Why a handshake came to nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    Noise(HandshakeError),
    Closed(CloseReason),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Closed(match error.kind() {
            std::io::ErrorKind::UnexpectedEof => CloseReason::HandshakeClosed,
            _ => CloseReason::Io,
        })
    }
}

impl From<HandshakeError> for Failure {
    fn from(error: HandshakeError) -> Self {
        Self::Noise(error)
    }
}

impl Failure {
    pub(crate) const fn reason(&self) -> CloseReason {
        match self {
            Self::Noise(_) => CloseReason::HandshakeFailed,
            Self::Closed(reason) => *reason,
        }
    }
}

pub(crate) async fn initiate<R, S: Io<R>>(
    stream: &mut S,
    authority: Option<AuthorityPublicKey>,
) -> Result<Transport, Failure> {
    let (initiator, act1) = Initiator::new(authority, key_from(EphemeralKey::new));
    write_all(stream, &act1).await?;
    let mut act2 = [0; ACT2_LEN];
    read_exact(stream, &mut act2).await?;
    Ok(initiator.finish(&act2, unix_secs(), DEFAULT_CLOCK_ALLOWANCE_SECS)?)
}

pub(crate) async fn respond<R, S: Io<R>>(
    stream: &mut S,
    identity: &ServerIdentity,
) -> Result<Transport, Failure> {
    let mut act1 = [0; ACT1_LEN];
    read_exact(stream, &mut act1).await?;
    let certificate = identity.certificate(unix_secs());
    let (transport, act2) = Responder::new(&identity.static_key, &certificate)
        .respond(&act1, identity.ephemeral_keys.take())?;
    write_all(stream, &act2).await?;
    Ok(transport)
}

/// A key from random bytes. All but one in 2^127 are keys, so this ends.
pub(crate) fn key_from<K, E>(new: impl Fn(&[u8; 32], &[u8; 32]) -> Result<K, E>) -> K {
    loop {
        if let Ok(key) = new(&random_bytes(), &random_bytes()) {
            return key;
        }
    }
}

fn unix_secs() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_certificate_serves_until_half_of_its_validity_is_over() {
        let authority = AuthoritySecretKey::from_bytes(&[1; 32]).unwrap();
        let identity = ServerIdentity::new(authority, Duration::from_secs(1000));
        let first = identity.certificate(10_000);
        assert_eq!(first.validity(), 6_400..=11_000);
        assert_eq!(identity.certificate(10_500), first);
        let second = identity.certificate(10_501);
        assert_eq!(second.validity(), 6_901..=11_501);
        assert_eq!(identity.certificate(10_501), second);
        let clock_set_back = identity.certificate(6_000);
        assert!(clock_set_back.validity().contains(&6_000));
    }

    #[test]
    fn debug_shows_no_secret() {
        let authority = AuthoritySecretKey::from_bytes(&[1; 32]).unwrap();
        let secret = authority.to_text();
        let shown = format!(
            "{:?}",
            ServerIdentity::new(authority, Duration::from_secs(1))
        );
        assert!(
            !shown.contains(secret.as_str()) && shown.contains("authority"),
            "{shown}"
        );
    }
}
