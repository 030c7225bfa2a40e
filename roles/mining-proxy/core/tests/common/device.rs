//! An Sv2 device: a client session, and bytes between it and the proxy.

use std::collections::BTreeMap;

use binary_sv2::Encodable as _;
use const_sv2::EXTENSION_WORKER_IDENTITY;
use const_sv2::mining::REQUIRES_STANDARD_JOBS;
use mining_proxy_core::{DeviceId, DeviceOutput};
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::client::{ClientEvent, Found, OpenTerms, Work};
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::downstream::CloseReason;
use roles_logic_sv2::messages::ForwardedFrame;
use roles_logic_sv2::target::Target;
use roles_logic_sv2::upstream::{
    UpstreamEnd, UpstreamEvent, UpstreamOutput, UpstreamSession, UpstreamTerms, words,
};

use super::{Frame, World, frame, share_frame, standard_share_frame};

pub(crate) use ChannelKind::{Extended, Standard};

/// What a device says of itself.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) flags: u32,
    pub(crate) names_workers: bool,
}

/// A device without wishes.
pub(crate) const PLAIN: Kind = Kind {
    flags: 0,
    names_workers: false,
};

/// One that names who found each share.
pub(crate) const NAMING: Kind = Kind {
    names_workers: true,
    ..PLAIN
};

/// Small firmware.
pub(crate) const SMALL: Kind = Kind {
    flags: REQUIRES_STANDARD_JOBS,
    ..PLAIN
};

pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) session: UpstreamSession,
    /// Frames that the test writes are all that it sends.
    pub(crate) is_raw: bool,
    /// All channels that were ever opened, in order.
    pub(crate) opened: Vec<u32>,
    /// What requests for channels were refused with.
    pub(crate) refused: Vec<String>,
    /// Names of the messages that it was sent.
    pub(crate) log: Vec<&'static str>,
    /// The same as bytes.
    pub(crate) frames: Vec<Frame>,
    pub(crate) foreign: Vec<ForwardedFrame>,
    pub(crate) submitted: u64,
    /// Channel and number of the last share.
    pub(crate) submitted_last: Option<(u32, u32)>,
    /// Shares acknowledged, as the proxy counts them.
    pub(crate) accepted: u64,
    /// The numbers that acknowledgements named: channel, last number, count.
    pub(crate) acks: Vec<(u32, u32, u32)>,
    /// Channel, number, code.
    pub(crate) rejected: Vec<(u32, u32, String)>,
    pub(crate) updates_refused: Vec<String>,
    pub(crate) reconnects: usize,
    /// Why the proxy closed the connection.
    pub(crate) closed: Option<CloseReason>,
    /// Why the device would.
    pub(crate) ended: Option<UpstreamEnd>,
    pub(crate) is_gone: bool,
    nonce: u32,
}

impl Device {
    pub(super) fn new(id: DeviceId, kind: Kind, is_raw: bool, now: Now) -> Self {
        let extensions = match kind.names_workers {
            true => vec![EXTENSION_WORKER_IDENTITY],
            false => Vec::new(),
        };
        let terms = UpstreamTerms {
            flags: kind.flags,
            extensions,
            // Some tests have it wait.
            answer_timeout: std::time::Duration::from_secs(3_600),
            ..UpstreamTerms::default()
        };
        Self {
            id,
            session: UpstreamSession::new(terms, now),
            is_raw,
            opened: Vec::new(),
            refused: Vec::new(),
            log: Vec::new(),
            frames: Vec::new(),
            foreign: Vec::new(),
            submitted: 0,
            submitted_last: None,
            accepted: 0,
            acks: Vec::new(),
            rejected: Vec::new(),
            updates_refused: Vec::new(),
            reconnects: 0,
            closed: None,
            ended: None,
            is_gone: false,
            nonce: 0,
        }
    }

    /// What it hashes on a channel.
    pub(crate) fn work(&self, channel_id: u32) -> Work {
        self.try_work(channel_id).expect("work").clone()
    }

    pub(crate) fn try_work(&self, channel_id: u32) -> Option<&Work> {
        self.session.channels().work(channel_id)
    }

    /// Codes of the shares that were rejected.
    pub(crate) fn codes(&self) -> Vec<&str> {
        self.rejected.iter().map(|(.., code)| &**code).collect()
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.log.iter().filter(|logged| **logged == name).count()
    }

    /// It mines on as if nothing had happened.
    pub(crate) fn assert_content(&self) {
        assert_eq!(self.closed, None);
        assert_eq!(self.ended, None);
        assert_eq!(self.session.ignored(), 0, "{:?}", self.log);
        assert_eq!(self.rejected, []);
        assert_eq!(self.count("SetExtranoncePrefix"), 0);
        assert_eq!(self.count("CloseChannel"), 0);
        assert_eq!(self.count("Reconnect"), 0);
    }

    /// Something that meets the target; another one each time.
    pub(crate) fn find_below(&mut self, work: &Work, target: &Target) -> FoundShare {
        let mut share = FoundShare {
            extranonce: vec![6; work.extranonce_size()],
            ntime: work.min_ntime(),
            nonce: 0,
            version: work.version(),
        };
        loop {
            self.nonce += 1;
            share.nonce = self.nonce;
            if target.is_met_by(&work.header(&share.borrow()).unwrap().hash()) {
                return share;
            }
        }
    }

    pub(super) fn takes(&mut self, frame: &Frame, now: Now) {
        let (extension_type, msg_type, payload) = frame;
        self.session
            .handle_frame(*extension_type, *msg_type, payload, now);
        self.frames.push(frame.clone());
    }

    /// What it does about what it was sent; gives the frames that it sends.
    pub(super) fn says(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(output) = self.session.poll_output() {
            match output {
                UpstreamOutput::Send(message) => frames.push(frame(&message)),
                UpstreamOutput::Share(share) => frames.push(share_frame(&share)),
                UpstreamOutput::StandardShare(share) => frames.push(standard_share_frame(&share)),
                UpstreamOutput::Forward(frame) => {
                    frames.push((frame.extension_type, frame.msg_type, frame.payload));
                }
                UpstreamOutput::Event(event) => self.event(event),
                UpstreamOutput::Close(end) => self.ended = Some(end),
            }
        }
        if self.is_raw {
            frames.clear();
        }
        frames
    }

    fn event(&mut self, event: UpstreamEvent) {
        match event {
            UpstreamEvent::Ready => {}
            UpstreamEvent::Foreign { frame, .. } => self.foreign.push(frame),
            UpstreamEvent::Reconnect { .. } => self.reconnects += 1,
            UpstreamEvent::EndpointChanged { .. } => {}
            UpstreamEvent::Channel(event) => match event {
                ClientEvent::Opened { channel_id, .. } => self.opened.push(channel_id),
                ClientEvent::OpenRefused { error_code, .. } => {
                    self.refused.push(words(&error_code));
                }
                ClientEvent::Acknowledged(message) => {
                    let count = message.new_submits_accepted_count;
                    self.accepted += u64::from(count);
                    self.acks
                        .push((message.channel_id, message.last_sequence_number, count));
                }
                ClientEvent::Rejected {
                    channel_id,
                    sequence_number,
                    error_code,
                } => self
                    .rejected
                    .push((channel_id, sequence_number, words(&error_code))),
                ClientEvent::UpdateRefused { error_code, .. } => {
                    self.updates_refused.push(words(&error_code));
                }
                _ => {}
            },
        }
    }
}

/// What a device found.
#[derive(Clone, Debug)]
pub(crate) struct FoundShare {
    pub(crate) extranonce: Vec<u8>,
    pub(crate) ntime: u32,
    pub(crate) nonce: u32,
    pub(crate) version: u32,
}

impl FoundShare {
    pub(crate) fn borrow(&self) -> Found<'_> {
        Found {
            nonce: self.nonce,
            ntime: self.ntime,
            version: self.version,
            extranonce: &self.extranonce,
        }
    }
}

/// What a test channel asks for.
pub(crate) const TERMS: OpenTerms = OpenTerms {
    nominal_hash_rate: 1.0,
    max_target: Target::MAX,
    min_extranonce_size: 0,
};

impl World {
    /// A device that has connected and is set up.
    pub(crate) fn device(&mut self, kind: Kind) -> usize {
        self.connects_device(kind, false)
    }

    /// A device whose frames the test writes.
    pub(crate) fn raw_device(&mut self) -> usize {
        self.connects_device(PLAIN, true)
    }

    fn connects_device(&mut self, kind: Kind, is_raw: bool) -> usize {
        let id = self.proxy.device_connected(self.now).expect("room");
        let device = self.devices.len();
        self.device_places.insert(id, device);
        self.devices.push(Device::new(id, kind, is_raw, self.now));
        self.busy_devices.insert(device);
        self.run();
        device
    }

    /// A device with one channel, at work.
    pub(crate) fn device_with(&mut self, kind: Kind, channel: ChannelKind, user: &str) -> usize {
        let device = self.device(kind);
        self.opens(device, channel, user);
        device
    }

    /// Asks for a channel; gives it, if it is open by now.
    pub(crate) fn opens(&mut self, device: usize, kind: ChannelKind, user: &str) -> Option<u32> {
        self.opens_with(device, kind, user, TERMS)
    }

    pub(crate) fn opens_with(
        &mut self,
        device: usize,
        kind: ChannelKind,
        user: &str,
        terms: OpenTerms,
    ) -> Option<u32> {
        let before = self.devices[device].opened.len();
        let user = user.to_owned().try_into().unwrap();
        let session = &mut self.devices[device].session;
        match kind {
            Extended => session.open_extended(user, terms, self.now),
            Standard => session.open_standard(user, terms, self.now),
        }
        .unwrap();
        self.busy_devices.insert(device);
        self.run();
        self.devices[device].opened.get(before).copied()
    }

    /// Finds a share of the present work of a channel and hands it in.
    pub(crate) fn digs(&mut self, device: usize, channel_id: u32) {
        let work = self.devices[device].work(channel_id);
        self.digs_on(device, &work);
    }

    pub(crate) fn digs_on(&mut self, device: usize, work: &Work) -> FoundShare {
        let found = self.devices[device].find_below(work, work.target());
        self.hands_in(device, work, &found, None);
        found
    }

    /// A share of each channel of each device that is there.
    pub(crate) fn dig_all(&mut self) {
        for device in 0..self.devices.len() {
            let channels = self.devices[device].session.channels().channels();
            let ids: Vec<_> = channels.map(|channel| channel.id()).collect();
            for id in ids {
                if !self.devices[device].is_gone {
                    self.digs(device, id);
                }
            }
        }
    }

    /// Hands in what was found, also what is known to be of no use.
    pub(crate) fn hands_in(
        &mut self,
        device: usize,
        work: &Work,
        found: &FoundShare,
        worker: Option<&str>,
    ) {
        let worker = worker.map(Into::into);
        let now = self.now;
        let session = &mut self.devices[device].session;
        let found = found.borrow();
        let submitted = session.submit_block(work, &found, worker.as_ref(), now);
        if let Ok(number) = submitted {
            self.devices[device].submitted += 1;
            self.devices[device].submitted_last = Some((work.channel_id(), number));
        }
        self.busy_devices.insert(device);
        self.run();
    }

    /// Sends a frame, whatever it is.
    pub(crate) fn device_sends(
        &mut self,
        device: usize,
        extension_type: u16,
        msg_type: u8,
        payload: &[u8],
    ) {
        let id = self.devices[device].id;
        let now = self.now;
        self.proxy
            .handle_device_frame(id, extension_type, msg_type, payload, now);
        self.busy_devices.insert(device);
        self.run();
    }

    pub(crate) fn device_leaves(&mut self, device: usize) {
        self.devices[device].is_gone = true;
        let id = self.devices[device].id;
        self.proxy.device_closed(id, self.now);
        self.run();
    }

    /// Tells of another hash rate or limit.
    pub(crate) fn device_updates(&mut self, device: usize, channel_id: u32, terms: OpenTerms) {
        let session = &mut self.devices[device].session;
        session.update(channel_id, terms).unwrap();
        self.busy_devices.insert(device);
        self.run();
    }

    pub(crate) fn device_closes(&mut self, device: usize, channel_id: u32) {
        let session = &mut self.devices[device].session;
        let reason = "done".try_into().unwrap();
        session.close_channel(channel_id, reason).unwrap();
        self.busy_devices.insert(device);
        self.run();
    }

    pub(super) fn pump_device(&mut self, index: usize) -> bool {
        let now = self.now;
        let device = &mut self.devices[index];
        if device.is_gone {
            return false;
        }
        let mut is_any = false;
        while let Some(output) = self.proxy.poll_device_output(device.id) {
            is_any = true;
            let sent = match output {
                DeviceOutput::Send(message) => {
                    let kind = message.kind();
                    device.log.push(kind.name);
                    (kind.wire_extension_type(), kind.msg_type, message.to_vec())
                }
                DeviceOutput::Forward(frame) => {
                    (frame.extension_type, frame.msg_type, frame.payload)
                }
                DeviceOutput::Close(reason) => {
                    device.closed = Some(reason);
                    device.is_gone = true;
                    // What came before is read all the same.
                    let _ = device.says();
                    self.proxy.device_closed(device.id, now);
                    return true;
                }
            };
            device.takes(&sent, now);
        }
        for (extension_type, msg_type, payload) in device.says() {
            is_any = true;
            self.busy_devices.insert(index);
            self.proxy
                .handle_device_frame(device.id, extension_type, msg_type, &payload, now);
        }
        is_any
    }

    /// Each share of a device is answered, and counted as it was answered.
    pub(crate) fn assert_devices_answered(&self) {
        for (index, device) in self.devices.iter().enumerate() {
            if device.is_raw || device.is_gone {
                continue;
            }
            let answered = device.accepted + device.rejected.len() as u64;
            assert_eq!(
                device.submitted, answered,
                "device {index}: {:?}",
                device.rejected
            );
        }
        let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
        for code in self.devices.iter().flat_map(Device::codes) {
            *codes.entry(code).or_default() += 1;
        }
        for (code, count) in &self.snapshot().rejected {
            assert!(
                codes.get(code).copied().unwrap_or_default() >= *count,
                "{code}"
            );
        }
    }
}
