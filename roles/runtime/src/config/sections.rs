//! Sections that the configurations of several programs share: where to listen, who we are, who may connect, the
//! program itself.

use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use network_helpers_sv2::{IpNet, ProxyProtocol, ServerIdentity, ServerSecurity};
use noise_sv2::{AuthorityPublicKey, AuthoritySecretKey};
use serde::Deserialize;

use super::Invalid;
use crate::{AcceptLimits, DEFAULT_GRACE_SECS, Secret, logging};

/// Says that a key must not be 0.
pub fn zero(key: &str) -> Invalid {
    Invalid::new(key, "is 0", "choose 1 or more")
}

/// A number that must not be 0.
///
/// # Errors
/// [`zero`].
pub fn positive<N: PartialEq + Default>(key: &str, number: N) -> Result<N, Invalid> {
    if number == N::default() {
        return Err(zero(key));
    }
    Ok(number)
}

/// Seconds that must not be 0.
///
/// # Errors
/// [`zero`].
pub fn secs(key: &str, secs: u64) -> Result<Duration, Invalid> {
    positive(key, secs).map(Duration::from_secs)
}

/// What a program takes where its configuration says nothing.
pub trait Usual {
    /// Port it listens on.
    const PORT: u16;
    /// Threads that serve connections, 0 for one per core.
    const THREADS: usize;
    /// Who may connect.
    fn accept_limits() -> AcceptLimits;
}

/// `[listen]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, bound = "U: Usual")]
pub struct RawListen<U> {
    address: String,
    encrypted: bool,
    #[serde(skip)]
    usual: PhantomData<U>,
}

impl<U: Usual> Default for RawListen<U> {
    fn default() -> Self {
        Self {
            address: format!("127.0.0.1:{}", U::PORT),
            encrypted: true,
            usual: PhantomData,
        }
    }
}

impl<U: Usual> RawListen<U> {
    /// Where to listen; port 0 chooses a free one.
    ///
    /// # Errors
    /// When it is no address with a port.
    pub fn address(&self) -> Result<SocketAddr, Invalid> {
        self.address.parse().map_err(|_| {
            let what = format!("`{}` is no address with a port", self.address);
            let port = U::PORT;
            let fix = format!(
                "write one such as 127.0.0.1:{port}, or 0.0.0.0:{port} for all of this machine's"
            );
            Invalid::new("listen.address", what, fix)
        })
    }

    /// How connections are secured: by the key of `authority` unless encryption is switched off.
    ///
    /// # Errors
    /// When a key is missing, is none, or does not belong to the other.
    pub fn security(&self, authority: &RawAuthority) -> Result<ServerSecurity, Invalid> {
        let identity = authority.identity()?;
        match (self.encrypted, identity) {
            (false, _) => Ok(ServerSecurity::Plain),
            (true, Some(identity)) => Ok(ServerSecurity::Noise(identity.into())),
            (true, None) => {
                let fix = "make a pair with `stratum keys`, or set listen.encrypted = false on a network of your own";
                Err(Invalid::new("authority.secret_key", "is missing", fix))
            }
        }
    }
}

/// `[authority]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RawAuthority {
    secret_key: Option<Secret<String>>,
    public_key: Option<String>,
    certificate_validity_secs: u64,
}

impl Default for RawAuthority {
    fn default() -> Self {
        Self {
            secret_key: None,
            public_key: None,
            certificate_validity_secs: ServerIdentity::DEFAULT_VALIDITY.as_secs(),
        }
    }
}

impl RawAuthority {
    /// The identity that the keys give; `None` without a secret key.
    fn identity(&self) -> Result<Option<ServerIdentity>, Invalid> {
        const MAKE: &str = "make a pair with `stratum keys`";
        let validity = secs(
            "authority.certificate_validity_secs",
            self.certificate_validity_secs,
        )?;
        let Some(secret) = &self.secret_key else {
            return Ok(None);
        };
        let secret = AuthoritySecretKey::from_str(secret.expose())
            .map_err(|error| Invalid::new("authority.secret_key", error.to_string(), MAKE))?;
        if let Some(public) = &self.public_key {
            let public = AuthorityPublicKey::from_str(public)
                .map_err(|error| Invalid::new("authority.public_key", error.to_string(), MAKE))?;
            if public != secret.public_key() {
                let fix = format!("the secret key's public key is {}", secret.public_key());
                let what = "does not belong to authority.secret_key";
                return Err(Invalid::new("authority.public_key", what, fix));
            }
        }
        Ok(Some(ServerIdentity::new(secret, validity)))
    }
}

/// `[connections]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, bound = "U: Usual")]
pub struct RawConnections<U> {
    total: usize,
    per_address: usize,
    per_sec: u32,
    burst: u32,
    proxy_protocol_from: Vec<String>,
    #[serde(skip)]
    usual: PhantomData<U>,
}

impl<U: Usual> Default for RawConnections<U> {
    fn default() -> Self {
        let limits = U::accept_limits();
        Self {
            total: limits.connections,
            per_address: limits.per_address,
            per_sec: limits.per_second,
            burst: limits.burst,
            proxy_protocol_from: limits
                .proxies
                .trusted
                .iter()
                .map(IpNet::to_string)
                .collect(),
            usual: PhantomData,
        }
    }
}

impl<U: Usual> RawConnections<U> {
    /// Who may connect.
    ///
    /// # Errors
    /// When a limit is 0, or a proxy's network is none.
    pub fn accept_limits(&self) -> Result<AcceptLimits, Invalid> {
        Ok(AcceptLimits {
            connections: positive("connections.total", self.total)?,
            per_address: positive("connections.per_address", self.per_address)?,
            per_second: positive("connections.per_sec", self.per_sec)?,
            burst: positive("connections.burst", self.burst)?,
            proxies: ProxyProtocol {
                trusted: self
                    .proxy_protocol_from
                    .iter()
                    .map(|text| proxies(text))
                    .collect::<Result<_, _>>()?,
            },
        })
    }
}

/// A network, or a single address.
fn proxies(text: &str) -> Result<IpNet, Invalid> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address()).map_err(|_| {
        let what = format!("`{text}` is no network");
        let fix = "write one such as 10.0.0.0/8, or the address of one proxy";
        Invalid::new("connections.proxy_protocol_from", what, fix)
    })
}

/// `[program]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, bound = "U: Usual")]
pub struct RawProgram<U> {
    threads: usize,
    log: String,
    grace_secs: u64,
    #[serde(skip)]
    usual: PhantomData<U>,
}

impl<U: Usual> Default for RawProgram<U> {
    fn default() -> Self {
        Self {
            threads: U::THREADS,
            log: logging::DEFAULT_LEVEL.to_owned(),
            grace_secs: DEFAULT_GRACE_SECS,
            usual: PhantomData,
        }
    }
}

impl<U: Usual> RawProgram<U> {
    /// Threads that serve connections; `None` for one per core.
    pub const fn threads(&self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.threads)
    }

    /// How the program logs and ends.
    ///
    /// # Errors
    /// When the log filter is none.
    pub fn settings(&self) -> Result<ProgramSettings, Invalid> {
        logging::check(&self.log)
            .map_err(|error| Invalid::new("program.log", error.to_string(), ""))?;
        Ok(ProgramSettings {
            log_level: self.log.clone(),
            grace: Duration::from_secs(self.grace_secs),
        })
    }
}

/// How a program logs and ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramSettings {
    /// What is logged, see [`logging::init`].
    pub log_level: String,
    /// How long draining may take.
    pub grace: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Plain;

    impl Usual for Plain {
        const PORT: u16 = 1;
        const THREADS: usize = 1;

        fn accept_limits() -> AcceptLimits {
            AcceptLimits::default()
        }
    }

    fn limits(proxies: &[&str]) -> Result<AcceptLimits, Invalid> {
        let raw = RawConnections::<Plain> {
            proxy_protocol_from: proxies.iter().map(|text| (*text).to_owned()).collect(),
            ..RawConnections::default()
        };
        raw.accept_limits()
    }

    #[test]
    fn proxies_are_networks_and_addresses() {
        assert_eq!(limits(&[]), Ok(AcceptLimits::default()));
        let proxies = limits(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1"])
            .unwrap()
            .proxies;
        for (peer, is_trusted) in [
            ("10.9.9.9", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:7::1", true),
            ("::1", true),
            ("::2", false),
        ] {
            assert_eq!(proxies.trusts(peer.parse().unwrap()), is_trusted, "{peer}");
        }
        for wrong in ["10.0.0.0/33", "proxy.example", "10.0.0.1:80", ""] {
            let invalid = limits(&["10.0.0.0/8", wrong]).unwrap_err();
            assert_eq!(invalid.key, "connections.proxy_protocol_from");
            assert!(invalid.what.contains(wrong), "{invalid:?}");
        }
    }
}
