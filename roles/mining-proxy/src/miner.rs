//! A miner's connection.

use std::net::SocketAddr;
use std::rc::Rc;

use mining_proxy_core::{MinerId, MinerOutput};
use network_helpers_sv2::{CloseReason, LineConnection, LineTooLong, Stream};
use roles_logic_sv2::clock::{Instant, Now};
use stratum_runtime::{LineCore, LineShell, Refusal, miner_end};
use sv1_api::server::CloseReason as Sv1Reason;
use tokio::sync::Notify;

use crate::front::Front;

/// A miner among the others of its thread; none when there are too many.
pub(crate) struct Miner {
    front: Rc<Front>,
    id: Option<MinerId>,
}

impl Miner {
    pub(crate) fn new(front: &Rc<Front>, peer: SocketAddr) -> (Self, MinerShell) {
        let id = front.with(|core| core.miner_connected(front.clock.now()));
        if id.is_none() {
            front.context.gate.refuse(Refusal::Total);
        }
        let wake = id.map(|id| front.register(id)).unwrap_or_default();
        let miner = Self {
            front: front.clone(),
            id,
        };
        let shell = MinerShell {
            front: front.clone(),
            peer,
            wake,
        };
        (miner, shell)
    }
}

impl Drop for Miner {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.front.forget_miner(id);
            self.front
                .with(|core| core.miner_closed(id, self.front.clock.now()));
            self.front.settle();
        }
    }
}

impl LineCore for Miner {
    type Output = MinerOutput;

    fn handle_line(&mut self, line: &[u8], now: Now) {
        if let Some(id) = self.id {
            self.front.with(|core| core.handle_line(id, line, now));
        }
    }

    fn handle_long_line(&mut self, error: LineTooLong, now: Now) {
        if let Some(id) = self.id {
            self.front
                .with(|core| core.handle_long_line(id, error, now));
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        if let Some(id) = self.id {
            self.front.with(|core| core.handle_miner_timeout(id, now));
        }
    }

    fn poll_output(&mut self) -> Option<MinerOutput> {
        let Some(id) = self.id else {
            return Some(MinerOutput::Close(Sv1Reason::TooManyHeld));
        };
        let output = self.front.with(|core| core.poll_miner_output(id));
        if output.is_none() {
            self.front.settle();
        }
        output
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let id = self.id?;
        self.front.with(|core| core.poll_miner_timeout(id))
    }
}

pub(crate) struct MinerShell {
    front: Rc<Front>,
    peer: SocketAddr,
    wake: Rc<Notify>,
}

impl LineShell<Miner> for MinerShell {
    async fn changed(&mut self) {
        self.wake.notified().await;
    }

    fn deliver(&mut self, _: &mut Miner, _: Now) {}

    fn output<S: Stream>(
        &mut self,
        output: MinerOutput,
        _: &mut Miner,
        connection: &mut LineConnection<S>,
    ) -> Result<(), CloseReason> {
        match output {
            MinerOutput::Send(line) => connection.queue(&line),
            MinerOutput::Close(reason) => {
                tracing::debug!(peer = %self.peer, %reason, "closing the connection");
                let context = &self.front.context;
                miner_end::ban(&context.gate, self.peer, reason, self.front.config().ban);
                Err(miner_end::close_reason(reason))
            }
        }
    }
}
