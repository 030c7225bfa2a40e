//! What the configurations of all programs on upstreams share: the upstreams themselves, and when to change them.

use std::time::Duration;

use bitcoin::{Network, ScriptBuf};
use mining_proxy_core::{ChannelMode, DEFAULT_KEEP_MINERS, ExpectedPayout, UpstreamConfig};
use network_helpers_sv2::{ClientSecurity, Endpoint, EndpointError};
use pool_core::descriptor::{address_script, script_pubkey};
use pool_core::payout::{PayoutChoice, choose};
use roles_logic_sv2::upstream::DEFAULT_ANSWER_TIMEOUT;
use roles_logic_sv2::upstream::failover::FailoverConfig;
use serde::Deserialize;
use stratum_runtime::config::Invalid;
use stratum_runtime::config::sections::{positive, secs};

/// How much of the reward an expected payout gets at least, unless the configuration says otherwise.
const DEFAULT_PAYOUT_MIN_PERCENT: u8 = 90;

/// The chains whose addresses are taken: a proxy needs to know of no chain.
const NETWORKS: [Network; 4] = [
    Network::Bitcoin,
    Network::Testnet,
    Network::Signet,
    Network::Regtest,
];

/// One table of `[[upstreams]]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct RawUpstream {
    url: Option<String>,
    user_identity: Option<String>,
    payout: String,
    payout_min_percent: u8,
    mode: Option<String>,
    priority: Option<u32>,
    weight: u32,
    drain: bool,
}

/// `[failover]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RawFailover {
    answer_timeout_secs: u64,
    patience_secs: u64,
    settle_secs: u64,
    keep_miners_secs: u64,
}

impl Default for RawUpstream {
    fn default() -> Self {
        Self {
            url: None,
            user_identity: None,
            payout: String::new(),
            payout_min_percent: DEFAULT_PAYOUT_MIN_PERCENT,
            mode: None,
            priority: None,
            weight: 1,
            drain: false,
        }
    }
}

impl Default for RawFailover {
    fn default() -> Self {
        let failover = FailoverConfig::default();
        Self {
            answer_timeout_secs: DEFAULT_ANSWER_TIMEOUT.as_secs(),
            patience_secs: failover.patience.as_secs(),
            settle_secs: failover.settle.as_secs(),
            keep_miners_secs: DEFAULT_KEEP_MINERS.as_secs(),
        }
    }
}

/// All upstreams, and how the connection to each is secured. One that names no priority has its position.
///
/// # Errors
/// When there is none, or what one of them says makes no sense.
pub fn check_upstreams(
    upstreams: &[RawUpstream],
    mode: ChannelMode,
) -> Result<(Vec<UpstreamConfig>, Vec<ClientSecurity>), Invalid> {
    if upstreams.is_empty() {
        let fix = "add a table [[upstreams]] with url = \"stratum2+tcp://host:port/KEY\"";
        return Err(Invalid::new("upstreams", "names no pool", fix));
    }
    if upstreams.iter().all(|upstream| upstream.drain) {
        let fix = "leave one pool that miners can work for";
        return Err(Invalid::new(
            "upstreams.drain",
            "is true for every pool",
            fix,
        ));
    }
    let checked = upstreams.iter().zip(0..);
    let checked = checked.map(|(upstream, position)| upstream.check(mode, position));
    checked.collect()
}

/// How miners share channels, as it is written at `key`.
///
/// # Errors
/// When it is none of the two.
pub fn channel_mode(key: &str, text: &str) -> Result<ChannelMode, Invalid> {
    match text {
        "aggregated" => Ok(ChannelMode::Aggregated),
        "per-miner" | "transparent" => Ok(ChannelMode::PerMiner),
        other => Err(Invalid::new(
            key,
            format!("is `{other}`"),
            "write \"aggregated\", or \"per-miner\" which is also called \"transparent\"",
        )),
    }
}

impl RawUpstream {
    fn check(
        &self,
        usual_mode: ChannelMode,
        position: u32,
    ) -> Result<(UpstreamConfig, ClientSecurity), Invalid> {
        const URL: &str = "upstreams.url";
        let mode = match &self.mode {
            Some(mode) => channel_mode("upstreams.mode", mode)?,
            None => usual_mode,
        };
        let Some(url) = &self.url else {
            let fix = "write stratum2+tcp://host:port/KEY, as the pool publishes it";
            return Err(Invalid::new(URL, "is missing", fix));
        };
        let endpoint: Endpoint = url
            .parse()
            .map_err(|error: EndpointError| Invalid::new(URL, error.to_string(), ""))?;
        if mode == ChannelMode::Aggregated && self.user_identity.is_none() {
            let fix = "say who mines there: your account or address, as the pool has it";
            return Err(Invalid::new("upstreams.user_identity", "is missing", fix));
        }
        if let Some(identity) = &self.user_identity
            && (identity.is_empty() || identity.len() > 255)
        {
            let what = format!("has {} bytes", identity.len());
            let fix = "choose 1 to 255";
            return Err(Invalid::new("upstreams.user_identity", what, fix));
        }
        let security = match endpoint.authority {
            Some(authority) => ClientSecurity::Noise {
                authority: Some(authority),
            },
            None => ClientSecurity::Plain,
        };
        let upstream = UpstreamConfig {
            user_identity: self.user_identity.clone(),
            expected_payout: self.expected_payout()?,
            mode,
            priority: self.priority.unwrap_or(position),
            weight: positive("upstreams.weight", self.weight)?,
            is_drained: self.drain,
            ..UpstreamConfig::new(&endpoint.host, endpoint.port)
        };
        Ok((upstream, security))
    }

    fn expected_payout(&self) -> Result<Option<ExpectedPayout>, Invalid> {
        const KEY: &str = "upstreams.payout";
        let script_pubkey = match self.payout.trim() {
            "" => return Ok(None),
            "identity" => match self.script_of_identity() {
                Some(script) => script,
                None => {
                    let what = "is \"identity\", but user_identity names no address";
                    let fix = "write the address or descriptor itself";
                    return Err(Invalid::new(KEY, what, fix));
                }
            },
            text => script(text).ok_or_else(|| {
                let what = format!("`{text}` is no address and no descriptor");
                Invalid::new(KEY, what, "check for a typing error")
            })?,
        };
        let percent = self.payout_min_percent;
        if !(1..=100).contains(&percent) {
            let what = format!("is {percent}");
            let fix = "choose 1 to 100";
            return Err(Invalid::new("upstreams.payout_min_percent", what, fix));
        }
        Ok(Some(ExpectedPayout {
            script_pubkey,
            min_percent: percent,
        }))
    }

    fn script_of_identity(&self) -> Option<ScriptBuf> {
        let identity = self.user_identity.as_deref()?.as_bytes();
        let mut choices = NETWORKS
            .iter()
            .filter_map(|network| choose(identity, *network).ok());
        choices.find_map(|choice| match choice {
            PayoutChoice::Solo { script_pubkey } | PayoutChoice::Split { script_pubkey, .. } => {
                Some(script_pubkey)
            }
            PayoutChoice::Pool => None,
        })
    }
}

/// The script of an address or descriptor of any chain.
fn script(text: &str) -> Option<ScriptBuf> {
    let scripts = NETWORKS.iter().filter_map(|network| {
        let address = address_script(text, *network).ok();
        address.or_else(|| script_pubkey(text, *network).ok())
    });
    { scripts }.next()
}

impl RawFailover {
    /// Patience with upstreams.
    ///
    /// # Errors
    /// When it is 0.
    pub fn rules(&self) -> Result<FailoverConfig, Invalid> {
        Ok(FailoverConfig {
            patience: secs("failover.patience_secs", self.patience_secs)?,
            settle: Duration::from_secs(self.settle_secs),
            ..FailoverConfig::default()
        })
    }

    /// Time for answers of upstreams.
    ///
    /// # Errors
    /// When it is 0.
    pub fn answer_timeout(&self) -> Result<Duration, Invalid> {
        secs("failover.answer_timeout_secs", self.answer_timeout_secs)
    }

    /// How long miners are kept without any upstream.
    ///
    /// # Errors
    /// When it is 0.
    pub fn keep_miners(&self) -> Result<Duration, Invalid> {
        secs("failover.keep_miners_secs", self.keep_miners_secs)
    }
}
