//! Behaves as small Stratum V2 firmware does (that of Bitaxe devices), and says what a server does that it cannot take.
//!
//! [`Firmware::run`] connects so many devices to a server and gives a [`FirmwareReport`]. It needs nothing but tokio's
//! I/O and time, so a test can run it beside a server in the same process. What a device does follows from frames and the
//! time alone, each [`Rule`] is held without a socket.
//!
//! ```no_run
//! use std::time::Duration;
//! use stratum_load::firmware::Firmware;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let firmware = Firmware {
//!     shares: Some(10),
//!     duration: Duration::from_secs(30),
//!     ..Firmware::new("127.0.0.1:3333".parse()?)
//! };
//! let report = firmware.run().await;
//! assert!(report.is_ok(), "{report}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod channel;
mod device;
mod log;
mod places;
mod report;
mod rule;
mod session;
#[cfg(test)]
mod tests;
mod work;

use std::num::NonZeroUsize;
use std::time::Duration;

use network_helpers_sv2::{ClientSecurity, Endpoint};

use crate::args::ChannelType;

pub use log::Seen;
pub use places::JOB_PLACES;
pub use report::FirmwareReport;
pub use rule::{Failure, Rule};

/// Longest frame that the firmware has room for, decrypted, with its header, in bytes.
pub const MAX_FRAME_LEN: usize = 8_192;

/// Longest merkle path of a job.
pub const MAX_MERKLE_BRANCHES: usize = 20;

/// What the firmware claims as its hash rate, in hashes a second, whatever the device.
pub const CLAIMED_HASHRATE: f32 = 1e12;

/// Extranonce bytes that the firmware asks for on an extended channel.
pub const EXTRANONCE_SIZE: u16 = 2;

/// Extranonce bytes that it has room for.
pub const MAX_EXTRANONCE_SIZE: u16 = 32;

/// Without a frame for so long the firmware ends the connection.
pub const MAX_SILENCE: Duration = Duration::from_secs(180);

/// How long devices mine unless told otherwise. At ten shares a minute a pool needs most of the first minute to come down
/// from [`CLAIMED_HASHRATE`].
pub const DEFAULT_DURATION: Duration = Duration::from_secs(120);

/// Hashes a second that a device does unless told otherwise: so few that a hundred devices fit on one core.
pub const DEFAULT_HASHRATE: f64 = 20_000.0;

/// Devices that connect at the same time unless told otherwise.
pub const DEFAULT_PARALLEL: NonZeroUsize = NonZeroUsize::new(32).expect("not zero");

/// Devices to be run against a server.
#[derive(Clone, Debug)]
pub struct Firmware {
    /// The server.
    pub endpoint: Endpoint,
    /// Whether the connection is encrypted.
    pub security: ClientSecurity,
    /// Kind of channel; a device with a standard one requires standard jobs.
    pub channel: ChannelType,
    /// Devices, each on a connection of its own.
    pub connections: NonZeroUsize,
    /// Devices that connect at the same time.
    pub parallel: NonZeroUsize,
    /// User identity, at most 255 bytes; a longer one is left out.
    pub user: String,
    /// Hashes a second that each device really does.
    pub hashrate: f64,
    /// How long each device mines, its connecting included. It must have a share accepted by then.
    pub duration: Duration,
    /// Accepted shares after which a device is done early.
    pub shares: Option<u64>,
}

impl Firmware {
    /// One device with an extended channel. Encrypted where the endpoint has an authority key, plain otherwise.
    pub fn new(endpoint: Endpoint) -> Self {
        let security = match endpoint.authority {
            Some(key) => ClientSecurity::Noise {
                authority: Some(key),
            },
            None => ClientSecurity::Plain,
        };
        Self {
            endpoint,
            security,
            channel: ChannelType::Extended,
            connections: NonZeroUsize::MIN,
            parallel: DEFAULT_PARALLEL,
            user: "load".to_owned(),
            hashrate: DEFAULT_HASHRATE,
            duration: DEFAULT_DURATION,
            shares: None,
        }
    }

    /// Runs all devices until each has enough shares, has lost its connection, or has mined long enough.
    ///
    /// A server that cannot be reached is a [`Failure`] as well. Dropped, it closes all connections.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    pub async fn run(&self) -> FirmwareReport {
        session::run(self).await
    }
}
