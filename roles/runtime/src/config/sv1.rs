//! Sections of the programs that serve Stratum V1 miners.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use network_helpers_sv2::{LineOptions, TlsServer};
use serde::Deserialize;
use sv1_api::server::ServerConfig;

use super::Invalid;
use super::sections::{positive, secs};

/// For how long an address is banned whose miner broke the rules, unless the configuration says otherwise.
pub const DEFAULT_BAN: Duration = Duration::from_secs(60);

/// Bytes of extranonce2 that mining hardware takes.
const EXTRANONCE2_SIZES: std::ops::RangeInclusive<usize> = 2..=16;

/// Where miners connect through TLS.
#[derive(Clone, Debug)]
pub struct TlsListen {
    /// Address; port 0 chooses a free one.
    pub address: SocketAddr,
    /// What the server shows.
    pub server: TlsServer,
}

/// An address with a port. `port` stands in the message as an example.
///
/// # Errors
/// When it is none.
pub fn socket_address(key: &str, text: &str, port: u16) -> Result<SocketAddr, Invalid> {
    text.parse().map_err(|_| {
        let what = format!("`{text}` is no address with a port");
        let fix = format!(
            "write one such as 127.0.0.1:{port}, or 0.0.0.0:{port} for all of this machine's"
        );
        Invalid::new(key, what, fix)
    })
}

/// Version bits, in hexadecimal digits.
///
/// # Errors
/// When they are no mask.
pub fn version_mask(key: &str, text: &str) -> Result<u32, Invalid> {
    u32::from_str_radix(text.trim_start_matches("0x"), 16).map_err(|_| {
        let what = format!("`{text}` is no mask");
        let fix = "write up to 8 hexadecimal digits, such as \"1fffe000\", or \"0\" for none";
        Invalid::new(key, what, fix)
    })
}

/// Bytes of extranonce2.
///
/// # Errors
/// When no miner takes so many.
pub fn extranonce2_size(key: &str, size: usize) -> Result<usize, Invalid> {
    if EXTRANONCE2_SIZES.contains(&size) {
        return Ok(size);
    }
    let fix = "choose 2 to 16; 8 suits nearly all miners";
    Err(Invalid::new(key, format!("is {size}"), fix))
}

/// A rate or amount that must be a number above zero.
///
/// # Errors
/// When it is none.
pub fn above_zero(key: &str, number: f64) -> Result<f64, Invalid> {
    if number > 0.0 && number.is_finite() {
        return Ok(number);
    }
    let what = format!("is {number}");
    Err(Invalid::new(key, what, "choose more than 0"))
}

/// A listener for miners that come through TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RawTls {
    address: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl RawTls {
    /// The listener; `None` without an address. Keys stand in messages behind `section`, `port` as an example.
    ///
    /// # Errors
    /// An address that is none, files that cannot be used, one without the other.
    pub fn listen(&self, section: &str, port: u16) -> Result<Option<TlsListen>, Invalid> {
        let key = |name: &str| format!("{section}.{name}");
        let Some(address) = &self.address else {
            return Ok(None);
        };
        let address = socket_address(&key("address"), address, port)?;
        let server = match (&self.certificate, &self.key) {
            (None, None) => TlsServer::self_signed(vec!["localhost".to_owned()]),
            (Some(certificate), Some(private)) => {
                TlsServer::from_pem_files(Path::new(certificate), Path::new(private))
            }
            (None, Some(_)) => {
                let fix = "name the certificate's file, or no key";
                return Err(Invalid::new(key("certificate"), "is missing", fix));
            }
            (Some(_), None) => {
                let fix = "name the key's file, or no certificate";
                return Err(Invalid::new(key("key"), "is missing", fix));
            }
        };
        let server =
            server.map_err(|error| Invalid::new(key("certificate"), error.to_string(), ""))?;
        Ok(Some(TlsListen { address, server }))
    }
}

/// What one Sv1 miner may do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RawMinerLimits {
    login_timeout_secs: u64,
    share_timeout_secs: u64,
    lines_per_sec: u32,
    line_burst: u32,
    line_bytes: usize,
    stall_timeout_secs: u64,
    ban_secs: u64,
}

impl Default for RawMinerLimits {
    fn default() -> Self {
        let (server, lines) = (ServerConfig::default(), LineOptions::server());
        Self {
            login_timeout_secs: server.login_timeout.as_secs(),
            share_timeout_secs: server.share_timeout.as_secs(),
            lines_per_sec: server.max_lines_per_sec,
            line_burst: server.max_line_burst,
            line_bytes: lines.max_line_len,
            stall_timeout_secs: lines.stall_timeout.as_secs(),
            ban_secs: DEFAULT_BAN.as_secs(),
        }
    }
}

impl RawMinerLimits {
    /// The limits of the rules; keys stand in messages behind `section`.
    ///
    /// # Errors
    /// When a limit is 0.
    pub fn server(
        &self,
        section: &str,
        version_mask: u32,
        job_interval: Duration,
    ) -> Result<ServerConfig, Invalid> {
        let key = |name: &str| format!("{section}.{name}");
        Ok(ServerConfig {
            version_mask,
            login_timeout: secs(&key("login_timeout_secs"), self.login_timeout_secs)?,
            job_interval,
            share_timeout: secs(&key("share_timeout_secs"), self.share_timeout_secs)?,
            max_lines_per_sec: positive(&key("lines_per_sec"), self.lines_per_sec)?,
            max_line_burst: positive(&key("line_burst"), self.line_burst)?,
        })
    }

    /// The limits of the connection; keys stand in messages behind `section`.
    ///
    /// # Errors
    /// When a limit is 0.
    pub fn options(&self, section: &str) -> Result<LineOptions, Invalid> {
        let key = |name: &str| format!("{section}.{name}");
        Ok(LineOptions {
            max_line_len: positive(&key("line_bytes"), self.line_bytes)?,
            // Miners are silent until they find something; the time without a share is bounded by the rules.
            idle_timeout: None,
            stall_timeout: secs(&key("stall_timeout_secs"), self.stall_timeout_secs)?,
            ..LineOptions::server()
        })
    }

    /// For how long an address is banned whose miner broke the rules; zero for not at all.
    pub const fn ban(&self) -> Duration {
        Duration::from_secs(self.ban_secs)
    }
}
