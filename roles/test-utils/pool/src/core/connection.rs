//! One client's connection: the honest server that every role has, and what is done to it.

use std::collections::VecDeque;
use std::sync::Arc;

use const_sv2::Protocol;
use roles_logic_sv2::channels::server::{Grant, OpenRefusal, OpenRequest, ServerChannels};
use roles_logic_sv2::channels::{ChannelKind, WorkTerms};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::downstream::{
    ChannelOwner, DownstreamOutput, DownstreamSession, DownstreamTerms, JudgedShare as Judged,
    Outgoing,
};
use roles_logic_sv2::extranonce::ExtranonceError;
use roles_logic_sv2::messages::{Peer, Router};

use crate::event::{ConnectionId, Event, JudgedShare};
use crate::misbehaviour::{Delivery, Lie, Reception};

use super::frame::{Output, UNKNOWN};
use super::hub::{Hub, PAYOUT};
use super::lie::Place;
use super::post::Post;
use super::reception::Instead;

#[derive(Debug)]
pub(super) struct Connection {
    id: ConnectionId,
    session: DownstreamSession,
    post: Post,
    is_ended: bool,
}

/// What holds for all connections while one is told something.
pub(super) struct Around<'a> {
    pub(super) hub: &'a mut Hub,
    pub(super) receptions: Vec<&'a Reception>,
    pub(super) deliveries: Vec<&'a Delivery>,
    pub(super) events: &'a mut VecDeque<Event>,
    pub(super) now: Now,
}

impl Connection {
    pub(super) fn new(id: ConnectionId, terms: Arc<DownstreamTerms>, now: Now) -> Self {
        Self {
            id,
            session: DownstreamSession::new(terms, now),
            post: Post::default(),
            is_ended: false,
        }
    }

    pub(super) fn handle_frame(
        &mut self,
        extension_type: u16,
        msg_type: u8,
        payload: &[u8],
        around: &mut Around<'_>,
    ) {
        if self.is_ended {
            return;
        }
        let router = Router::new(Protocol::MINING, Peer::Client);
        let routed = router.route(extension_type, msg_type, payload);
        let message = routed.as_ref().ok().map(|routed| &routed.message);
        around.events.push_back(Event::Received {
            connection: self.id,
            message: message.map_or(UNKNOWN, |message| message.kind().name),
        });
        let instead = message.and_then(|message| {
            let mut receptions = around.receptions.iter();
            receptions.find_map(|reception| reception.meet(message))
        });
        match instead {
            None => self.handle_rightly(extension_type, msg_type, payload, around),
            Some(Instead::Nothing) => {}
            Some(Instead::Say(answer)) => self.say(vec![answer], around),
            Some(Instead::SayAndClose(answer)) => {
                self.say(vec![answer], around);
                self.end("refused by command".to_owned(), around.now);
            }
        }
    }

    fn handle_rightly(
        &mut self,
        extension_type: u16,
        msg_type: u8,
        payload: &[u8],
        around: &mut Around<'_>,
    ) {
        let mut owner = Owner {
            id: self.id,
            hub: around.hub,
            events: around.events,
        };
        let now = around.now;
        self.session
            .handle_frame(extension_type, msg_type, payload, &mut owner, now);
        self.collect(around);
    }

    /// There is other work.
    pub(super) fn handle_work(&mut self, around: &mut Around<'_>) {
        let work = around.hub.work.clone();
        self.session.handle_work(&work, around.now);
        self.collect(around);
    }

    pub(super) fn handle_timeout(&mut self, around: &mut Around<'_>) {
        self.session.handle_timeout(around.now);
        self.collect(around);
    }

    /// Some of what was told is over.
    pub(super) fn behave(&mut self, around: &Around<'_>) {
        self.post.behave(&around.deliveries, around.now.instant);
    }

    /// Tells a lie; whether there was somebody to tell it to. It goes past all that waits.
    pub(super) fn lie(
        &mut self,
        lie: &Lie,
        outputs: &mut Vec<Output>,
        around: &mut Around<'_>,
    ) -> bool {
        if self.is_ended {
            return false;
        }
        let told = lie.tell(&mut Place {
            session: &mut self.session,
            hub: around.hub,
            outputs,
            now: around.now,
        });
        self.collect(around);
        told.is_some()
    }

    /// The client is gone.
    pub(super) fn handle_disconnected(&mut self, hub: &mut Hub) {
        self.session.handle_disconnected();
        while let Some(output) = self.session.poll_output() {
            if let DownstreamOutput::Released(prefix)
            | DownstreamOutput::Closed {
                extranonce_prefix: prefix,
                ..
            } = output
            {
                hub.extranonces.release(prefix);
            }
        }
    }

    /// What is to be sent now.
    pub(super) fn due(&mut self, now: Instant) -> Option<Output> {
        self.post.due(now)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let timeouts = [self.session.poll_timeout(), self.post.poll_timeout()];
        timeouts.into_iter().flatten().min()
    }

    fn say(&mut self, batch: Vec<Outgoing>, around: &Around<'_>) {
        let now = around.now.instant;
        self.post.take(batch, &around.deliveries, now);
    }

    fn end(&mut self, reason: String, now: Now) {
        self.is_ended = true;
        self.post.close(reason, now.instant);
    }

    /// Takes what the session wants done; what it says at once leaves together.
    fn collect(&mut self, around: &mut Around<'_>) {
        let mut batch = Vec::new();
        let mut end = None;
        while let Some(output) = self.session.poll_output() {
            match output {
                DownstreamOutput::Send(message) => batch.push(message),
                // Nothing is stored: what is accepted is acknowledged at once.
                DownstreamOutput::Persist(shares) => {
                    self.session.handle_persisted(shares, around.now);
                }
                DownstreamOutput::SubmitBlock(block) => around.events.push_back(Event::Block {
                    connection: self.id,
                    channel_id: block.channel_id,
                }),
                DownstreamOutput::Released(prefix)
                | DownstreamOutput::Closed {
                    extranonce_prefix: prefix,
                    ..
                } => around.hub.extranonces.release(prefix),
                // Channels end here, so nothing is handed on.
                DownstreamOutput::Forward(_) => {}
                DownstreamOutput::Close(reason) => end = Some(reason.to_string()),
            }
        }
        if !batch.is_empty() {
            self.say(batch, around);
        }
        if let Some(reason) = end {
            self.end(reason, around.now);
        }
    }
}

/// Opens channels for everybody.
struct Owner<'a> {
    id: ConnectionId,
    hub: &'a mut Hub,
    events: &'a mut VecDeque<Event>,
}

impl ChannelOwner for Owner<'_> {
    fn open(
        &mut self,
        channels: &mut ServerChannels,
        request: OpenRequest,
        user_identity: &[u8],
        now: Now,
    ) {
        let kind = request.kind();
        let extranonces = &mut self.hub.extranonces;
        let prefix = match kind {
            ChannelKind::Standard => extranonces.allocate_standard(),
            ChannelKind::Extended => {
                extranonces.allocate_extended(usize::from(request.min_extranonce_size()))
            }
        };
        let extranonce_prefix = match prefix {
            Ok(prefix) => prefix,
            Err(ExtranonceError::MinSizeTooLarge { .. }) => {
                return channels.refuse(request, OpenRefusal::MinExtranonceSizeTooLarge);
            }
            Err(_) => return channels.refuse(request, OpenRefusal::CapacityExhausted),
        };
        let grant = Grant {
            payout: PAYOUT,
            extranonce_prefix,
            full_extranonce_size: extranonces.full_size(),
            terms: WorkTerms::Own,
        };
        channels.handle_work(&self.hub.work);
        match channels.open(request, grant, now) {
            Ok(channel_id) => self.events.push_back(Event::Opened {
                connection: self.id,
                channel_id,
                group_id: channels
                    .channel(channel_id)
                    .map_or(0, |channel| channel.group_id()),
                kind,
                user_identity: String::from_utf8_lossy(user_identity).into_owned(),
            }),
            Err(failed) => self.hub.extranonces.release(failed.extranonce_prefix),
        }
    }

    fn judged(&mut self, share: &Judged<'_>, _: &ServerChannels) {
        let outcome = share.verdict.outcome;
        self.events.push_back(Event::Share(JudgedShare {
            connection: self.id,
            channel_id: share.channel_id,
            sequence_number: share.sequence_number,
            job_id: share.job_id,
            verdict: outcome.map(|share| share.difficulty.to_f64()),
        }));
    }
}
