//! One device, from its setup to its last share, without a socket: frames and the time in, messages out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use binary_sv2::{Message, Str0255, U256};
use common_messages_sv2::{CommonMessage, SetupConnectionSuccess};
use const_sv2::MessageKind;
use const_sv2::mining::REQUIRES_STANDARD_JOBS;
use framing_sv2::Header;
use mining_sv2::{
    MiningMessage, OpenExtendedMiningChannel, OpenExtendedMiningChannelSuccess,
    OpenStandardMiningChannel, OpenStandardMiningChannelSuccess,
};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::messages::AnyMessage;
use roles_logic_sv2::setup::{Endpoint, SetupRequest};
use roles_logic_sv2::target::Target;

use super::channel::Channel;
use super::log::Log;
use super::rule::Rule;
use super::work::Extranonce;
use super::{CLAIMED_HASHRATE, EXTRANONCE_SIZE, MAX_EXTRANONCE_SIZE, MAX_FRAME_LEN, MAX_SILENCE};
use crate::args::ChannelType;

/// How often a device hands its chips' finds in.
const TICK: Duration = Duration::from_millis(50);

/// The only request of a connection.
const REQUEST_ID: u32 = 1;

/// What a device is told before it starts.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: Str0255<'static>,
    pub(super) channel: ChannelType,
    /// Hashes a second that it really does.
    pub(super) hashrate: f64,
    /// How long it mines, its connecting included.
    pub(super) duration: Duration,
    /// Accepted shares after which it is done early.
    pub(super) shares: Option<u64>,
}

#[derive(Debug, Default)]
enum Phase {
    AwaitsSetup,
    AwaitsChannel,
    Mines(Box<Channel>),
    #[default]
    Over,
}

/// A device on its connection.
#[derive(Debug)]
pub(super) struct Device {
    terms: Arc<Terms>,
    phase: Phase,
    until: Instant,
    last_frame: Instant,
    /// Up to when the hashes are done.
    hashed: Instant,
    outputs: VecDeque<AnyMessage<'static>>,
    log: Log,
}

impl Device {
    /// A device that is connected, and began to connect when `log` did.
    pub(super) fn new(terms: Arc<Terms>, log: Log, now: Now) -> Self {
        let until = now.instant + terms.duration.saturating_sub(log.age(now));
        let setup = setup(&terms);
        Self {
            terms,
            phase: Phase::AwaitsSetup,
            until,
            last_frame: now.instant,
            hashed: now.instant,
            outputs: VecDeque::from([setup]),
            log,
        }
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    #[cfg(test)]
    pub(super) const fn log(&self) -> &Log {
        &self.log
    }

    pub(super) fn into_log(self) -> Log {
        self.log
    }

    /// The next message to send, in a write of its own.
    pub(super) fn poll_output(&mut self) -> Option<AnyMessage<'static>> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let end = self.until.min(self.last_frame + MAX_SILENCE);
        let channel = match &self.phase {
            Phase::Over => return None,
            Phase::Mines(channel) => channel,
            Phase::AwaitsSetup | Phase::AwaitsChannel => return Some(end),
        };
        let tick = channel.has_work().then(|| self.hashed + TICK);
        let times = [Some(end), tick, channel.poll_timeout()];
        times.into_iter().flatten().min()
    }

    /// Takes a frame of the server.
    pub(super) fn handle_frame(&mut self, msg_type: u8, payload: &[u8], now: Now) {
        self.last_frame = now.instant;
        let len = Header::LEN + payload.len();
        let seen = &mut self.log.seen;
        seen.frames += 1;
        seen.largest_frame_bytes = seen.largest_frame_bytes.max(len);
        if len > MAX_FRAME_LEN {
            let what = format!(
                "sends a frame of {len} bytes (message 0x{msg_type:02x}): the firmware ends the connection at more \
                 than {MAX_FRAME_LEN}"
            );
            return self.give_up(Rule::FrameTooLong, what, now);
        }
        match &mut self.phase {
            Phase::AwaitsSetup => self.set_up(msg_type, payload, now),
            Phase::AwaitsChannel => self.open(msg_type, payload, now),
            Phase::Mines(channel) => channel.handle_frame(msg_type, payload, now, &mut self.log),
            Phase::Over => {}
        }
    }

    /// The connection has ended.
    pub(super) fn handle_end(&mut self, reason: &str, now: Now) {
        if !self.is_over() {
            let reconnect = match self.log.seen.ignored("Reconnect") {
                0 => "",
                _ => "; it had sent Reconnect, which the firmware ignores",
            };
            let what = format!("ends the connection ({reason}){reconnect}");
            self.give_up(Rule::ConnectionLost, what, now);
        }
    }

    /// Hashes, and looks whether it is time for anything else.
    pub(super) fn handle_timeout(&mut self, now: Now) {
        if self.is_over() {
            return;
        }
        if now.instant >= self.last_frame + MAX_SILENCE {
            let secs = MAX_SILENCE.as_secs();
            let what = format!("sends nothing for {secs} s: the firmware ends the connection then");
            return self.give_up(Rule::Silence, what, now);
        }
        self.mine(now);
        let accepted = self.log.seen.accepted;
        let has_enough = self.terms.shares.is_some_and(|shares| accepted >= shares);
        if has_enough || now.instant >= self.until {
            self.end(now);
        }
    }

    fn mine(&mut self, now: Now) {
        let Phase::Mines(channel) = &mut self.phase else {
            return;
        };
        channel.handle_timeout(now, &mut self.log);
        if !channel.has_work() {
            self.hashed = now.instant;
            return;
        }
        // What a busy machine could not hash in time stays undone.
        let elapsed = now.instant - self.hashed;
        if elapsed < TICK {
            return;
        }
        self.hashed = now.instant;
        let hashes = self.terms.hashrate * elapsed.min(TICK * 2).as_secs_f64();
        let shares = channel.mine(hashes.max(1.0) as u32, &mut self.log);
        self.outputs
            .extend(shares.into_iter().map(AnyMessage::from));
    }

    fn end(&mut self, now: Now) {
        if self.log.seen.accepted == 0 {
            let what = self.why_none();
            self.log.fail(Rule::NoShareAccepted, what, now);
        }
        self.phase = Phase::Over;
    }

    fn why_none(&self) -> String {
        let secs = self.terms.duration.as_secs_f64();
        let state = match &self.phase {
            Phase::Mines(channel) => format!(
                "it claims {CLAIMED_HASHRATE:e} hashes a second and does {:e}; its difficulty is {:.3e} after {} SetTarget \
                 and {} jobs",
                self.terms.hashrate,
                channel.target().difficulty_f64(),
                self.log.seen.targets,
                self.log.seen.jobs,
            ),
            _ => "it has no channel".to_owned(),
        };
        format!(
            "accepts none of {} shares of a device in {secs} s: {state}",
            self.log.seen.submitted
        )
    }

    /// A failure after which the firmware has no connection, or no channel.
    fn give_up(&mut self, rule: Rule, what: String, now: Now) {
        self.log.fail(rule, what, now);
        self.outputs.clear();
        self.phase = Phase::Over;
    }

    fn set_up(&mut self, msg_type: u8, payload: &[u8], now: Now) {
        let message = CommonMessage::parse(msg_type, payload);
        match message {
            Ok(CommonMessage::SetupConnectionSuccess(_)) => {
                self.outputs.push_back(open_channel(&self.terms));
                self.phase = Phase::AwaitsChannel;
            }
            Ok(CommonMessage::SetupConnectionError(error)) => {
                let what = format!("refuses the setup: {}", error.error_code);
                self.give_up(Rule::Refused, what, now);
            }
            _ => self.not_next(&SetupConnectionSuccess::KIND, msg_type, now),
        }
    }

    fn open(&mut self, msg_type: u8, payload: &[u8], now: Now) {
        let wanted = match self.terms.channel {
            ChannelType::Standard => &OpenStandardMiningChannelSuccess::KIND,
            ChannelType::Extended => &OpenExtendedMiningChannelSuccess::KIND,
        };
        let message = MiningMessage::parse(msg_type, payload);
        match (self.terms.channel, message) {
            (
                ChannelType::Standard,
                Ok(MiningMessage::OpenStandardMiningChannelSuccess(success)),
            ) => {
                let ids = (success.channel_id, success.group_channel_id);
                let target = Target::from_le_bytes(success.target.0);
                self.opened(ids, target, Extranonce::default());
            }
            (
                ChannelType::Extended,
                Ok(MiningMessage::OpenExtendedMiningChannelSuccess(success)),
            ) => {
                if let Err(what) = check_extranonce(&success) {
                    return self.give_up(Rule::ExtranonceSize, what, now);
                }
                let ids = (success.channel_id, success.group_channel_id);
                let target = Target::from_le_bytes(success.target.0);
                let extranonce = Extranonce {
                    prefix: success.extranonce_prefix.as_bytes().to_vec(),
                    size: usize::from(success.extranonce_size),
                };
                self.opened(ids, target, extranonce);
            }
            (_, Ok(MiningMessage::OpenMiningChannelError(error))) => {
                let what = format!("opens no channel: {}", error.error_code);
                self.give_up(Rule::Refused, what, now);
            }
            _ => self.not_next(wanted, msg_type, now),
        }
    }

    fn opened(&mut self, ids: (u32, u32), target: Target, extranonce: Extranonce) {
        let channel = Channel::new(self.terms.channel, ids, target, extranonce);
        self.phase = Phase::Mines(Box::new(channel));
    }

    fn not_next(&mut self, wanted: &MessageKind, msg_type: u8, now: Now) {
        let what = format!(
            "sends message 0x{msg_type:02x} where {} is due: to the firmware the next frame is the answer, and nothing \
             else",
            wanted.name
        );
        self.give_up(Rule::NotNextFrame, what, now);
    }
}

fn check_extranonce(success: &OpenExtendedMiningChannelSuccess<'_>) -> Result<(), String> {
    let size = success.extranonce_size;
    if (EXTRANONCE_SIZE..=MAX_EXTRANONCE_SIZE).contains(&size) {
        return Ok(());
    }
    Err(format!(
        "leaves the firmware {size} extranonce bytes: it asks for {EXTRANONCE_SIZE}, and has room for \
         {MAX_EXTRANONCE_SIZE}"
    ))
}

fn setup(terms: &Terms) -> AnyMessage<'static> {
    let flags = match terms.channel {
        ChannelType::Standard => REQUIRES_STANDARD_JOBS,
        ChannelType::Extended => 0,
    };
    // What deployed firmware says of itself; it leaves the other fields empty.
    let endpoint = Endpoint {
        host: terms.host.clone().try_into().unwrap_or_default(),
        port: terms.port,
        vendor: "bitaxe".try_into().unwrap_or_default(),
        hardware_version: "BM1370".try_into().unwrap_or_default(),
        ..Endpoint::default()
    };
    CommonMessage::from(SetupRequest::mining(flags).message(&endpoint)).into()
}

fn open_channel(terms: &Terms) -> AnyMessage<'static> {
    let user_identity = terms.user.clone();
    let max_target = U256([0xff; 32]);
    let message = match terms.channel {
        ChannelType::Standard => MiningMessage::from(OpenStandardMiningChannel {
            request_id: REQUEST_ID,
            user_identity,
            nominal_hash_rate: CLAIMED_HASHRATE,
            max_target,
        }),
        ChannelType::Extended => MiningMessage::from(OpenExtendedMiningChannel {
            request_id: REQUEST_ID,
            user_identity,
            nominal_hash_rate: CLAIMED_HASHRATE,
            max_target,
            min_extranonce_size: EXTRANONCE_SIZE,
        }),
    };
    message.into()
}
