//! One miner's connection: the core, driven by the socket, the templates and the program's end.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use framing_sv2::Sv2Frame;
use network_helpers_sv2::{CloseReason, Connection, Stream};
use pool_core::downstream::{Downstream, Output};
use pool_core::shard::Shard;
use roles_logic_sv2::channels::server::{BlockFound, PendingAck, ServerMessage};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::downstream::{self, Outgoing};
use roles_logic_sv2::template_client::ActiveTemplate;
use stratum_runtime::{Core, Phase, Shell, SystemClock};
use tokio::sync::{mpsc, watch};

use crate::counters::{Named, Shares};
use crate::ledger::{NullLedger, ShareRecord};

/// What the connections of one core share; it never leaves its core.
pub(crate) type LocalShard = Rc<RefCell<Shard>>;

/// The core, as the runtime drives it.
pub(crate) struct Session {
    pub(crate) downstream: Downstream,
    shard: LocalShard,
}

impl Session {
    pub(crate) fn new(shard: LocalShard, now: Now) -> Self {
        let downstream = Downstream::new(&shard.borrow(), now);
        Self { downstream, shard }
    }

    /// The connection is gone; what is left to be done comes as outputs.
    pub(crate) fn handle_disconnected(&mut self) {
        self.downstream
            .handle_disconnected(&mut self.shard.borrow_mut());
    }
}

impl Core for Session {
    type Output = Output;

    fn handle_frame(&mut self, frame: Sv2Frame<'_>, now: Now) {
        let header = frame.header();
        let (extension_type, msg_type) = (header.extension_type(), header.msg_type());
        self.downstream.handle_frame(
            extension_type,
            msg_type,
            frame.payload(),
            &mut self.shard.borrow_mut(),
            now,
        );
    }

    fn handle_timeout(&mut self, now: Now) {
        self.downstream
            .handle_timeout(&mut self.shard.borrow_mut(), now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.downstream.poll_output()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.downstream.poll_timeout()
    }
}

/// Templates as they come; `None` before the first.
pub(crate) type Templates = watch::Receiver<Option<Arc<ActiveTemplate>>>;

/// Brings a core's shard up to date: the first connection that hears of a template does it for all.
pub(crate) fn refresh(shard: &LocalShard, templates: &mut Templates, rejects: &Named) {
    // Taken out, as the source cannot hand over the next template while one is borrowed.
    let newest = templates.borrow_and_update().clone();
    let Some(active) = newest else { return };
    let mut shard = shard.borrow_mut();
    let known = shard.active();
    if known.is_some_and(|known| Arc::ptr_eq(known, &active)) {
        return;
    }
    let failed_before = shard.jobs_failed();
    shard.handle_template(&active);
    let failed = shard.jobs_failed() - failed_before;
    if failed > 0 {
        rejects.add("job-not-made", failed);
        let template_id = active.template().template_id;
        tracing::error!(
            template_id,
            failed,
            "no coinbase can be made of this template: its miners go on with the last one; check the template provider"
        );
    }
}

/// Where the outputs of all connections go.
#[derive(Clone)]
pub(crate) struct Sinks {
    pub(crate) blocks: mpsc::Sender<Box<BlockFound>>,
    pub(crate) shares: Arc<Shares>,
    pub(crate) rejects: Arc<Named>,
    pub(crate) ledger: NullLedger,
}

impl Sinks {
    pub(crate) fn submit(&self, block: Box<BlockFound>) {
        if let Err(error) = self.blocks.try_send(block) {
            // As many blocks wait already, all of them for tips that cannot all be won.
            self.rejects.add("block-queue-full", 1);
            tracing::error!(%error, "a block was not handed in: too many wait");
        }
    }

    /// Hands shares to the ledger; whether it has them.
    pub(crate) fn store(&self, user_identity: &[u8], shares: &PendingAck) -> bool {
        self.shares.count(shares.slice());
        self.ledger.store(&ShareRecord {
            user_identity,
            shares,
        })
    }
}

/// What a connection hears of from the rest of the program.
pub(crate) struct News {
    pub(crate) templates: Templates,
    phase: watch::Receiver<Phase>,
    has_new_template: bool,
    drains: bool,
}

impl News {
    pub(crate) fn new(templates: Templates, phase: watch::Receiver<Phase>) -> Self {
        Self {
            templates,
            phase,
            has_new_template: false,
            drains: false,
        }
    }

    /// Waits until there is something new. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        if self.has_new_template {
            return;
        }
        let templates = &mut self.templates;
        let new_template = async {
            if templates.changed().await.is_err() {
                // The template source has ended with the program.
                std::future::pending().await
            }
        };
        tokio::select! {
            () = new_template => self.has_new_template = true,
            _ = self.phase.wait_for(|phase| *phase > Phase::Running), if !self.drains => self.drains = true,
        }
    }

    /// Whether a template has come since the last call.
    pub(crate) const fn take_new_template(&mut self) -> bool {
        std::mem::replace(&mut self.has_new_template, false)
    }

    /// Whether the program drains.
    pub(crate) const fn drains(&self) -> bool {
        self.drains
    }
}

/// Connects a session with the rest of the program.
pub(crate) struct Wiring {
    news: News,
    sinks: Sinks,
    clock: SystemClock,
}

impl Wiring {
    pub(crate) fn new(
        templates: Templates,
        phase: watch::Receiver<Phase>,
        sinks: Sinks,
        clock: SystemClock,
    ) -> Self {
        Self {
            news: News::new(templates, phase),
            sinks,
            clock,
        }
    }

    /// Carries out an output that needs no connection; gives back one that does.
    pub(crate) fn settle(&self, output: Output, session: &mut Session) -> Option<Output> {
        match output {
            Output::SubmitBlock(block) => self.sinks.submit(block),
            Output::Persist {
                user_identity,
                shares,
            } => {
                if self.sinks.store(&user_identity, &shares) {
                    let now = self.clock.now();
                    session.downstream.handle_persisted(
                        shares,
                        &mut session.shard.borrow_mut(),
                        now,
                    );
                }
            }
            other => return Some(other),
        }
        None
    }
}

impl Shell<Session> for Wiring {
    async fn changed(&mut self) {
        self.news.changed().await;
    }

    fn deliver(&mut self, session: &mut Session, now: Now) {
        if self.news.take_new_template() {
            refresh(
                &session.shard,
                &mut self.news.templates,
                &self.sinks.rejects,
            );
            session
                .downstream
                .handle_work(&mut session.shard.borrow_mut(), now);
        }
        if self.news.drains() {
            session
                .downstream
                .drain("", 0, &mut session.shard.borrow_mut(), now);
        }
    }

    fn output<S: Stream>(
        &mut self,
        output: Output,
        session: &mut Session,
        connection: &mut Connection<S>,
    ) -> Result<(), CloseReason> {
        match self.settle(output, session) {
            Some(Output::Send(message)) => {
                self.count_reject(&message);
                connection.queue_as(message.kind(), &message, &[])
            }
            Some(Output::Close(reason)) => {
                tracing::debug!(%reason, "closing the connection");
                self.sinks.rejects.add(reason.label(), 1);
                Err(close_reason(&reason))
            }
            Some(Output::Persist { .. } | Output::SubmitBlock(_)) | None => Ok(()),
        }
    }
}

impl Wiring {
    fn count_reject(&self, message: &Outgoing) {
        if let Outgoing::Mining(ServerMessage::SubmitSharesError(error)) = message {
            self.sinks.shares.count_rejected(&error.error_code);
        }
    }
}

pub(crate) const fn close_reason(reason: &downstream::CloseReason) -> CloseReason {
    match reason {
        downstream::CloseReason::SetupTimeout | downstream::CloseReason::ChannelTimeout => {
            CloseReason::Idle
        }
        downstream::CloseReason::Drained => CloseReason::Shutdown,
        _ => CloseReason::Protocol,
    }
}

#[cfg(test)]
mod tests;
