//! The work of a channel, ready to be sent to miners.

use std::sync::{Arc, OnceLock};

use roles_logic_sv2::channels::client::Work;
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::job::Job;
use sv1_api::server::Job as Sv1Job;

use crate::mapping::{JobName, MappingError, notify_of_work};

/// What a channel mines, in the form that miners on it get.
///
/// Of the channel's extranonce the miners see the last bytes only; what stands before, the upstream's prefix and zeros
/// of our own, is part of the coinbase that they are sent. So neither another prefix nor another upstream changes what
/// a miner was told when it subscribed, and the many that cannot follow a change need not be told of one.
#[derive(Debug)]
pub struct ChannelWork {
    work: Work,
    source: u64,
    name: u32,
    shown: usize,
    /// Zeros of ours behind the upstream's prefix.
    zeros: usize,
    /// The line as it is sent first, when many share it.
    line: Option<Arc<Sv1Job>>,
    /// The job as Sv2 devices get it, made for the first of them.
    relayed: OnceLock<Option<Arc<Job>>>,
}

impl ChannelWork {
    /// Work for one miner. Of a standard channel only Sv2 devices can be served, see [`Self::relayed`]. `source` is the owner's number of the connection that it comes from: a job goes stale when
    /// its own source has another tip. `name` is what the job is called and must not come again soon, whatever the
    /// source; `shown` is the size of extranonce1 and extranonce2 together.
    ///
    /// # Errors
    /// Work of an extended channel with less than `shown` bytes of extranonce.
    pub fn new(work: Work, source: u64, name: u32, shown: usize) -> Result<Self, MappingError> {
        let available = work.extranonce_size();
        let zeros = match (work.job(), available.checked_sub(shown)) {
            (Some(_), Some(zeros)) => zeros,
            (Some(_), None) => {
                return Err(MappingError::ExtranonceTooShort { available, shown });
            }
            (None, _) => 0,
        };
        Ok(Self {
            source,
            name,
            shown,
            zeros,
            line: None,
            relayed: OnceLock::new(),
            work,
        })
    }

    /// Work for many miners on one channel: its line is written once.
    ///
    /// # Errors
    /// As [`Self::new`]; work of a standard channel.
    pub fn shared(work: Work, source: u64, name: u32, shown: usize) -> Result<Self, MappingError> {
        let mut own = Self::new(work, source, name, shown)?;
        own.line = Some(own.write(0, own.work.min_ntime())?);
        Ok(own)
    }

    /// What the channel mines.
    pub const fn work(&self) -> &Work {
        &self.work
    }

    /// The owner's number of the connection that it comes from.
    pub const fn source(&self) -> u64 {
        self.source
    }

    /// Bytes of extranonce1 and extranonce2 together.
    pub const fn shown(&self) -> usize {
        self.shown
    }

    /// The job as it is handed on to Sv2 devices, the same for all; `None` when its coinbase cannot be built.
    pub fn relayed(&self) -> Option<&Arc<Job>> {
        let make = || {
            let relayed = Job::relayed(self.work.clone(), self.source, self.shown);
            relayed.ok().map(Arc::new)
        };
        self.relayed.get_or_init(make).as_ref()
    }

    pub(super) const fn is_of_channel_of(&self, other: &Self) -> bool {
        self.source == other.source && self.work.channel_id() == other.work.channel_id()
    }

    pub(super) const fn name(&self) -> u32 {
        self.name
    }

    /// What stands before extranonce1: the upstream's prefix and our zeros.
    fn hidden(&self) -> Vec<u8> {
        let mut hidden = self.work.extranonce_prefix().to_vec();
        hidden.resize(hidden.len() + self.zeros, 0);
        hidden
    }

    /// All that stands before extranonce2.
    pub(super) fn head(&self, extranonce1: &[u8]) -> Arc<[u8]> {
        [&self.hidden(), extranonce1].concat().into()
    }

    /// Whether that is what stands before extranonce2.
    pub(super) fn is_head(&self, head: &[u8], extranonce1: &[u8]) -> bool {
        let rest = head.strip_prefix(self.work.extranonce_prefix());
        let zeros = rest.and_then(|rest| rest.strip_suffix(extranonce1));
        zeros.is_some_and(|zeros| zeros.len() == self.zeros && zeros.iter().all(|byte| *byte == 0))
    }

    /// The line of the job as it is sent first.
    pub(super) fn line(&self) -> Result<Arc<Sv1Job>, MappingError> {
        match &self.line {
            Some(line) => Ok(line.clone()),
            None => self.write(0, self.work.min_ntime()),
        }
    }

    /// The same job under another name, and with the present time: miners start from it and move on.
    pub(super) fn copy(&self, copy: u32, now: Now) -> Result<Arc<Sv1Job>, MappingError> {
        self.write(copy, self.work.max_ntime(now))
    }

    fn write(&self, copy: u32, ntime: u32) -> Result<Arc<Sv1Job>, MappingError> {
        let name = JobName {
            job_id: self.name,
            copy,
        };
        let notify = notify_of_work(&self.work, &self.hidden(), name, ntime)?;
        Ok(Arc::new(Sv1Job::new(notify)))
    }
}
