//! A connection to an upstream.

use std::rc::Rc;

use binary_sv2::Message as _;
use extensions_sv2::WorkerIdentity;
use framing_sv2::Sv2Frame;
use mining_proxy_core::{Connect, LinkId, LinkOutput};
use mining_sv2::SubmitSharesExtended;
use network_helpers_sv2::{CloseReason, Connection, Endpoint, Stream, connect};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::upstream::OutgoingShare;
use stratum_runtime::{Core, Shell, drive};
use tokio::sync::Notify;

use crate::front::Front;

/// Connects, and serves the connection to its end.
pub(crate) async fn run(front: Rc<Front>, target: Connect, wake: Rc<Notify>) {
    let link = target.link;
    let end = tokio::select! {
        end = open_and_drive(&front, target, wake.clone()) => end,
        () = front.context.shutdown.ended() => "the program ends".to_owned(),
    };
    front.forget_link(link);
    let now = front.clock.now();
    front.with(|core| core.link_closed(link, &end, now));
    front.settle();
}

async fn open_and_drive(front: &Rc<Front>, target: Connect, wake: Rc<Notify>) -> String {
    let Connect {
        link,
        upstream,
        host,
        port,
    } = target;
    let Some(security) = front.security(upstream) else {
        return "not configured".to_owned();
    };
    let options = front.config().upstream_options;
    let endpoint = Endpoint {
        host,
        port,
        authority: None,
    };
    let opened = tokio::select! {
        opened = connect(&endpoint, &security, options) => opened,
        () = given_up(front, link, &wake) => return "given up".to_owned(),
    };
    let connection = match opened {
        Ok(connection) => connection,
        Err(error) => return error.to_string(),
    };
    tracing::debug!(%endpoint, "connected");
    let mut core = Link {
        front: front.clone(),
        link,
    };
    front.with(|core| core.link_connected(link, front.clock.now()));
    let mut shell = LinkShell {
        wake,
        field: Vec::new(),
    };
    let reason = drive(&mut core, &mut shell, connection, front.clock).await;
    reason.to_string()
}

/// The core has no more use for a connection that is not yet made.
async fn given_up(front: &Front, link: LinkId, wake: &Notify) {
    loop {
        wake.notified().await;
        if matches!(
            front.with(|core| core.poll_link_output(link)),
            Some(LinkOutput::Close)
        ) {
            return;
        }
    }
}

struct Link {
    front: Rc<Front>,
    link: LinkId,
}

impl Core for Link {
    type Output = LinkOutput;

    fn handle_frame(&mut self, frame: Sv2Frame<'_>, now: Now) {
        let header = frame.header();
        let (extension_type, msg_type) = (header.extension_type(), header.msg_type());
        let payload = frame.payload();
        self.front
            .with(|core| core.handle_link_frame(self.link, extension_type, msg_type, payload, now));
    }

    fn handle_timeout(&mut self, now: Now) {
        self.front
            .with(|core| core.handle_link_timeout(self.link, now));
    }

    fn poll_output(&mut self) -> Option<LinkOutput> {
        let output = self.front.with(|core| core.poll_link_output(self.link));
        if output.is_none() {
            self.front.settle();
        }
        output
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.front.with(|core| core.poll_link_timeout(self.link))
    }
}

struct LinkShell {
    wake: Rc<Notify>,
    /// The worker's name of the last share, in the form that stands behind it.
    field: Vec<u8>,
}

impl Shell<Link> for LinkShell {
    async fn changed(&mut self) {
        self.wake.notified().await;
    }

    fn deliver(&mut self, _: &mut Link, _: Now) {}

    fn output<S: Stream>(
        &mut self,
        output: LinkOutput,
        _: &mut Link,
        connection: &mut Connection<S>,
    ) -> Result<(), CloseReason> {
        match output {
            LinkOutput::Send(message) => connection.queue_as(message.kind(), &message, &[]),
            LinkOutput::Share(share) => self.queue_share(&share, connection),
            LinkOutput::StandardShare(share) => connection.queue(&share),
            LinkOutput::Forward(frame) => {
                connection.queue_raw(frame.extension_type, frame.msg_type, &frame.payload)
            }
            LinkOutput::Close => Err(CloseReason::Finished),
        }
    }
}

impl LinkShell {
    fn queue_share<S: Stream>(
        &mut self,
        share: &OutgoingShare,
        connection: &mut Connection<S>,
    ) -> Result<(), CloseReason> {
        self.field.clear();
        // Names have the length that the extension allows.
        if let Some(Ok(worker)) = share
            .worker
            .as_ref()
            .map(|worker| WorkerIdentity::new(worker.as_bytes()))
        {
            worker.append_to(&mut self.field);
        }
        connection.queue_as(&SubmitSharesExtended::KIND, &share.message, &self.field)
    }
}
