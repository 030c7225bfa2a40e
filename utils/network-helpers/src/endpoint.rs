//! Addresses of servers as people write them.

use std::fmt;
use std::str::FromStr;

use noise_sv2::{AuthorityPublicKey, KeyTextError};
use thiserror::Error;

pub(crate) const SCHEME: &str = "stratum2+tcp://";

/// A server: `host:port`, or `stratum2+tcp://host:port/KEY` with the key of the authority that vouches for it
/// (specification 4.7). The host is a name, an IPv4 address, or an IPv6 address in brackets.
///
/// ```
/// use network_helpers_sv2::Endpoint;
/// let url = "stratum2+tcp://pool.example:3333/9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";
/// let pool: Endpoint = url.parse()?;
/// assert_eq!((pool.host.as_str(), pool.port), ("pool.example", 3333));
/// assert_eq!(pool.to_string(), url);
/// assert!("[::1]:3333".parse::<Endpoint>()?.authority.is_none());
/// # Ok::<(), network_helpers_sv2::EndpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// TCP port, not 0.
    pub port: u16,
    /// The authority whose certificate the server must show; without one any server is believed.
    pub authority: Option<AuthorityPublicKey>,
}

/// What is wrong with the text of an [`Endpoint`].
///
/// Each message holds its cause, so [`Error::source`](std::error::Error::source) does not give that again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// A scheme of another protocol.
    #[error("`{0}://` is not Stratum V2 over TCP; write stratum2+tcp://host:port/KEY or host:port")]
    Scheme(String),
    /// No port behind the host.
    #[error("`{0}` has no port; write host:port")]
    NoPort(String),
    /// The port is no number from 1 to 65535.
    #[error("`{0}` is not a port; use a number from 1 to 65535")]
    Port(String),
    /// The host is empty or has characters that no host has.
    #[error("`{0}` is not a host; use a name, an IPv4 address, or an IPv6 address in brackets")]
    Host(String),
    /// The key behind the slash is none.
    #[error(
        "`{text}` is not an authority key: {cause}; copy the key the server's operator publishes"
    )]
    Key {
        /// What stands there.
        text: String,
        /// What is wrong with it.
        cause: KeyTextError,
    },
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if format!("{scheme}://").eq_ignore_ascii_case(SCHEME) => rest,
            Some((scheme, _)) => return Err(EndpointError::Scheme(scheme.to_owned())),
            None => text,
        };
        let (address, key) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = parse_address(address)?;
        let authority = Some(key.trim_end_matches('/'))
            .filter(|key| !key.is_empty())
            .map(|key| {
                key.parse().map_err(|cause| EndpointError::Key {
                    text: key.to_owned(),
                    cause,
                })
            });
        Ok(Self {
            host,
            port,
            authority: authority.transpose()?,
        })
    }
}

/// Host and port of `host:port`.
pub(crate) fn parse_address(text: &str) -> Result<(String, u16), EndpointError> {
    let (host, port) = text
        .rsplit_once(':')
        // The last colon of an IPv6 address in brackets does not begin a port.
        .filter(|(_, port)| !port.ends_with(']'))
        .ok_or_else(|| EndpointError::NoPort(text.to_owned()))?;
    let port = port
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| EndpointError::Port(port.to_owned()))?;
    Ok((parse_host(host)?, port))
}

fn parse_host(text: &str) -> Result<String, EndpointError> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let is_host = match bracketed {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            !text.is_empty() && text.chars().all(allowed)
        }
    };
    if !is_host {
        return Err(EndpointError::Host(text.to_owned()));
    }
    Ok(bracketed.unwrap_or(text).to_owned())
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.authority.is_some() {
            f.write_str(SCHEME)?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port)?,
            false => write!(f, "{}:{}", self.host, self.port)?,
        }
        match &self.authority {
            Some(key) => write!(f, "/{key}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";

    #[test]
    fn forms_people_write() {
        for (text, host, port, has_key) in [
            ("pool.example:3333", "pool.example", 3333, false),
            (" 127.0.0.1:1 ", "127.0.0.1", 1, false),
            ("[2001:db8::1]:65535", "2001:db8::1", 65535, false),
            ("STRATUM2+TCP://a_b-c.example:9/", "a_b-c.example", 9, false),
            (
                &format!("stratum2+tcp://pool:3333/{KEY}"),
                "pool",
                3333,
                true,
            ),
            (&format!("pool:3333/{KEY}/"), "pool", 3333, true),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(
                (endpoint.host.as_str(), endpoint.port),
                (host, port),
                "{text}"
            );
            assert_eq!(endpoint.authority.is_some(), has_key, "{text}");
            assert_eq!(endpoint.to_string().parse(), Ok(endpoint), "{text}");
        }
    }

    #[test]
    fn each_error_says_what_to_change() {
        let error = |text: &str| text.parse::<Endpoint>().unwrap_err();
        assert_eq!(
            error("stratum+tcp://a:1"),
            EndpointError::Scheme("stratum+tcp".into())
        );
        assert_eq!(
            error("pool.example"),
            EndpointError::NoPort("pool.example".into())
        );
        assert_eq!(error("[::1]"), EndpointError::NoPort("[::1]".into()));
        assert_eq!(error("a:0"), EndpointError::Port("0".into()));
        assert_eq!(error("a:65536"), EndpointError::Port("65536".into()));
        assert_eq!(error("a:"), EndpointError::Port(String::new()));
        assert_eq!(error(":1"), EndpointError::Host(String::new()));
        assert_eq!(error("::1:3333"), EndpointError::Host("::1".into()));
        assert_eq!(error("po ol:3333"), EndpointError::Host("po ol".into()));
        let mistyped = KEY.replace("9bX", "9bY");
        assert!(matches!(
            error(&format!("a:1/{mistyped}")),
            EndpointError::Key { .. }
        ));
    }
}
