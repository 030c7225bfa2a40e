//! Addresses of servers of either protocol as people write them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::endpoint::{SCHEME as SV2_SCHEME, parse_address};
use crate::{Endpoint, EndpointError};

const TCP_SCHEME: &str = "stratum+tcp://";
const TLS_SCHEME: &str = "stratum+ssl://";
/// Another spelling that some miners and pools use.
const TLS_SCHEME_ALIAS: &str = "stratum+tls://";

/// Characters of a path that is taken for a key: keys have 51 or so, paths of Stratum V1 servers a few.
const KEY_LEN_MIN: usize = 40;

/// The two protocols that miners and pools speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Stratum V1: lines of JSON.
    Sv1,
    /// Stratum V2: binary frames.
    Sv2,
}

/// A Stratum V1 server: `stratum+tcp://host:port`, `stratum+ssl://host:port` for TLS, or `host:port`. What stands behind
/// the port, such as `/` or `#xnsub`, means nothing to it.
///
/// ```
/// use network_helpers_sv2::Sv1Endpoint;
/// let pool: Sv1Endpoint = "stratum+ssl://pool.example:3334/#xnsub".parse()?;
/// assert!(pool.is_tls);
/// assert_eq!(pool.to_string(), "stratum+ssl://pool.example:3334");
/// # Ok::<(), network_helpers_sv2::ServerUrlError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sv1Endpoint {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// TCP port, not 0.
    pub port: u16,
    /// Whether the lines go through TLS.
    pub is_tls: bool,
}

/// A server of either protocol.
///
/// ```
/// use network_helpers_sv2::{Protocol, ServerUrl};
/// let url: ServerUrl = "stratum+tcp://pool.example:3333".parse()?;
/// assert_eq!(url.protocol(), Protocol::Sv1);
/// let bare = ServerUrl::parse_or("pool.example:34255", Protocol::Sv2)?;
/// assert_eq!(bare.to_string(), "stratum2+tcp://pool.example:34255");
/// # Ok::<(), network_helpers_sv2::ServerUrlError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerUrl {
    /// A Stratum V1 server.
    Sv1(Sv1Endpoint),
    /// A Stratum V2 server.
    Sv2(Endpoint),
}

/// What is wrong with the text of a [`ServerUrl`] or [`Sv1Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ServerUrlError {
    /// The scheme of something else.
    #[error(
        "`{0}://` is not Stratum; write stratum+tcp://host:port, stratum+ssl://host:port, or stratum2+tcp://host:port/KEY"
    )]
    Scheme(String),
    /// No scheme, and nothing says which protocol is meant.
    #[error(
        "`{0}` does not say which protocol; write stratum+tcp:// for Stratum V1 or stratum2+tcp:// for Stratum V2 before it"
    )]
    NoScheme(String),
    /// A scheme of another protocol where only Stratum V1 is spoken.
    #[error(
        "`{0}://` is not Stratum V1; write stratum+tcp://host:port, or stratum+ssl://host:port for TLS"
    )]
    NotSv1(String),
    /// A user name stands before the host. It is not repeated here, as a password may stand with it.
    #[error(
        "the address has a user name before the host; write host:port, and the user name in a setting of its own"
    )]
    User,
    /// Host, port or key are wrong.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

/// The text behind the scheme, and what the scheme says; `None` without one.
enum Schemed<'t> {
    Sv1 { is_tls: bool, rest: &'t str },
    Sv2,
    Other(&'t str),
    None,
}

fn schemed(text: &str) -> Schemed<'_> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Schemed::None;
    };
    let is = |known: &str| known.trim_end_matches("://").eq_ignore_ascii_case(scheme);
    match () {
        () if is(TCP_SCHEME) => Schemed::Sv1 {
            is_tls: false,
            rest,
        },
        () if is(TLS_SCHEME) || is(TLS_SCHEME_ALIAS) => Schemed::Sv1 { is_tls: true, rest },
        () if is(SV2_SCHEME) => Schemed::Sv2,
        () => Schemed::Other(scheme),
    }
}

/// Splits the text behind a scheme into address and the rest, which begins with the character that ends the address.
fn split_address(rest: &str) -> Result<(&str, &str), ServerUrlError> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (address, path) = rest.split_at(end);
    if address.contains('@') {
        return Err(ServerUrlError::User);
    }
    Ok((address, path))
}

impl Sv1Endpoint {
    fn parse_rest(rest: &str, is_tls: bool) -> Result<Self, ServerUrlError> {
        let (address, _) = split_address(rest)?;
        let (host, port) = parse_address(address)?;
        Ok(Self { host, port, is_tls })
    }
}

impl FromStr for Sv1Endpoint {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        let text = text.trim();
        match schemed(text) {
            Schemed::Sv1 { is_tls, rest } => Self::parse_rest(rest, is_tls),
            Schemed::None => Self::parse_rest(text, false),
            Schemed::Sv2 => Err(ServerUrlError::NotSv1(
                SV2_SCHEME.trim_end_matches("://").to_owned(),
            )),
            Schemed::Other(scheme) => Err(ServerUrlError::NotSv1(scheme.to_owned())),
        }
    }
}

impl fmt::Display for Sv1Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.is_tls {
            true => TLS_SCHEME,
            false => TCP_SCHEME,
        })?;
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl ServerUrl {
    /// A server from its text; `default` is meant where no scheme stands before `host:port`. A `host:port/KEY` is
    /// Stratum V2 whatever the default is, as only its servers have keys.
    ///
    /// # Errors
    /// [`ServerUrlError`], whose message says what to write.
    pub fn parse_or(text: &str, default: Protocol) -> Result<Self, ServerUrlError> {
        let text = text.trim();
        match (schemed(text), default) {
            (Schemed::None, Protocol::Sv1) if !has_key(text)? => {
                Ok(Self::Sv1(Sv1Endpoint::parse_rest(text, false)?))
            }
            (Schemed::None, _) => Self::parse_sv2(text),
            _ => text.parse(),
        }
    }

    /// Which protocol the server speaks.
    pub const fn protocol(&self) -> Protocol {
        match self {
            Self::Sv1(_) => Protocol::Sv1,
            Self::Sv2(_) => Protocol::Sv2,
        }
    }

    /// Name or address of the server, IPv6 without brackets.
    pub fn host(&self) -> &str {
        match self {
            Self::Sv1(server) => &server.host,
            Self::Sv2(server) => &server.host,
        }
    }

    /// TCP port of the server.
    pub const fn port(&self) -> u16 {
        match self {
            Self::Sv1(server) => server.port,
            Self::Sv2(server) => server.port,
        }
    }

    fn parse_sv2(text: &str) -> Result<Self, ServerUrlError> {
        split_address(text.split_once("://").map_or(text, |(_, rest)| rest))?;
        Ok(Self::Sv2(text.parse()?))
    }
}

/// Whether an authority's key stands behind the address, mistyped ones included: a connection in the clear is not what
/// somebody wants who copied a key.
fn has_key(text: &str) -> Result<bool, ServerUrlError> {
    let (_, path) = split_address(text)?;
    let path = path.trim_matches('/');
    Ok(path.len() >= KEY_LEN_MIN && path.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        let text = text.trim();
        match schemed(text) {
            Schemed::Sv1 { is_tls, rest } => Ok(Self::Sv1(Sv1Endpoint::parse_rest(rest, is_tls)?)),
            Schemed::Sv2 => Self::parse_sv2(text),
            Schemed::Other(scheme) => Err(ServerUrlError::Scheme(scheme.to_owned())),
            Schemed::None => {
                split_address(text)?;
                Err(ServerUrlError::NoScheme(text.to_owned()))
            }
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sv1(server) => server.fmt(f),
            Self::Sv2(server) if server.authority.is_none() => write!(f, "{SV2_SCHEME}{server}"),
            Self::Sv2(server) => server.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";

    fn sv1(host: &str, port: u16, is_tls: bool) -> ServerUrl {
        let host = host.to_owned();
        ServerUrl::Sv1(Sv1Endpoint { host, port, is_tls })
    }

    fn sv2(text: &str) -> ServerUrl {
        ServerUrl::Sv2(text.parse().unwrap())
    }

    #[test]
    fn forms_people_write() {
        let keyed = format!("pool:3333/{KEY}");
        for (text, default, url) in [
            (
                "stratum+tcp://pool:3333",
                Protocol::Sv2,
                sv1("pool", 3333, false),
            ),
            (
                " STRATUM+TCP://pool:3333/ ",
                Protocol::Sv2,
                sv1("pool", 3333, false),
            ),
            (
                "stratum+tcp://pool:3333/some/path?x=y",
                Protocol::Sv2,
                sv1("pool", 3333, false),
            ),
            (
                "stratum+tcp://pool:3333#xnsub",
                Protocol::Sv2,
                sv1("pool", 3333, false),
            ),
            (
                "stratum+ssl://pool:3333/#xnsub",
                Protocol::Sv2,
                sv1("pool", 3333, true),
            ),
            (
                "stratum+tls://[2001:db8::1]:1",
                Protocol::Sv2,
                sv1("2001:db8::1", 1, true),
            ),
            ("pool:3333", Protocol::Sv1, sv1("pool", 3333, false)),
            ("pool:3333", Protocol::Sv2, sv2("pool:3333")),
            ("stratum2+tcp://pool:3333", Protocol::Sv1, sv2("pool:3333")),
            (
                &format!("Stratum2+TCP://{keyed}"),
                Protocol::Sv1,
                sv2(&keyed),
            ),
            (&keyed, Protocol::Sv1, sv2(&keyed)),
            (&format!("{keyed}/"), Protocol::Sv2, sv2(&keyed)),
        ] {
            assert_eq!(
                ServerUrl::parse_or(text, default),
                Ok(url.clone()),
                "{text}"
            );
            assert_eq!(url.to_string().parse(), Ok(url), "{text}");
        }
    }

    #[test]
    fn each_error_says_what_to_write() {
        let error = |text: &str| ServerUrl::parse_or(text, Protocol::Sv1).unwrap_err();
        let other = error("http://pool:3333");
        assert_eq!(other, ServerUrlError::Scheme("http".into()));
        assert!(other.to_string().contains("stratum+tcp://host:port, "));
        assert_eq!(
            error("stratum+tcp://pool"),
            EndpointError::NoPort("pool".into()).into()
        );
        assert_eq!(error("pool:0"), EndpointError::Port("0".into()).into());
        assert_eq!(
            error("stratum+ssl://:1"),
            EndpointError::Host(String::new()).into()
        );
        assert!(matches!(
            error("stratum2+tcp://a:1/x"),
            ServerUrlError::Endpoint(EndpointError::Key { .. })
        ));
        let mistyped = KEY.replace("9bX", "9bY");
        assert!(matches!(
            error(&format!("pool:3333/{mistyped}")),
            ServerUrlError::Endpoint(EndpointError::Key { .. })
        ));
        assert_eq!(
            "pool:3333".parse::<ServerUrl>().unwrap_err(),
            ServerUrlError::NoScheme("pool:3333".into())
        );
        assert_eq!(
            "stratum2+tcp://pool:3333"
                .parse::<Sv1Endpoint>()
                .unwrap_err(),
            ServerUrlError::NotSv1("stratum2+tcp".into())
        );
    }

    #[test]
    fn a_user_and_password_before_the_host_are_not_repeated() {
        for text in [
            "stratum+tcp://user:hunter2@pool:3333",
            "user:hunter2@pool:3333",
            "stratum2+tcp://user:hunter2@pool:3333",
        ] {
            for default in [Protocol::Sv1, Protocol::Sv2] {
                let error = ServerUrl::parse_or(text, default).unwrap_err();
                assert_eq!(error, ServerUrlError::User, "{text}");
                assert!(!error.to_string().contains("hunter2"));
            }
            assert!(
                !text
                    .parse::<ServerUrl>()
                    .unwrap_err()
                    .to_string()
                    .contains("hunter2")
            );
        }
    }
}
