//! How to reach a node, and how eagerly to follow it.

use core::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bitcoin::Network;

/// A password that shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How to prove to a node who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RpcAuth {
    /// The file that bitcoind writes anew at each start; read again whenever the node refuses its content.
    CookieFile(PathBuf),
    /// A user of `rpcauth` or `rpcuser`.
    UserPassword {
        /// User name.
        user: String,
        /// Password.
        password: Password,
    },
}

/// How to learn of new tips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TipSource {
    /// ZMQ where the node announces `hashblock` or `rawblock`, long poll while there is none.
    Auto,
    /// Long poll only.
    LongPoll,
}

/// Settings of one [`RpcNode`](super::RpcNode).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcConfig {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port of the RPC server.
    pub port: u16,
    /// Who we are.
    pub auth: RpcAuth,
    /// The chain it must be on; `None` takes the one it is on.
    pub chain: Option<Network>,
    /// How to learn of new tips.
    pub tip_source: TipSource,
    /// Whether a new tip is published first as a template without transactions, made from its header at once.
    pub empty_template_first: bool,
    /// Deadline of each call but the long poll. A call that misses it makes the node count as unreachable.
    pub call_timeout: Duration,
    /// How long one long poll is left open before it is asked anew.
    pub long_poll_timeout: Duration,
    /// How often the tip is asked for, whatever ZMQ and long poll say; also how soon a dead ZMQ connection is replaced.
    pub fallback_poll_interval: Duration,
    /// How often a template is asked for to see whether fees rose.
    pub refresh_interval: Duration,
    /// By how much fees must rise on the same tip for a new template to be published, in satoshis.
    pub fees_delta_sats: u64,
    /// Longest pause between attempts to reach the node again.
    pub reconnect_pause_max: Duration,
}

/// Why an address of a node cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RpcUrlError {
    /// It does not start with `rpc://`.
    #[error(
        "the node's address must start with rpc://, as in rpc://user:password@127.0.0.1:8332 or rpc://127.0.0.1:8332?cookie=/path/.cookie"
    )]
    Scheme,
    /// No host.
    #[error("the node's address names no host")]
    Host,
    /// The port is no number from 1 to 65535.
    #[error("the port of the node's address is no number from 1 to 65535")]
    Port,
    /// A name without a password.
    #[error(
        "the node's address has a user name without a password: write rpc://user:password@host:port"
    )]
    Password,
    /// A percent sign that is not followed by two hexadecimal digits of a valid text.
    #[error("the node's address holds a broken percent-encoding")]
    Encoding,
    /// A parameter that is not `cookie`.
    #[error("the node's address holds a parameter other than cookie")]
    Parameter,
    /// Neither credentials nor a place to look for a cookie.
    #[error("the node's address holds no credentials: add user:password@ or ?cookie=/path/.cookie")]
    NoCredentials,
}

impl RpcConfig {
    /// Defaults for a node at `host` and `port`.
    pub fn new(host: impl Into<String>, port: u16, auth: RpcAuth) -> Self {
        Self {
            host: host.into(),
            port,
            auth,
            chain: None,
            tip_source: TipSource::Auto,
            empty_template_first: true,
            call_timeout: Duration::from_secs(15),
            long_poll_timeout: Duration::from_secs(90),
            fallback_poll_interval: Duration::from_secs(5),
            refresh_interval: Duration::from_secs(30),
            fees_delta_sats: 1_000,
            reconnect_pause_max: Duration::from_secs(5),
        }
    }

    /// Reads `rpc://user:password@host:port` or `rpc://host:port?cookie=/path`.
    ///
    /// Without a port it is the usual one of `chain` (mainnet's when that is `None`); without credentials the cookie
    /// is looked for in bitcoind's usual folder below `home`. User, password and path may be percent-encoded.
    ///
    /// # Errors
    /// Names the part that is wrong; never repeats the text, which may hold a password.
    pub fn from_url(
        url: &str,
        chain: Option<Network>,
        home: Option<PathBuf>,
    ) -> Result<Self, RpcUrlError> {
        let rest = url.strip_prefix("rpc://").ok_or(RpcUrlError::Scheme)?;
        let (authority, query) = rest
            .split_once('?')
            .map_or((rest, None), |(left, right)| (left, Some(right)));
        let (user_info, address) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(left, right)| (Some(left), right));
        let (host, port) = split_address(address.trim_end_matches('/'))?;
        let port = match port {
            Some(text) => text
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or(RpcUrlError::Port)?,
            None => default_port(chain),
        };
        let auth = match (user_info, query) {
            (Some(user_info), None) => {
                let (user, password) = user_info.split_once(':').ok_or(RpcUrlError::Password)?;
                RpcAuth::UserPassword {
                    user: percent_decode(user)?,
                    password: Password(percent_decode(password)?),
                }
            }
            (None, Some(query)) => {
                let path = query
                    .strip_prefix("cookie=")
                    .filter(|path| !path.is_empty() && !path.contains('&'));
                RpcAuth::CookieFile(percent_decode(path.ok_or(RpcUrlError::Parameter)?)?.into())
            }
            (None, None) => RpcAuth::CookieFile(default_cookie(
                &home.ok_or(RpcUrlError::NoCredentials)?,
                chain,
            )),
            (Some(_), Some(_)) => return Err(RpcUrlError::Parameter),
        };
        Ok(Self {
            chain,
            ..Self::new(host, port, auth)
        })
    }

    /// What operators see: the address without credentials.
    pub fn display_name(&self) -> String {
        if self.host.contains(':') {
            format!("rpc://[{}]:{}", self.host, self.port)
        } else {
            format!("rpc://{}:{}", self.host, self.port)
        }
    }
}

fn split_address(address: &str) -> Result<(&str, Option<&str>), RpcUrlError> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(RpcUrlError::Host)?;
            (host, after.strip_prefix(':'))
        }
        None => address
            .split_once(':')
            .map_or((address, None), |(host, port)| (host, Some(port))),
    };
    let is_plain = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte));
    if is_plain {
        Ok((host, port))
    } else {
        Err(RpcUrlError::Host)
    }
}

fn percent_decode(text: &str) -> Result<String, RpcUrlError> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digits = [
            bytes.next().unwrap_or_default(),
            bytes.next().unwrap_or_default(),
        ];
        decoded.extend(hex::decode(digits).map_err(|_| RpcUrlError::Encoding)?);
    }
    String::from_utf8(decoded).map_err(|_| RpcUrlError::Encoding)
}

const fn default_port(chain: Option<Network>) -> u16 {
    match chain {
        Some(Network::Testnet) => 18_332,
        Some(Network::Testnet4) => 48_332,
        Some(Network::Signet) => 38_332,
        Some(Network::Regtest) => 18_443,
        _ => 8_332,
    }
}

fn default_cookie(home: &std::path::Path, chain: Option<Network>) -> PathBuf {
    let data = home.join(".bitcoin");
    match chain {
        Some(Network::Testnet) => data.join("testnet3/.cookie"),
        Some(Network::Testnet4) => data.join("testnet4/.cookie"),
        Some(Network::Signet) => data.join("signet/.cookie"),
        Some(Network::Regtest) => data.join("regtest/.cookie"),
        _ => data.join(".cookie"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<RpcConfig, RpcUrlError> {
        RpcConfig::from_url(url, Some(Network::Regtest), None)
    }

    #[test]
    fn reads_both_forms() {
        let config = parse("rpc://al%69ce:p%40ss:word@node.example:1234").unwrap();
        assert_eq!((config.host.as_str(), config.port), ("node.example", 1234));
        assert_eq!(
            config.auth,
            RpcAuth::UserPassword {
                user: "alice".into(),
                password: Password::new("p@ss:word")
            }
        );
        let config = parse("rpc://[::1]?cookie=/data/a%20b/.cookie").unwrap();
        assert_eq!((config.host.as_str(), config.port), ("::1", 18_443));
        assert_eq!(config.auth, RpcAuth::CookieFile("/data/a b/.cookie".into()));
        assert_eq!(config.display_name(), "rpc://[::1]:18443");
        let config = RpcConfig::from_url("rpc://127.0.0.1/", None, Some("/data/a".into())).unwrap();
        assert_eq!(
            (config.port, config.auth),
            (
                8_332,
                RpcAuth::CookieFile("/data/a/.bitcoin/.cookie".into())
            )
        );
    }

    #[test]
    fn names_the_wrong_part() {
        for (url, error) in [
            ("http://127.0.0.1", RpcUrlError::Scheme),
            ("rpc://", RpcUrlError::Host),
            ("rpc://a b?cookie=/x", RpcUrlError::Host),
            ("rpc://[::1?cookie=/x", RpcUrlError::Host),
            ("rpc://u:p@host:0", RpcUrlError::Port),
            ("rpc://u:p@host:65536", RpcUrlError::Port),
            ("rpc://u:p@host:", RpcUrlError::Port),
            ("rpc://user@host", RpcUrlError::Password),
            ("rpc://u:%zz@host", RpcUrlError::Encoding),
            ("rpc://u:%4@host", RpcUrlError::Encoding),
            ("rpc://host?coockie=/x", RpcUrlError::Parameter),
            ("rpc://host?cookie=", RpcUrlError::Parameter),
            ("rpc://host", RpcUrlError::NoCredentials),
        ] {
            assert_eq!(parse(url).unwrap_err(), error, "{url}");
        }
    }

    #[test]
    fn a_password_is_in_no_text() {
        let config = parse("rpc://alice:hunter2@127.0.0.1:1").unwrap();
        assert!(!format!("{config:?} {}", config.display_name()).contains("hunter2"));
    }
}
