//! What the operator wants.

use std::sync::Arc;
use std::time::Duration;

use const_sv2::mining::{REQUIRES_FIXED_VERSION, REQUIRES_WORK_SELECTION};
use roles_logic_sv2::channels::server::ServerConfig as ChannelsConfig;
use roles_logic_sv2::downstream::DownstreamTerms;
use roles_logic_sv2::setup::{Endpoint, SetupPolicy};
use roles_logic_sv2::share::ShareLimits;
use roles_logic_sv2::upstream::DEFAULT_ANSWER_TIMEOUT;
use roles_logic_sv2::upstream::failover::FailoverConfig;
use roles_logic_sv2::vardiff::VardiffConfig;
use stratum_translation::bridge::{
    BridgeConfig, DEFAULT_EXTRANONCE2_SIZE, DEFAULT_NOMINAL_HASHRATE,
};
use sv1_api::server::ServerConfig;

use crate::payout::ExpectedPayout;

/// Time over which a job that is no news of a block is spread, so that miners do not all answer at once.
pub const DEFAULT_PACE: Duration = Duration::from_secs(1);

/// Time between two jobs of a miner that are no news of a block: what a few more fees are worth, a restart of all its
/// chips is not.
pub const DEFAULT_MIN_JOB_INTERVAL: Duration = Duration::from_secs(5);

/// How long miners are kept without any upstream; then they are sent away, to whatever other pool they know.
pub const DEFAULT_KEEP_MINERS: Duration = Duration::from_secs(120);

/// How miners share channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelMode {
    /// All on one channel: the upstream sees one miner.
    #[default]
    Aggregated,
    /// One channel for each: the upstream sees all of them.
    PerMiner,
}

/// One upstream. It is the same in another configuration when host, port, identity and mode are.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Who mines there. With a channel for each miner its worker's name is appended, and without it the miner's own name
    /// is taken.
    pub user_identity: Option<String>,
    /// Whom the coinbase must pay; anyone when `None`.
    pub expected_payout: Option<ExpectedPayout>,
    /// How miners share its channels.
    pub mode: ChannelMode,
    /// Smaller is better: the best that work are used, all of equal priority together.
    pub priority: u32,
    /// Its part of the work, of the sum of the weights of all that are used together.
    pub weight: u32,
    /// Not to be used: miners leave it as soon as another one is ready.
    pub is_drained: bool,
}

impl UpstreamConfig {
    /// An upstream with one channel for all, of the best priority, that may pay whom it likes.
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
            user_identity: None,
            expected_payout: None,
            mode: ChannelMode::default(),
            priority: 0,
            weight: 1,
            is_drained: false,
        }
    }
}

/// All of it.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Their priorities say which are used, not their order.
    pub upstreams: Vec<UpstreamConfig>,
    /// What is said of ourselves to upstreams; host and port are each upstream's.
    pub about: Endpoint<'static>,
    /// Time for answers of upstreams.
    pub answer_timeout: Duration,
    /// Patience with upstreams.
    pub failover: FailoverConfig,
    /// Whether workers' names go to upstreams that know extension 0x0002.
    pub names_workers: bool,
    /// Bytes of extranonce2 that miners get, unless they need another size.
    pub extranonce2_size: usize,
    /// Limits and difficulty of miners.
    pub bridge: BridgeConfig,
    /// The terms of Sv2 devices; their difficulty is as that of all miners.
    pub devices: DownstreamTerms,
    /// Most miners at a time; one more is refused. No more than at start, whatever [`Proxy::reconfigure`] says.
    ///
    /// [`Proxy::reconfigure`]: crate::Proxy::reconfigure
    pub max_miners: u32,
    /// See [`DEFAULT_PACE`].
    pub pace: Duration,
    /// See [`DEFAULT_MIN_JOB_INTERVAL`].
    pub min_job_interval: Duration,
    /// See [`DEFAULT_KEEP_MINERS`].
    pub keep_miners: Duration,
}

impl ProxyConfig {
    /// The terms of devices' connections: what is said of them, with the difficulty of all miners.
    pub(crate) fn device_terms(&self) -> DeviceTerms {
        let channels = ChannelsConfig {
            vardiff: self.bridge.vardiff,
            share_limits: self.bridge.limits,
            // They may be told of other groups as often as they change upstreams, and some do not follow that.
            is_lone_channel_addressed: true,
            ..(*self.devices.channels).clone()
        };
        let mut terms = self.devices.clone();
        terms.channels = Arc::new(channels);
        // Who makes its own jobs gets none, and there is nobody here who would take them.
        terms.setup.supported_flags &= !REQUIRES_WORK_SELECTION;
        DeviceTerms {
            usual: Arc::new(terms.clone()),
            fixed_version: Arc::new(DownstreamTerms {
                setup: SetupPolicy {
                    success_flags: terms.setup.success_flags | REQUIRES_FIXED_VERSION,
                    ..terms.setup
                },
                ..terms
            }),
        }
    }
}

/// On which terms devices connect.
#[derive(Clone, Debug)]
pub(crate) struct DeviceTerms {
    pub(crate) usual: Arc<DownstreamTerms>,
    /// The same, where jobs' versions have to be left as they are.
    pub(crate) fixed_version: Arc<DownstreamTerms>,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            upstreams: Vec::new(),
            about: Endpoint::default(),
            answer_timeout: DEFAULT_ANSWER_TIMEOUT,
            failover: FailoverConfig::default(),
            names_workers: true,
            extranonce2_size: DEFAULT_EXTRANONCE2_SIZE,
            bridge: BridgeConfig {
                server: ServerConfig::default(),
                vardiff: VardiffConfig::default(),
                nominal_hashrate: DEFAULT_NOMINAL_HASHRATE,
                limits: ShareLimits::default(),
            },
            devices: DownstreamTerms::default(),
            max_miners: 20_000,
            pace: DEFAULT_PACE,
            min_job_interval: DEFAULT_MIN_JOB_INTERVAL,
            keep_miners: DEFAULT_KEEP_MINERS,
        }
    }
}
