//! Devices on sockets.

use std::sync::Arc;

use network_helpers_sv2::{
    ClientSecurity, CloseReason, Connection, Endpoint, Options, Wake, connect,
};
use roles_logic_sv2::clock::Now;
use stratum_runtime::SystemClock;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::device::{Device, Terms};
use super::log::Log;
use super::{Firmware, FirmwareReport, Rule};

/// Runs all devices to their end.
pub(super) async fn run(firmware: &Firmware) -> FirmwareReport {
    let clock = SystemClock::new();
    let terms = Arc::new(Terms {
        host: firmware.endpoint.host.clone(),
        port: firmware.endpoint.port,
        user: firmware.user.clone().try_into().unwrap_or_default(),
        channel: firmware.channel,
        hashrate: firmware.hashrate,
        duration: firmware.duration,
        shares: firmware.shares,
    });
    let gate = Arc::new(Semaphore::new(firmware.parallel.get()));
    let mut devices = JoinSet::new();
    for number in 0..firmware.connections.get() {
        let (endpoint, security) = (firmware.endpoint.clone(), firmware.security);
        let (terms, gate) = (terms.clone(), gate.clone());
        devices.spawn(async move {
            // The gate is never closed; without a place the device connects all the same.
            let place = gate.acquire().await.ok();
            let mut log = Log::new(number, clock.now());
            match open(&endpoint, &security).await {
                Ok(connection) => {
                    drop(place);
                    mine(Device::new(terms, log, clock.now()), connection, &clock).await
                }
                Err(what) => {
                    log.fail(Rule::NotConnected, what, clock.now());
                    log
                }
            }
        });
    }
    let mut report = FirmwareReport::new(firmware);
    for log in devices.join_all().await {
        report.add(log);
    }
    report.finish(clock.now().instant);
    report
}

async fn open(endpoint: &Endpoint, security: &ClientSecurity) -> Result<Connection, String> {
    // The device judges silence itself.
    let options = Options {
        idle_timeout: None,
        ..Options::default()
    };
    let opened = connect(endpoint, security, options).await;
    opened.map_err(|error| format!("lets no device connect: {error}"))
}

async fn mine(mut device: Device, mut connection: Connection, clock: &SystemClock) -> Log {
    if let Err(reason) = drive(&mut device, &mut connection, clock).await {
        device.handle_end(reason.name(), clock.now());
    }
    device.into_log()
}

async fn drive(
    device: &mut Device,
    connection: &mut Connection,
    clock: &SystemClock,
) -> Result<(), CloseReason> {
    while !device.is_over() {
        while let Some(message) = device.poll_output() {
            connection.queue_as(message.kind(), &message, &[])?;
            // Firmware writes each frame by itself.
            connection.flush().await?;
        }
        let until = device
            .poll_timeout()
            .and_then(|until| clock.deadline(until));
        if connection.ready(until).await? == Wake::Readable {
            take(device, connection, clock.now())?;
        }
        device.handle_timeout(clock.now());
    }
    Ok(())
}

fn take(device: &mut Device, connection: &mut Connection, now: Now) -> Result<(), CloseReason> {
    while !device.is_over() {
        let Some(frame) = connection.next_frame()? else {
            break;
        };
        device.handle_frame(frame.header().msg_type(), frame.payload(), now);
    }
    Ok(())
}
