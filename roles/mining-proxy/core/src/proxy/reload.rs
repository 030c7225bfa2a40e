//! Another configuration, while miners mine.

use std::sync::Arc;

use roles_logic_sv2::clock::Now;
use stratum_translation::bridge::Bridge;

use super::{ConfigError, MAX_UPSTREAMS, Proxy};
use crate::config::{ProxyConfig, UpstreamConfig};
use crate::upstream::Upstream;

impl Proxy {
    /// Takes another configuration. Gives the index of each of its upstreams, in its order.
    ///
    /// An upstream that was there before, with the same host, port, identity and mode, keeps its index, its connection and
    /// its miners; its priority, weight, drain and payout take effect in place. One that is not there any more is left as
    /// soon as another is ready, and stays in snapshots. All else holds for miners and connections that are yet to come,
    /// but for the times between jobs and the patience with upstreams, which hold at once.
    ///
    /// # Errors
    /// Numbers that make no sense, or too many upstreams; then nothing has changed.
    pub fn reconfigure(
        &mut self,
        mut config: Arc<ProxyConfig>,
        now: Now,
    ) -> Result<Vec<usize>, ConfigError> {
        Bridge::new(config.bridge, now)?;
        let indices = self.match_upstreams(&config.upstreams)?;
        if config.max_miners > self.room {
            Arc::make_mut(&mut config).max_miners = self.room;
        }
        self.failover.set_config(config.failover, now.instant);
        self.config = config.clone();
        self.device_terms = config.device_terms();
        for (upstream, index) in config.upstreams.iter().zip(&indices) {
            match self.upstreams.get_mut(*index) {
                Some(known) => known.config = upstream.clone(),
                None => {
                    let new = Upstream::new(upstream.clone(), now.instant);
                    self.upstreams.push(new);
                }
            }
        }
        for (index, upstream) in self.upstreams.iter_mut().enumerate() {
            upstream.is_removed = !indices.contains(&index);
        }
        let upstreams = self.upstreams.iter();
        let choices = upstreams.map(|upstream| (upstream.config.priority, upstream.is_wanted()));
        let choices: Vec<_> = choices.collect();
        self.failover.set_all(&choices, now.instant);
        self.follow_failover(now);
        self.weigh(now);
        self.leave_successors(now);
        self.hashrate_changed(now);
        Ok(indices)
    }

    /// The index of each upstream: its own where it is known, else the next one.
    fn match_upstreams(&self, upstreams: &[UpstreamConfig]) -> Result<Vec<usize>, ConfigError> {
        let mut indices: Vec<usize> = Vec::with_capacity(upstreams.len());
        let mut next = self.upstreams.len();
        for config in upstreams {
            let mut known = self.upstreams.iter().enumerate();
            let known = known.find(|(index, known)| known.is(config) && !indices.contains(index));
            let index = known.map_or(next, |(index, _)| index);
            next = next.max(index + 1);
            indices.push(index);
        }
        if next > MAX_UPSTREAMS {
            return Err(ConfigError::Upstreams);
        }
        Ok(indices)
    }
}
