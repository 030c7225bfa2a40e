//! The certificate with which an authority vouches for a server's static key.

use core::ops::RangeInclusive;

use const_sv2::{CERTIFICATE_LEN, CERTIFICATE_VERSION};

use crate::keys::{AuthorityPublicKey, AuthoritySecretKey, StaticKey};
use crate::symmetric::sha256;

/// Seconds by which the clocks of client and server may differ, at both ends of the validity.
///
/// What deployed clients tolerate; the specification itself allows none.
pub const DEFAULT_CLOCK_ALLOWANCE_SECS: u32 = 10;

/// Why a certificate is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Only version 0 exists.
    #[error("certificate version {0} is unknown")]
    Version(u16),
    /// The signature is not that of the pinned authority over this server's key.
    #[error("the certificate is not signed by the pinned authority for this server's key")]
    Signature,
    /// The validity begins later than now, clock allowance included. Both in Unix seconds.
    #[error("the certificate is valid from {valid_from}, now is {now}: check the clocks")]
    NotYetValid {
        /// First second of the validity.
        valid_from: u32,
        /// The time it was checked at.
        now: u64,
    },
    /// The validity ended before now, clock allowance included. Both in Unix seconds.
    #[error("the certificate was valid until {not_valid_after}, now is {now}: check the clocks")]
    Expired {
        /// Last second of the validity.
        not_valid_after: u32,
        /// The time it was checked at.
        now: u64,
    },
}

/// A signed statement that a static key belongs to a server of the authority, for a while.
///
/// On the wire 74 bytes: version `u16`, valid_from `u32`, not_valid_after `u32`, all little-endian,
/// then the 64-byte BIP340 signature. The key itself is not part of it. Specification 4.5.2, 4.5.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate {
    version: u16,
    valid_from: u32,
    not_valid_after: u32,
    signature: [u8; 64],
}

impl Certificate {
    /// Certifies `server` for `validity`, first to last second, in Unix seconds.
    ///
    /// `aux` is fresh randomness that hardens the signing. A server does this once per validity, not
    /// once per connection.
    pub fn issue(
        authority: &AuthoritySecretKey,
        server: &StaticKey,
        validity: RangeInclusive<u32>,
        aux: &[u8; 32],
    ) -> Self {
        let (valid_from, not_valid_after) = validity.into_inner();
        let mut certificate = Self {
            version: CERTIFICATE_VERSION,
            valid_from,
            not_valid_after,
            signature: [0; 64],
        };
        certificate.signature = authority.sign(&certificate.digest(&server.x_only()), aux);
        certificate
    }

    /// The certificate in 74 bytes received from a server. It says nothing until it is verified.
    pub fn from_bytes(bytes: &[u8; CERTIFICATE_LEN]) -> Self {
        let [v0, v1, f0, f1, f2, f3, a0, a1, a2, a3, signature @ ..] = *bytes;
        Self {
            version: u16::from_le_bytes([v0, v1]),
            valid_from: u32::from_le_bytes([f0, f1, f2, f3]),
            not_valid_after: u32::from_le_bytes([a0, a1, a2, a3]),
            signature,
        }
    }

    /// The 74 bytes a server sends.
    pub fn to_bytes(&self) -> [u8; CERTIFICATE_LEN] {
        let mut bytes = [0; CERTIFICATE_LEN];
        bytes[..2].copy_from_slice(&self.version.to_le_bytes());
        bytes[2..6].copy_from_slice(&self.valid_from.to_le_bytes());
        bytes[6..10].copy_from_slice(&self.not_valid_after.to_le_bytes());
        bytes[10..].copy_from_slice(&self.signature);
        bytes
    }

    /// First and last second of the validity, in Unix seconds.
    pub const fn validity(&self) -> RangeInclusive<u32> {
        self.valid_from..=self.not_valid_after
    }

    /// What the authority signs: SHA-256 over the fields and the server's x-only key.
    /// Specification 4.5.3.1.
    pub fn digest(&self, server_key: &[u8; 32]) -> [u8; 32] {
        sha256(&[
            &self.version.to_le_bytes(),
            &self.valid_from.to_le_bytes(),
            &self.not_valid_after.to_le_bytes(),
            server_key,
        ])
    }

    /// Checks the version only: what is left to check for a client that pins no authority.
    ///
    /// # Errors
    /// [`CertificateError::Version`].
    pub fn check_version(&self) -> Result<(), CertificateError> {
        if self.version == CERTIFICATE_VERSION {
            Ok(())
        } else {
            Err(CertificateError::Version(self.version))
        }
    }

    /// Checks that `authority` certifies the server with the x-only key `server_key` now.
    ///
    /// `now_unix_secs` may lie up to `clock_allowance_secs` outside the validity. The signature is
    /// checked before the time: dates nobody signed are no reason to look at one's clock.
    ///
    /// # Errors
    /// The first [`CertificateError`] that applies.
    pub fn verify(
        &self,
        authority: &AuthorityPublicKey,
        server_key: &[u8; 32],
        now_unix_secs: u64,
        clock_allowance_secs: u32,
    ) -> Result<(), CertificateError> {
        self.check_version()?;
        if !authority.verifies(&self.digest(server_key), &self.signature) {
            return Err(CertificateError::Signature);
        }
        let (now, allowance) = (now_unix_secs, u64::from(clock_allowance_secs));
        let &Self {
            valid_from,
            not_valid_after,
            ..
        } = self;
        if now.saturating_add(allowance) < u64::from(valid_from) {
            return Err(CertificateError::NotYetValid { valid_from, now });
        }
        if now > u64::from(not_valid_after) + allowance {
            return Err(CertificateError::Expired {
                not_valid_after,
                now,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validity_holds_to_the_second_and_the_allowance_extends_it() {
        let authority = AuthoritySecretKey::from_bytes(&[1; 32]).unwrap();
        let server = StaticKey::new(&[2; 32], &[3; 32]).unwrap();
        let certificate = Certificate::issue(&authority, &server, 1000..=2000, &[4; 32]);
        let check = |now, allowance| {
            certificate.verify(&authority.public_key(), &server.x_only(), now, allowance)
        };
        for allowance in [0, 1, DEFAULT_CLOCK_ALLOWANCE_SECS] {
            let slack = u64::from(allowance);
            let (first, last) = (1000 - slack, 2000 + slack);
            assert_eq!(check(first, allowance), Ok(()));
            assert_eq!(check(last, allowance), Ok(()));
            assert_eq!(
                check(first - 1, allowance),
                Err(CertificateError::NotYetValid {
                    valid_from: 1000,
                    now: first - 1
                })
            );
            assert_eq!(
                check(last + 1, allowance),
                Err(CertificateError::Expired {
                    not_valid_after: 2000,
                    now: last + 1
                })
            );
        }
        assert_eq!(check(0, u32::MAX), Ok(()));
        assert!(check(u64::MAX, u32::MAX).is_err());
    }

    #[test]
    fn wire_form_round_trips() {
        let authority = AuthoritySecretKey::from_bytes(&[1; 32]).unwrap();
        let server = StaticKey::new(&[2; 32], &[3; 32]).unwrap();
        let certificate = Certificate::issue(&authority, &server, 7..=u32::MAX, &[4; 32]);
        assert_eq!(
            Certificate::from_bytes(&certificate.to_bytes()),
            certificate
        );
        assert_eq!(certificate.validity(), 7..=u32::MAX);
    }
}
