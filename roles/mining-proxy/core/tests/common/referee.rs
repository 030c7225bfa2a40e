//! A naive reference: it writes down all that a server said, and judges each share from that alone.

use std::collections::BTreeSet;

use mining_sv2::MiningMessage;
use roles_logic_sv2::header::Header;
use roles_logic_sv2::merkle::sha256d;
use roles_logic_sv2::target::Target;

/// What is to be thought of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    NoChannel,
    NoJob,
    Low,
    /// It was good before.
    Again,
    Good,
}

/// A share, of either kind of channel.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) channel_id: u32,
    pub(crate) job_id: u32,
    pub(crate) nonce: u32,
    pub(crate) ntime: u32,
    pub(crate) version: u32,
    pub(crate) extranonce: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq)]
enum Root {
    Given([u8; 32]),
    Made {
        head: Vec<u8>,
        tail: Vec<u8>,
        path: Vec<[u8; 32]>,
    },
}

#[derive(Clone, Debug)]
struct Job {
    id: u32,
    root: Root,
    /// The channel's at the time.
    prefix: Vec<u8>,
    target: Target,
    /// Block to build on, and nbits; `None` as long as it waits.
    tip: Option<([u8; 32], u32)>,
    is_over: bool,
    /// Targets that the channel got since.
    targets_since: usize,
    /// How often the channel got other work since than it had at the time.
    works_since: usize,
}

#[derive(Debug)]
struct Channel {
    id: u32,
    group: u32,
    prefix: Vec<u8>,
    target: Target,
    tip: Option<([u8; 32], u32)>,
    jobs: Vec<Job>,
    good: BTreeSet<[u8; 32]>,
}

/// One connection, as its client knows it.
#[derive(Debug, Default)]
pub(crate) struct Referee {
    channels: Vec<Channel>,
}

impl Referee {
    pub(crate) fn hears(&mut self, message: &MiningMessage<'_>) {
        use MiningMessage as M;
        match message {
            M::OpenStandardMiningChannelSuccess(m) => self.opened(
                (m.channel_id, m.group_channel_id),
                m.extranonce_prefix.as_bytes(),
                m.target.0,
            ),
            M::OpenExtendedMiningChannelSuccess(m) => self.opened(
                (m.channel_id, m.group_channel_id),
                m.extranonce_prefix.as_bytes(),
                m.target.0,
            ),
            M::NewMiningJob(m) => {
                let root = Root::Given(m.merkle_root.0);
                self.job(m.channel_id, m.job_id, &root, m.min_ntime.is_some());
            }
            M::NewExtendedMiningJob(m) => {
                let root = Root::Made {
                    head: m.coinbase_tx_prefix.as_bytes().to_vec(),
                    tail: m.coinbase_tx_suffix.as_bytes().to_vec(),
                    path: m.merkle_path.iter().map(|node| node.0).collect(),
                };
                self.job(m.channel_id, m.job_id, &root, m.min_ntime.is_some());
            }
            M::SetNewPrevHash(m) => self.tip(m.channel_id, m.job_id, (m.prev_hash.0, m.nbits)),
            M::SetTarget(m) => {
                let target = Target::from_le_bytes(m.maximum_target.0);
                for channel in self.of(m.channel_id) {
                    channel.target = target;
                    channel
                        .jobs
                        .iter_mut()
                        .for_each(|job| job.targets_since += 1);
                }
            }
            M::SetExtranoncePrefix(m) => {
                let prefix = m.extranonce_prefix.as_bytes();
                self.of(m.channel_id)
                    .for_each(|at| at.prefix = prefix.to_vec());
            }
            M::SetGroupChannel(m) => {
                for id in &m.channel_ids {
                    let own = self.channels.iter_mut().filter(|channel| channel.id == id);
                    own.for_each(|channel| channel.group = m.group_channel_id);
                }
            }
            M::CloseChannel(m) => self.closes(m.channel_id),
            _ => {}
        }
    }

    /// Either side has closed a channel, or a group.
    pub(crate) fn closes(&mut self, id: u32) {
        self.channels
            .retain(|channel| channel.id != id && channel.group != id);
    }

    fn of(&mut self, id: u32) -> impl Iterator<Item = &mut Channel> {
        let channels = self.channels.iter_mut();
        channels.filter(move |channel| channel.id == id || channel.group == id)
    }

    fn opened(&mut self, (id, group): (u32, u32), prefix: &[u8], target: [u8; 32]) {
        self.channels.push(Channel {
            id,
            group,
            prefix: prefix.to_vec(),
            target: Target::from_le_bytes(target),
            tip: None,
            jobs: Vec::new(),
            good: BTreeSet::new(),
        });
    }

    fn job(&mut self, id: u32, job_id: u32, root: &Root, is_now: bool) {
        for channel in self.of(id) {
            let tip = channel.tip.filter(|_| is_now);
            if is_now && tip.is_none() {
                continue;
            }
            if channel.jobs.last().is_some_and(|last| last.root != *root) {
                channel.jobs.iter_mut().for_each(|job| job.works_since += 1);
            }
            channel.jobs.push(Job {
                id: job_id,
                root: root.clone(),
                prefix: channel.prefix.clone(),
                target: channel.target,
                tip,
                is_over: false,
                targets_since: 0,
                works_since: 0,
            });
        }
    }

    fn tip(&mut self, id: u32, job_id: u32, tip: ([u8; 32], u32)) {
        for channel in self.of(id) {
            channel.tip = Some(tip);
            for job in &mut channel.jobs {
                job.is_over |= job.id != job_id || job.tip.is_some();
            }
            let named = channel.jobs.iter_mut().rev().find(|job| !job.is_over);
            if let Some(job) = named {
                (job.tip, job.target) = (Some(tip), channel.target);
                job.targets_since = 0;
            }
        }
    }

    fn find(&self, share: &Share) -> Result<(&Channel, &Job), Judgement> {
        let mut channels = self.channels.iter();
        let channel = channels.find(|channel| channel.id == share.channel_id);
        let channel = channel.ok_or(Judgement::NoChannel)?;
        let mut jobs = channel.jobs.iter().rev();
        let job = jobs.find(|job| job.id == share.job_id && (job.tip.is_some() || job.is_over));
        Ok((channel, job.ok_or(Judgement::NoJob)?))
    }

    /// The hash of the header that a share stands for.
    pub(crate) fn hash(&self, share: &Share) -> Option<[u8; 32]> {
        let (_, job) = self.find(share).ok()?;
        let (prev_hash, nbits) = job.tip?;
        let merkle_root = match &job.root {
            Root::Given(root) => *root,
            Root::Made { head, tail, path } => {
                let coinbase = [head, &job.prefix, &share.extranonce, tail].map(Vec::as_slice);
                let leaf = sha256d(&coinbase.concat());
                path.iter()
                    .fold(leaf, |hash, node| sha256d(&[hash, *node].concat()))
            }
        };
        let header = Header {
            version: share.version,
            prev_hash,
            merkle_root,
            ntime: share.ntime,
            nbits,
            nonce: share.nonce,
        };
        Some(sha256d(&header.to_bytes()))
    }

    /// Judges a share by all but the time.
    pub(crate) fn judges(&self, share: &Share) -> Judgement {
        let (channel, job) = match self.find(share) {
            Ok(found) => found,
            Err(judgement) => return judgement,
        };
        let Some(hash) = self.hash(share) else {
            return Judgement::NoJob;
        };
        if !job.target.is_met_by(&hash) {
            Judgement::Low
        } else if channel.good.contains(&hash) {
            Judgement::Again
        } else {
            Judgement::Good
        }
    }

    /// Whether another tip has ended the share's job.
    pub(crate) fn is_over(&self, share: &Share) -> bool {
        self.find(share).is_ok_and(|(_, job)| job.is_over)
    }

    /// Whether the share's job is older than so many targets of its channel.
    pub(crate) fn is_older(&self, share: &Share, targets: usize) -> bool {
        self.find(share)
            .is_ok_and(|(_, job)| job.targets_since > targets)
    }

    /// Whether the share's channel got other work more often than that since its job.
    pub(crate) fn is_before_works(&self, share: &Share, works: usize) -> bool {
        self.find(share)
            .is_ok_and(|(_, job)| job.works_since > works)
    }

    /// The share was taken.
    pub(crate) fn takes(&mut self, share: &Share) {
        if let Some(hash) = self.hash(share) {
            let own = self.channels.iter_mut();
            own.filter(|at| at.id == share.channel_id)
                .for_each(|channel| channel.good.extend([hash]));
        }
    }

    /// Whether a device's job hands on one of this connection's that is not over, by what both say of the coinbase or
    /// root; with the target that counts there.
    pub(crate) fn stands_behind(&self, device: &Self, share: &Share) -> Option<Target> {
        let (_, own) = device.find(share).ok()?;
        let jobs = self.channels.iter().flat_map(|channel| &channel.jobs);
        let mut live = jobs.filter(|job| !job.is_over && job.tip == own.tip && job.tip.is_some());
        let found = live.find(|job| match (&job.root, &own.root) {
            (Root::Given(root), Root::Given(own)) => root == own,
            (
                Root::Made { head, tail, path },
                Root::Made {
                    head: own_head,
                    tail: own_tail,
                    path: own_path,
                },
            ) => {
                let start = [head.as_slice(), &job.prefix].concat();
                own_head.starts_with(&start) && tail == own_tail && path == own_path
            }
            _ => false,
        });
        found.map(|job| job.target)
    }
}
