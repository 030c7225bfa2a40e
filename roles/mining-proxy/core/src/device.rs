//! The Sv2 devices that are connected.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use roles_logic_sv2::channels::server::{OpenRequest, ServerChannels};
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::downstream::{
    ChannelOwner, CloseReason, DownstreamOutput, DownstreamSession, DownstreamTerms, JudgedShare,
    Outgoing,
};
use roles_logic_sv2::extranonce::ExtranoncePrefix;
use roles_logic_sv2::job::RelayedWork;
use roles_logic_sv2::messages::{ForeignFrame, ForwardedFrame};
use roles_logic_sv2::share::RejectReason;
use roles_logic_sv2::target::Difficulty;

use crate::miner::MinerId;
use crate::slots::SlotId;

/// Requests for channels of one device that wait for an upstream. Of more, further ones are refused.
pub const MAX_WAITING_OPENS: usize = 1_024;

/// Room kept for outputs when there are none.
const OUTPUTS_KEPT: usize = 16;

/// One device, as long as it is connected.
pub type DeviceId = SlotId<Device>;

/// What is to be done for one device.
#[derive(Debug)]
pub enum DeviceOutput {
    /// Send this.
    Send(Outgoing),
    /// Send this as it is.
    Forward(ForwardedFrame),
    /// Send what is queued, then close; nothing follows.
    Close(CloseReason),
}

/// A share for the upstream that its job came from.
#[derive(Clone, Debug)]
pub(crate) struct DeviceShare {
    pub(crate) relayed: Arc<RelayedWork>,
    pub(crate) nonce: u32,
    pub(crate) ntime: u32,
    pub(crate) version: u32,
    /// The upstream channel's part of the extranonce.
    pub(crate) extranonce: Vec<u8>,
    /// Who found it, where the device says so.
    pub(crate) worker: Option<Arc<str>>,
    pub(crate) is_block: bool,
}

/// What the rules of a connection leave to the proxy.
#[derive(Debug)]
pub(crate) enum DeviceEvent {
    /// Answer this.
    Open {
        request: OpenRequest,
        user_identity: String,
    },
    /// A share was judged; what counts upstream is to be handed in.
    Judged {
        channel_id: u32,
        sequence_number: u32,
        outcome: Result<Difficulty, RejectReason>,
        /// The connection that the job came on.
        source: Option<u64>,
        share: Option<DeviceShare>,
    },
    /// The hash rate or the limit of a channel is another one.
    Updated { channel_id: u32 },
    /// A channel is gone.
    Closed {
        channel_id: u32,
        extranonce_prefix: ExtranoncePrefix,
    },
    /// A prefix is free.
    Released(ExtranoncePrefix),
    /// For the endpoint of a channel.
    Forward {
        channel_id: u32,
        frame: ForwardedFrame,
    },
}

/// One device.
#[derive(Debug)]
pub struct Device {
    session: DownstreamSession,
    /// Who mines on each channel.
    pub(crate) leaves: BTreeMap<u32, MinerId>,
    /// Requests that wait for an upstream.
    pub(crate) waiting: Vec<(MinerId, OpenRequest)>,
    pub(crate) is_woken: bool,
    events: VecDeque<DeviceEvent>,
    outputs: VecDeque<DeviceOutput>,
}

/// Writes down what is to be decided.
struct Notebook<'a>(&'a mut VecDeque<DeviceEvent>);

impl ChannelOwner for Notebook<'_> {
    fn open(&mut self, _: &mut ServerChannels, request: OpenRequest, identity: &[u8], _: Now) {
        self.0.push_back(DeviceEvent::Open {
            request,
            user_identity: String::from_utf8_lossy(identity).into_owned(),
        });
    }

    fn judged(&mut self, share: &JudgedShare<'_>, channels: &ServerChannels) {
        let verdict = share.verdict;
        let credit = verdict.outcome.as_ref().ok();
        let job = channels.job(share.channel_id, share.job_id);
        let relayed = job.and_then(|(job, prefix)| Some((job.relayed_work()?, prefix)));
        let counts = |relayed: &RelayedWork| {
            credit.is_some_and(|credit| relayed.work().target().is_met_by(&credit.hash))
        };
        let passed_on = relayed.filter(|(relayed, _)| verdict.block.is_some() || counts(relayed));
        let passed_on = passed_on.map(|(relayed, prefix)| DeviceShare {
            extranonce: relayed.extranonce(prefix, share.share.extranonce),
            relayed: relayed.clone(),
            nonce: share.share.nonce,
            ntime: share.share.ntime,
            version: share.share.version,
            worker: share
                .worker
                .map(|worker| String::from_utf8_lossy(worker).into()),
            is_block: verdict.block.is_some(),
        });
        self.0.push_back(DeviceEvent::Judged {
            channel_id: share.channel_id,
            sequence_number: share.sequence_number,
            outcome: verdict.outcome.map(|credit| credit.difficulty),
            source: relayed.map(|(relayed, _)| relayed.source()),
            share: passed_on,
        });
    }

    fn updated(&mut self, channel_id: u32) {
        self.0.push_back(DeviceEvent::Updated { channel_id });
    }

    fn forward(&mut self, frame: &ForeignFrame<'_>) -> bool {
        self.0.push_back(DeviceEvent::Forward {
            channel_id: frame.channel_id,
            frame: frame.for_channel(frame.channel_id),
        });
        true
    }
}

impl Device {
    pub(crate) fn new(terms: Arc<DownstreamTerms>, now: Now) -> Self {
        Self {
            session: DownstreamSession::new(terms, now),
            leaves: BTreeMap::new(),
            waiting: Vec::new(),
            is_woken: false,
            events: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    pub(crate) const fn session(&self) -> &DownstreamSession {
        &self.session
    }

    pub(crate) fn handle_frame(
        &mut self,
        extension_type: u16,
        msg_type: u8,
        payload: &[u8],
        now: Now,
    ) {
        let mut notebook = Notebook(&mut self.events);
        self.session
            .handle_frame(extension_type, msg_type, payload, &mut notebook, now);
        self.collect(now);
    }

    /// Has the proxy act on the connection; `false` when nothing came of it.
    pub(crate) fn act(&mut self, now: Now, act: impl FnOnce(&mut DownstreamSession)) -> bool {
        act(&mut self.session);
        self.collect(now)
    }

    /// Has the proxy act on the channels; `None` before setup and after the end.
    pub(crate) fn with_channels<T>(
        &mut self,
        now: Now,
        act: impl FnOnce(&mut ServerChannels) -> T,
    ) -> Option<T> {
        let acted = self.session.with_channels(now, act);
        self.collect(now);
        acted
    }

    /// Takes what the connection wants done; whether that was anything.
    fn collect(&mut self, now: Now) -> bool {
        let mut is_anything = false;
        while let Some(output) = self.session.poll_output() {
            is_anything = true;
            match output {
                DownstreamOutput::Send(message) => {
                    self.outputs.push_back(DeviceOutput::Send(message));
                }
                DownstreamOutput::Forward(frame) => {
                    self.outputs.push_back(DeviceOutput::Forward(frame));
                }
                // What the device's own difficulty asked for is acknowledged here: most of it never leaves.
                DownstreamOutput::Persist(shares) => self.session.handle_persisted(shares, now),
                // It is handed in as a share, where its job came from.
                DownstreamOutput::SubmitBlock(_) => {}
                DownstreamOutput::Closed {
                    channel_id,
                    extranonce_prefix,
                } => self.events.push_back(DeviceEvent::Closed {
                    channel_id,
                    extranonce_prefix,
                }),
                DownstreamOutput::Released(prefix) => {
                    self.events.push_back(DeviceEvent::Released(prefix));
                }
                DownstreamOutput::Close(reason) => {
                    self.outputs.push_back(DeviceOutput::Close(reason));
                }
            }
        }
        is_anything
    }

    pub(crate) fn poll_event(&mut self) -> Option<DeviceEvent> {
        let event = self.events.pop_front();
        if event.is_none() {
            self.events.shrink_to(OUTPUTS_KEPT);
        }
        event
    }

    pub(crate) fn poll_output(&mut self) -> Option<DeviceOutput> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            // Its memory as well: most devices have nothing coming most of the time.
            self.outputs = VecDeque::new();
            if self.events.is_empty() {
                self.events = VecDeque::new();
            }
        }
        output
    }

    /// The request of a leaf that waits, to be answered.
    pub(crate) fn take_request(&mut self, leaf: MinerId) -> Option<OpenRequest> {
        let at = self.waiting.iter().position(|(id, _)| *id == leaf)?;
        Some(self.waiting.swap_remove(at).1)
    }
}
