//! One connection of the client: follows jobs and sends shares that are encoded ahead.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use binary_sv2::{Decodable, Encodable, Message, U256};
use common_messages_sv2::{CommonMessage, SetupConnectionSuccess};
use const_sv2::MessageKind;
use const_sv2::mining::REQUIRES_STANDARD_JOBS;
use mining_sv2::{
    MiningMessage, NewExtendedMiningJob, NewMiningJob, OpenExtendedMiningChannel,
    OpenStandardMiningChannel, SetNewPrevHash, SubmitSharesError, SubmitSharesExtended,
    SubmitSharesStandard, SubmitSharesSuccess,
};
use network_helpers_sv2::{
    ClientSecurity, CloseReason, Connection, Endpoint, Options, Wake, connect,
};
use roles_logic_sv2::setup::{self, SetupRequest};

use crate::args::{ChannelType, Shape};
use crate::client::{ANSWER_TIMEOUT, Miner, Protocol, Waiting};
use crate::stats::Stats;

/// Bytes for the client to roll that an extended channel asks for.
const EXTRANONCE_SIZE: u16 = 4;

/// Offset of `sequence_number` in a share's payload.
const SEQUENCE_AT: usize = 4;

/// Offset of `nonce` in a share's payload.
const NONCE_AT: usize = 12;

/// Stratum V2.
pub(crate) struct Sv2 {
    pub(crate) endpoint: Endpoint,
    pub(crate) security: ClientSecurity,
    pub(crate) shape: Shape,
    /// Length of a share's payload and shares per acknowledgement of a bare server.
    pub(crate) bare: Option<(usize, usize)>,
    pub(crate) stats: Rc<Stats>,
}

impl Protocol for Sv2 {
    type Connection = Connection;
    type Miner = Sv2Miner;

    async fn connect(&self) -> anyhow::Result<Connection> {
        let options = Options {
            idle_timeout: None,
            ..Options::default()
        };
        Ok(connect(&self.endpoint, &self.security, options).await?)
    }

    async fn open(&self, connection: Connection, _: usize) -> anyhow::Result<(Sv2Miner, Duration)> {
        match self.bare {
            Some(bare) => {
                let miner = Sv2Miner::bare(connection, &self.shape, bare, &self.stats);
                Ok((miner, Duration::ZERO))
            }
            None => Sv2Miner::open(connection, self).await,
        }
    }
}

/// A connection with its channels open and work on them.
pub(crate) struct Sv2Miner {
    connection: Connection,
    channels: Vec<Channel>,
    share_kind: &'static MessageKind,
    window: usize,
    /// The channel to send from next.
    turn: usize,
    /// Set where a bare server acknowledges: so many shares each time, whatever it says.
    bare_acks: Option<usize>,
    /// The tip last counted, see [`Stats::tip`].
    tip: u32,
    stats: Rc<Stats>,
}

struct Channel {
    id: u32,
    extranonce_len: usize,
    /// Id and version of jobs that wait for their tip, the newest last.
    future: VecDeque<(u32, u32)>,
    has_work: bool,
    min_ntime: u32,
    sequence: u32,
    /// A share of the present job, encoded but for its sequence number and nonce.
    payload: Vec<u8>,
    waiting: Waiting,
}

/// Future jobs kept for a tip; the oldest goes first.
const MAX_FUTURE_JOBS: usize = 8;

impl Channel {
    fn new(id: u32, extranonce_len: usize, stats: &Rc<Stats>) -> Self {
        Self {
            id,
            extranonce_len,
            future: VecDeque::new(),
            has_work: false,
            min_ntime: 0,
            sequence: 0,
            payload: Vec::new(),
            waiting: Waiting::new(stats),
        }
    }

    fn take_job(&mut self, job_id: u32, version: u32, min_ntime: Option<u32>) {
        if let Some(ntime) = min_ntime {
            self.min_ntime = ntime;
            return self.work_on(job_id, version);
        }
        if self.future.len() >= MAX_FUTURE_JOBS {
            self.future.pop_front();
        }
        self.future.push_back((job_id, version));
    }

    fn take_tip(&mut self, tip: &SetNewPrevHash) {
        self.min_ntime = tip.min_ntime;
        let job = self.future.iter().find(|(id, _)| *id == tip.job_id);
        if let Some((job_id, version)) = job.copied() {
            self.future.clear();
            self.work_on(job_id, version);
        }
    }

    fn work_on(&mut self, job_id: u32, version: u32) {
        let share = SubmitSharesStandard {
            channel_id: self.id,
            sequence_number: 0,
            job_id,
            nonce: 0,
            ntime: self.min_ntime,
            version,
        };
        self.payload = match self.extranonce_len {
            0 => share.to_vec(),
            len => SubmitSharesExtended {
                channel_id: share.channel_id,
                sequence_number: share.sequence_number,
                job_id: share.job_id,
                nonce: share.nonce,
                ntime: share.ntime,
                version: share.version,
                extranonce: vec![0; len].try_into().unwrap_or_default(),
            }
            .to_vec(),
        };
        self.has_work = true;
    }

    /// Numbers the next share.
    fn next_share(&mut self) -> &[u8] {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        for at in [SEQUENCE_AT, NONCE_AT] {
            if let Some(field) = self.payload.get_mut(at..at + 4) {
                field.copy_from_slice(&sequence.to_le_bytes());
            }
        }
        &self.payload
    }
}

impl Sv2Miner {
    /// Sets a connection up, opens its channels, and waits until all of them have work. Gives the time from the first
    /// open to the last channel's work, too.
    async fn open(connection: Connection, protocol: &Sv2) -> anyhow::Result<(Self, Duration)> {
        let (shape, stats) = (&protocol.shape, &protocol.stats);
        let share_kind = match shape.channel() {
            ChannelType::Standard => &SubmitSharesStandard::KIND,
            ChannelType::Extended => &SubmitSharesExtended::KIND,
        };
        let mut miner = Self {
            connection,
            channels: Vec::new(),
            share_kind,
            window: shape.window.get(),
            turn: 0,
            bare_acks: None,
            tip: 0,
            stats: stats.clone(),
        };
        miner.set_up(&protocol.endpoint, shape.channel()).await?;
        let opened = Instant::now();
        for request_id in 0..shape.channels.get() {
            miner.request_channel(request_id, shape)?;
        }
        let deadline = tokio::time::Instant::now() + ANSWER_TIMEOUT;
        while miner.channels.len() < shape.channels.get()
            || !miner.channels.iter().all(|channel| channel.has_work)
        {
            if miner.connection.ready(Some(deadline)).await? == Wake::Deadline {
                bail!("the server opened no channel or gave no work in time");
            }
            while let Some(frame) = miner.connection.next_frame()? {
                let message = MiningMessage::parse(frame.header().msg_type(), frame.payload())
                    .context("the server sent a message that cannot be read")?;
                take_answer(&mut miner.channels, &message, stats)?;
            }
        }
        Ok((miner, opened.elapsed()))
    }

    /// A connection to the bare server, which acknowledges `acks` shares of `payload_len` bytes at a time.
    fn bare(
        connection: Connection,
        shape: &Shape,
        (payload_len, acks): (usize, usize),
        stats: &Rc<Stats>,
    ) -> Self {
        let mut channel = Channel::new(0, 0, stats);
        channel.payload = vec![0; payload_len];
        channel.has_work = true;
        Self {
            connection,
            channels: vec![channel],
            share_kind: &SubmitSharesStandard::KIND,
            window: shape.window.get() * shape.channels.get(),
            turn: 0,
            bare_acks: Some(acks),
            tip: 0,
            stats: stats.clone(),
        }
    }

    async fn set_up(&mut self, endpoint: &Endpoint, kind: ChannelType) -> anyhow::Result<()> {
        let flags = match kind {
            ChannelType::Standard => REQUIRES_STANDARD_JOBS,
            ChannelType::Extended => 0,
        };
        let request = SetupRequest::mining(flags);
        self.connection.queue(
            &request.message(&setup::Endpoint {
                host: endpoint.host.as_str().try_into().unwrap_or_default(),
                port: endpoint.port,
                vendor: concat!("stratum-load ", env!("CARGO_PKG_VERSION"))
                    .try_into()
                    .unwrap_or_default(),
                ..setup::Endpoint::default()
            }),
        )?;
        let deadline = tokio::time::Instant::now() + ANSWER_TIMEOUT;
        loop {
            if let Some(frame) = self.connection.next_frame()? {
                let message = CommonMessage::parse(frame.header().msg_type(), frame.payload());
                return match message.context("answer to SetupConnection")? {
                    CommonMessage::SetupConnectionSuccess(SetupConnectionSuccess { .. }) => Ok(()),
                    other => bail!("the server refuses the connection: {other:?}"),
                };
            }
            if self.connection.ready(Some(deadline)).await? == Wake::Deadline {
                bail!("the server did not answer SetupConnection in time");
            }
        }
    }

    fn request_channel(&mut self, request_id: usize, shape: &Shape) -> anyhow::Result<()> {
        let request_id = u32::try_from(request_id).context("too many channels")?;
        let user_identity = shape.user.as_str().try_into().context("--user")?;
        let max_target = U256([0xff; 32]);
        match shape.channel() {
            ChannelType::Standard => self.connection.queue(&OpenStandardMiningChannel {
                request_id,
                user_identity,
                nominal_hash_rate: shape.hashrate,
                max_target,
            })?,
            ChannelType::Extended => self.connection.queue(&OpenExtendedMiningChannel {
                request_id,
                user_identity,
                nominal_hash_rate: shape.hashrate,
                max_target,
                min_extranonce_size: EXTRANONCE_SIZE,
            })?,
        }
        Ok(())
    }
}

impl Miner for Sv2Miner {
    /// Queues a share on the next channel that may send one; `false` when none may.
    fn send_share(&mut self, now: Instant) -> Result<bool, CloseReason> {
        let count = self.channels.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let window = self.window;
            let free = self
                .channels
                .get_mut(at)
                .filter(|channel| channel.has_work && channel.waiting.len() < window);
            if let Some(channel) = free {
                channel.waiting.sent(channel.sequence, now);
                let kind = self.share_kind;
                let share = channel.next_share();
                self.connection
                    .queue_raw(kind.wire_extension_type(), kind.msg_type, share)?;
                self.turn = (at + 1) % count;
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn ready(&mut self, until: Option<tokio::time::Instant>) -> Result<Wake, CloseReason> {
        self.connection.ready(until).await
    }

    fn read(&mut self) -> Result<(), CloseReason> {
        let now = Instant::now();
        while let Some(frame) = self.connection.next_frame()? {
            let msg_type = frame.header().msg_type();
            if msg_type == SetNewPrevHash::KIND.msg_type {
                self.stats.heard_of_tip(&mut self.tip, now);
            }
            match self.bare_acks {
                Some(acks) if msg_type == SubmitSharesSuccess::KIND.msg_type => {
                    let channel = self.channels.first_mut();
                    if let Some(channel) = channel.filter(|channel| channel.waiting.len() > 0) {
                        channel.waiting.oldest_answered(acks, now);
                        self.stats.accept(acks as u64);
                    }
                }
                Some(_) => {}
                None => take(
                    &mut self.channels,
                    &self.stats,
                    msg_type,
                    frame.payload(),
                    now,
                ),
            }
        }
        Ok(())
    }
}

/// Takes a message of a connection that mines; what does not concern shares and jobs is passed over.
fn take(channels: &mut [Channel], stats: &Stats, msg_type: u8, payload: &[u8], now: Instant) {
    let is = |kind: MessageKind| kind.msg_type == msg_type;
    if is(SubmitSharesSuccess::KIND) {
        let Ok(success) = SubmitSharesSuccess::from_bytes(payload) else {
            return stats.reject("unreadable-answer");
        };
        stats.accept(u64::from(success.new_submits_accepted_count));
        if let Some(channel) = find(channels, success.channel_id) {
            channel
                .waiting
                .answered_until(success.last_sequence_number, now);
        }
    } else if is(SubmitSharesError::KIND) {
        let Ok(error) = SubmitSharesError::from_bytes(payload) else {
            return stats.reject("unreadable-answer");
        };
        stats.reject(error.error_code.as_str().unwrap_or("unreadable-code"));
        if let Some(channel) = find(channels, error.channel_id) {
            channel.waiting.answered(error.sequence_number, now);
        }
    } else if let Ok(message) = MiningMessage::parse(msg_type, payload) {
        take_work(channels, &message);
    }
}

fn find(channels: &mut [Channel], id: u32) -> Option<&mut Channel> {
    channels.iter_mut().find(|channel| channel.id == id)
}

/// The channel with this id, or all of them: then it is their group's.
fn addressed(channels: &mut [Channel], id: u32) -> &mut [Channel] {
    match channels.iter().position(|channel| channel.id == id) {
        Some(at) => channels.get_mut(at..=at).unwrap_or_default(),
        None => channels,
    }
}

fn take_work(channels: &mut [Channel], message: &MiningMessage<'_>) {
    let (id, version, min_ntime, channel_id) = match message {
        MiningMessage::NewMiningJob(NewMiningJob {
            channel_id,
            job_id,
            min_ntime,
            version,
            ..
        })
        | MiningMessage::NewExtendedMiningJob(NewExtendedMiningJob {
            channel_id,
            job_id,
            min_ntime,
            version,
            ..
        }) => (*job_id, *version, *min_ntime, *channel_id),
        MiningMessage::SetNewPrevHash(tip) => {
            for channel in addressed(channels, tip.channel_id) {
                channel.take_tip(tip);
            }
            return;
        }
        _ => return,
    };
    for channel in addressed(channels, channel_id) {
        channel.take_job(id, version, min_ntime);
    }
}

/// Takes a message while channels are being opened.
fn take_answer(
    channels: &mut Vec<Channel>,
    message: &MiningMessage<'_>,
    stats: &Rc<Stats>,
) -> anyhow::Result<()> {
    match message {
        MiningMessage::OpenStandardMiningChannelSuccess(success) => {
            channels.push(Channel::new(success.channel_id, 0, stats));
        }
        MiningMessage::OpenExtendedMiningChannelSuccess(success) => {
            let len = usize::from(success.extranonce_size);
            channels.push(Channel::new(success.channel_id, len, stats));
        }
        MiningMessage::OpenMiningChannelError(error) => {
            bail!(
                "the server opens no channel: {}; try another --user or --hashrate",
                error.error_code
            )
        }
        other => take_work(channels, other),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tip(channel_id: u32, job_id: u32) -> MiningMessage<'static> {
        MiningMessage::SetNewPrevHash(SetNewPrevHash {
            channel_id,
            job_id,
            prev_hash: U256([1; 32]),
            min_ntime: 1_700_000_000,
            nbits: 0x1703_4219,
        })
    }

    fn job(channel_id: u32, job_id: u32) -> MiningMessage<'static> {
        MiningMessage::NewMiningJob(NewMiningJob {
            channel_id,
            job_id,
            min_ntime: None,
            version: 0x2000_0000,
            merkle_root: U256([2; 32]),
        })
    }

    #[test]
    fn a_future_job_is_mined_from_its_tip_on_by_the_channels_it_is_for() {
        let stats = Rc::default();
        let mut channels = vec![Channel::new(1, 0, &stats), Channel::new(2, 0, &stats)];
        for message in [job(1, 5), job(9, 6), tip(9, 6)] {
            take_work(&mut channels, &message);
        }
        let share = |channel: &mut Channel| SubmitSharesStandard::from_bytes(channel.next_share());
        for channel in &mut channels {
            channel.next_share();
            let second = share(channel).unwrap();
            assert_eq!((second.channel_id, second.job_id), (channel.id, 6));
            assert_eq!((second.sequence_number, second.nonce), (1, 1));
            assert_eq!(second.ntime, 1_700_000_000);
        }
    }

    #[test]
    fn acknowledgements_and_errors_are_counted() {
        let (stats, now) = (Rc::new(Stats::default()), Instant::now());
        let mut channels = [Channel::new(1, 0, &stats)];
        (0..4).for_each(|sequence| channels[0].waiting.sent(sequence, now));
        let error = SubmitSharesError {
            channel_id: 1,
            sequence_number: 1,
            error_code: "stale-share".try_into().unwrap(),
        };
        let kind = SubmitSharesError::KIND;
        take(&mut channels, &stats, kind.msg_type, &error.to_vec(), now);
        let success = SubmitSharesSuccess {
            channel_id: 1,
            last_sequence_number: 2,
            new_submits_accepted_count: 2,
            new_shares_sum: 0,
        };
        let kind = SubmitSharesSuccess::KIND;
        take(&mut channels, &stats, kind.msg_type, &success.to_vec(), now);
        assert_eq!(channels[0].waiting.len(), 1);
        assert_eq!(stats.accepted.get(), 2);
        assert_eq!(stats.rejected.borrow()["stale-share"], 1);
    }
}
