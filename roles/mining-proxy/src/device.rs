//! A device's connection.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use framing_sv2::Sv2Frame;
use mining_proxy_core::{DeviceId, DeviceOutput};
use network_helpers_sv2::{CloseReason, Connection, Stream};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::downstream;
use stratum_runtime::{Core, Refusal, Shell};
use tokio::sync::Notify;

use crate::front::Front;

/// A device among the others of its thread; none when there are too many.
pub(crate) struct Device {
    front: Rc<Front>,
    id: Option<DeviceId>,
}

impl Device {
    pub(crate) fn new(front: &Rc<Front>, peer: SocketAddr) -> (Self, DeviceShell) {
        let id = front.with(|core| core.device_connected(front.clock.now()));
        if id.is_none() {
            front.context.gate.refuse(Refusal::Total);
        }
        let wake = id.map(|id| front.register_device(id)).unwrap_or_default();
        let device = Self {
            front: front.clone(),
            id,
        };
        let shell = DeviceShell {
            front: front.clone(),
            peer,
            wake,
        };
        (device, shell)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.front.forget_device(id);
            self.front
                .with(|core| core.device_closed(id, self.front.clock.now()));
            self.front.settle();
        }
    }
}

impl Core for Device {
    type Output = DeviceOutput;

    fn handle_frame(&mut self, frame: Sv2Frame<'_>, now: Now) {
        let Some(id) = self.id else {
            return;
        };
        let header = frame.header();
        let (extension_type, msg_type) = (header.extension_type(), header.msg_type());
        let payload = frame.payload();
        self.front
            .with(|core| core.handle_device_frame(id, extension_type, msg_type, payload, now));
    }

    fn handle_timeout(&mut self, now: Now) {
        if let Some(id) = self.id {
            self.front.with(|core| core.handle_device_timeout(id, now));
        }
    }

    fn poll_output(&mut self) -> Option<DeviceOutput> {
        let Some(id) = self.id else {
            return Some(DeviceOutput::Close(downstream::CloseReason::NoWork));
        };
        let output = self.front.with(|core| core.poll_device_output(id));
        if output.is_none() {
            self.front.settle();
        }
        output
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let id = self.id?;
        self.front.with(|core| core.poll_device_timeout(id))
    }
}

pub(crate) struct DeviceShell {
    front: Rc<Front>,
    peer: SocketAddr,
    wake: Rc<Notify>,
}

impl Shell<Device> for DeviceShell {
    async fn changed(&mut self) {
        self.wake.notified().await;
    }

    fn deliver(&mut self, _: &mut Device, _: Now) {}

    fn output<S: Stream>(
        &mut self,
        output: DeviceOutput,
        _: &mut Device,
        connection: &mut Connection<S>,
    ) -> Result<(), CloseReason> {
        match output {
            DeviceOutput::Send(message) => connection.queue_as(message.kind(), &message, &[]),
            DeviceOutput::Forward(frame) => {
                connection.queue_raw(frame.extension_type, frame.msg_type, &frame.payload)
            }
            DeviceOutput::Close(reason) => {
                tracing::debug!(peer = %self.peer, %reason, "closing the connection");
                self.ban(&reason);
                Err(close_reason(&reason))
            }
        }
    }
}

impl DeviceShell {
    /// Bans the address of a device that broke the rules; others may come back at once.
    fn ban(&self, reason: &downstream::CloseReason) {
        let context = &self.front.context;
        let why = match reason {
            downstream::CloseReason::Route(_)
            | downstream::CloseReason::OutOfPlace { .. }
            | downstream::CloseReason::Extensions(_) => "does not speak the protocol",
            _ => return,
        };
        let config = self.front.config();
        let duration = config
            .devices
            .as_ref()
            .map_or(Duration::ZERO, |devices| devices.ban);
        if !duration.is_zero() {
            tracing::warn!(peer = %self.peer, reason = why, secs = duration.as_secs(), "banned");
            let now = tokio::time::Instant::now();
            context.gate.ban(self.peer.ip(), duration, why, now);
        }
    }
}

const fn close_reason(reason: &downstream::CloseReason) -> CloseReason {
    match reason {
        downstream::CloseReason::SetupTimeout | downstream::CloseReason::ChannelTimeout => {
            CloseReason::Idle
        }
        downstream::CloseReason::Drained => CloseReason::Shutdown,
        downstream::CloseReason::NoWork => CloseReason::Finished,
        _ => CloseReason::Protocol,
    }
}
