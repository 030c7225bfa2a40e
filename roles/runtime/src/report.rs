//! What a server says of itself in its log: where it listens, and how it stands.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use network_helpers_sv2::{Endpoint, ServerSecurity};
use tracing::{info, warn};

/// Time between two lines that say how a server stands. One in which nothing has changed is left out.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Stands for the address of a server that listens on all addresses of its machine.
const ANY_HOST: &str = "HOST";

/// Says where `program` listens, as its clients write it, and warns when others can read along.
pub fn announce(program: &'static str, address: SocketAddr, security: &ServerSecurity) {
    info!(%address, url = %url(address, security), "{program} listens");
    if matches!(security, ServerSecurity::Plain) && !address.ip().is_loopback() {
        warn!(
            "connections are not encrypted: anyone on the way can read and change everything; set listen.encrypted = true \
             unless the network is your own"
        );
    }
}

fn url(address: SocketAddr, security: &ServerSecurity) -> Endpoint {
    let ip = address.ip();
    Endpoint {
        host: match ip.is_unspecified() {
            true => ANY_HOST.to_owned(),
            false => ip.to_string(),
        },
        port: address.port(),
        authority: match security {
            ServerSecurity::Noise(identity) => Some(identity.authority()),
            ServerSecurity::Plain => None,
        },
    }
}

/// Counters by reason, for people: `stale-share 2, duplicate-share 1`, or `none`.
#[derive(Clone, Copy, Debug)]
pub struct Reasons<'a>(pub &'a BTreeMap<&'static str, u64>);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (index, (reason, count)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{reason} {count}")?;
        }
        Ok(())
    }
}

/// Hashes per second, for people: `12.35 MH/s`.
#[derive(Clone, Copy, Debug)]
pub struct Rate(pub f64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["H/s", "kH/s", "MH/s", "GH/s", "TH/s", "PH/s", "EH/s"];
        let mut rate = self.0;
        let mut units = UNITS.iter();
        let mut unit = units.next();
        while rate >= 1000.0 {
            let Some(next) = units.next() else { break };
            rate /= 1000.0;
            unit = Some(next);
        }
        write!(f, "{rate:.2} {}", unit.copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use network_helpers_sv2::ServerIdentity;
    use noise_sv2::AuthoritySecretKey;

    use super::*;

    #[test]
    fn the_url_is_what_clients_are_given() {
        let authority = AuthoritySecretKey::from_bytes(&[7; 32]).unwrap();
        let key = authority.public_key();
        let identity = ServerIdentity::new(authority, ServerIdentity::DEFAULT_VALIDITY);
        let noise = ServerSecurity::Noise(identity.into());
        for (address, host) in [
            ("127.0.0.1:7", "127.0.0.1:7"),
            ("0.0.0.0:7", "HOST:7"),
            ("[::1]:7", "[::1]:7"),
            ("[::]:7", "HOST:7"),
        ] {
            let address = address.parse().unwrap();
            let expected = format!("stratum2+tcp://{host}/{key}");
            assert_eq!(url(address, &noise).to_string(), expected);
            assert!(
                url(address, &ServerSecurity::Plain)
                    .to_string()
                    .ends_with(host)
            );
        }
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(Reasons(&BTreeMap::new()).to_string(), "none");
        let counts = [("stale-share", 2), ("duplicate-share", 1)].into();
        let text = Reasons(&counts).to_string();
        assert_eq!(text, "duplicate-share 1, stale-share 2");
        for (rate, text) in [
            (0.0, "0.00 H/s"),
            (12_345_678.0, "12.35 MH/s"),
            (2.5e18, "2.50 EH/s"),
            (1e24, "1000000.00 EH/s"),
        ] {
            assert_eq!(Rate(rate).to_string(), text);
        }
    }
}
