//! Channels that hand on what upstreams' channels mine: what a proxy does, without its bookkeeping.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use binary_sv2::Encodable;
use const_sv2::Protocol;
use mining_sv2::{MiningMessage, SubmitSharesSuccess};

use super::dialogue::{Dialogue, EASY_NBITS, HARD_NBITS, config};
use crate::channels::client::{ClientChannels, Found, OpenTerms, Submission, Work};
use crate::channels::server::{
    Grant, MAX_EARLIER_GROUPS, Output, ServerChannels, ServerConfig, ServerFlags, ServerMessage,
};
use crate::channels::{ChannelKind, PayoutId, PayoutWork, WorkTerms};
use crate::clock::Now;
use crate::extranonce::{ExtranonceAllocator, ExtranonceLayout};
use crate::job::{ExtranonceTooShort, Job};
use crate::messages::{AnyMessage, Peer, Router};
use crate::share::{RejectReason, Verdict};
use crate::target::Target;

/// Bytes of the extranonce that devices see.
const SHOWN: usize = 12;

struct Proxy {
    server: ServerChannels,
    device: ClientChannels,
    extranonces: ExtranonceAllocator,
    sent: Vec<String>,
    persisted: usize,
    nonce: u32,
}

impl Proxy {
    fn new(flags: ServerFlags) -> Self {
        let config = ServerConfig {
            is_lone_channel_addressed: true,
            ..config()
        };
        let layout = ExtranonceLayout {
            full_size: SHOWN,
            server_id_size: 0,
            channel_number_size: 4,
            max_channels: 100,
        };
        Self {
            server: ServerChannels::new(Arc::new(config), flags),
            device: ClientChannels::new(),
            extranonces: ExtranonceAllocator::new(layout, 0).unwrap(),
            sent: Vec::new(),
            persisted: 0,
            nonce: 0,
        }
    }

    fn open(&mut self, kind: ChannelKind, payout: u32, now: Now) -> u32 {
        let user = "device".try_into().unwrap();
        let terms = OpenTerms::default();
        let (request, extranonce_prefix) = match kind {
            ChannelKind::Standard => {
                let message = self.device.open_standard(user, terms).unwrap();
                let prefix = self.extranonces.allocate_standard().unwrap();
                (self.server.request_standard(&message).unwrap(), prefix)
            }
            ChannelKind::Extended => {
                let message = self.device.open_extended(user, terms).unwrap();
                let prefix = self.extranonces.allocate_extended(8).unwrap();
                (self.server.request_extended(&message).unwrap(), prefix)
            }
        };
        let grant = Grant {
            payout: PayoutId(payout),
            extranonce_prefix,
            full_extranonce_size: SHOWN,
            terms: WorkTerms::Own,
        };
        let channel_id = self.server.open(request, grant, now).unwrap();
        self.pump(now);
        channel_id
    }

    /// Hands on what the upstream's channel mines.
    fn relay(&mut self, payout: u32, work: &Work, terms: WorkTerms, now: Now) {
        let job = Arc::new(Job::relayed(work.clone(), payout.into(), SHOWN).unwrap());
        let work = PayoutWork {
            tip: work.tip().clone(),
            job,
            min_ntime: work.min_ntime(),
            terms,
        };
        self.server.handle_payout_work(PayoutId(payout), &work);
        self.pump(now);
    }

    fn pump(&mut self, now: Now) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send(message) => self.deliver(&message, now),
                Output::Persist(ack) => {
                    self.persisted += 1;
                    self.server.handle_persisted(ack);
                }
                _ => {}
            }
        }
    }

    fn deliver(&mut self, message: &ServerMessage, now: Now) {
        let payload = message.to_vec();
        let kind = message.kind();
        let routed = Router::new(Protocol::MINING, Peer::Server)
            .route(kind.wire_extension_type(), kind.msg_type, &payload)
            .unwrap();
        let AnyMessage::Mining(message) = routed.message else {
            panic!("{kind:?}")
        };
        let to = match &message {
            MiningMessage::NewMiningJob(job) => alloc::format!(" to {}", job.channel_id),
            MiningMessage::NewExtendedMiningJob(job) => alloc::format!(" to {}", job.channel_id),
            _ => String::new(),
        };
        self.sent.push(alloc::format!("{}{to}", kind.name));
        self.device.handle_message(&message, now).unwrap();
    }

    fn sent(&mut self) -> Vec<String> {
        core::mem::take(&mut self.sent)
    }

    /// Mines on what the device has; the share as the upstream's channel takes it.
    fn mine(&mut self, channel_id: u32, target: &Target, now: Now) -> (Verdict, Option<Relayed>) {
        let work = self.device.work(channel_id).expect("work").clone();
        self.mine_on(&work, target, now)
    }

    fn mine_on(&mut self, work: &Work, target: &Target, now: Now) -> (Verdict, Option<Relayed>) {
        let extranonce = [5; 32][..work.extranonce_size()].to_vec();
        let mut found = Found {
            nonce: self.nonce,
            ntime: work.min_ntime(),
            version: work.version(),
            extranonce: &extranonce,
        };
        loop {
            found.nonce = found.nonce.wrapping_add(1);
            let hash = work.header(&found).unwrap().hash();
            if work.target().is_met_by(&hash) && target.is_met_by(&hash) {
                break;
            }
        }
        self.nonce = found.nonce;
        let submission = self.device.submit_block(work, &found).unwrap();
        let verdict = match &submission {
            Submission::Standard(share) => self.server.handle_submit_standard(share, now),
            Submission::Extended(share) => self.server.handle_submit_extended(share, now),
        };
        let relayed = self
            .server
            .job(work.channel_id(), work.job_id())
            .map(|(job, prefix)| {
                let relayed = job.relayed_work().expect("every job here is relayed");
                Relayed {
                    work: relayed.work().clone(),
                    extranonce: relayed.extranonce(prefix, found.extranonce),
                    share: (found.nonce, found.ntime, found.version),
                }
            });
        self.pump(now);
        (verdict, relayed)
    }
}

/// A share for the upstream.
struct Relayed {
    work: Work,
    extranonce: Vec<u8>,
    share: (u32, u32, u32),
}

fn hand_in(upstream: &mut Dialogue, relayed: &Relayed) -> Result<(), RejectReason> {
    let (nonce, ntime, version) = relayed.share;
    let found = super::dialogue::OwnedFound {
        nonce,
        ntime,
        version,
        extranonce: relayed.extranonce.clone(),
    };
    let verdict = upstream.submit(&relayed.work, &found).unwrap();
    verdict.outcome.map(|_| ())
}

const STANDARD_ONLY: ServerFlags = ServerFlags {
    standard_jobs_only: true,
    selects_work: false,
    extended_channels_only: false,
    rolls_version: false,
    fixed_version: false,
};

/// Every kind of device on every kind of upstream channel that can serve it.
#[test]
fn what_a_device_finds_is_a_share_upstream() {
    use ChannelKind::{Extended, Standard};
    for (up, down, flags) in [
        (Extended, Extended, ServerFlags::default()),
        (Extended, Standard, ServerFlags::default()),
        (Extended, Standard, STANDARD_ONLY),
        (Standard, Standard, ServerFlags::default()),
        (Standard, Standard, STANDARD_ONLY),
    ] {
        let mut upstream = Dialogue::working(ServerFlags::default());
        let channel = upstream.open(up, 0).unwrap();
        let mut proxy = Proxy::new(flags);
        let device = proxy.open(down, 0, upstream.now);
        for round in 0..6 {
            let work = upstream.work(channel);
            let terms = if up == Standard {
                WorkTerms::Relayed(*work.target())
            } else {
                WorkTerms::AtMost(*work.target())
            };
            proxy.relay(0, &work, terms, upstream.now);
            let (verdict, relayed) = proxy.mine(device, work.target(), upstream.now);
            assert!(verdict.outcome.is_ok(), "{up:?} {down:?}: {verdict:?}");
            let handed_in = hand_in(&mut upstream, &relayed.unwrap());
            assert_eq!(handed_in, Ok(()), "{up:?} {down:?} {flags:?}");
            match round % 3 {
                0 => upstream.new_template(),
                1 => upstream.new_tip(HARD_NBITS),
                _ => upstream.new_tip(EASY_NBITS),
            }
        }
    }
}

#[test]
fn work_with_too_little_extranonce_is_not_handed_on() {
    let mut upstream = Dialogue::working(ServerFlags::default());
    let channel = upstream.open(ChannelKind::Extended, 0).unwrap();
    let work = upstream.work(channel);
    let available = work.extranonce_size();
    assert!(Job::relayed(work.clone(), 0, available).is_ok());
    let shown = available + 1;
    let error = Job::relayed(work, 0, shown).unwrap_err();
    assert_eq!(error, ExtranonceTooShort { available, shown });
}

#[test]
fn a_device_moves_between_upstreams_and_what_it_has_in_flight_counts() {
    let mut one = Dialogue::working(ServerFlags::default());
    let mut other = Dialogue::working(ServerFlags::default());
    other.new_tip(HARD_NBITS);
    let (at_one, at_other) = (
        one.open(ChannelKind::Extended, 0).unwrap(),
        other.open(ChannelKind::Extended, 0).unwrap(),
    );
    let now = one.now;
    let mut proxy = Proxy::new(ServerFlags::default());
    let device = proxy.open(ChannelKind::Extended, 1, now);
    let terms = WorkTerms::AtMost(Target::MAX);
    proxy.relay(1, &one.work(at_one), terms, now);
    proxy.mine(device, &Target::MAX, now).0.outcome.unwrap();
    let before = proxy.device.work(device).unwrap().clone();
    proxy.sent();

    proxy.server.set_payout(&[device], PayoutId(2)).unwrap();
    proxy.relay(2, &other.work(at_other), terms, now);
    let expected = [
        "SetGroupChannel",
        "NewExtendedMiningJob to 2",
        "SetNewPrevHash",
    ];
    assert_eq!(proxy.sent(), expected, "it builds on another block there");
    let after = proxy.device.work(device).unwrap().clone();
    assert!(after.job_id() > before.job_id(), "ids do not collide");
    for (work, upstream) in [(&before, &mut one), (&after, &mut other)] {
        let (verdict, relayed) = proxy.mine_on(work, work.target(), now);
        assert!(verdict.outcome.is_ok());
        let relayed = relayed.unwrap();
        if relayed
            .work
            .target()
            .is_met_by(&verdict.outcome.unwrap().hash)
        {
            assert_eq!(hand_in(upstream, &relayed), Ok(()));
        }
    }
    // A new block there ends what was before; and so does the end of an upstream.
    one.new_tip(HARD_NBITS);
    proxy.relay(1, &one.work(at_one), terms, now);
    let (verdict, _) = proxy.mine_on(&before, &Target::MAX, now);
    assert_eq!(verdict.outcome.unwrap_err(), RejectReason::Stale);
    proxy.server.end_payout_work(PayoutId(2));
    let (verdict, relayed) = proxy.mine_on(&after, &Target::MAX, now);
    assert_eq!(verdict.outcome.unwrap_err(), RejectReason::Stale);
    assert!(relayed.is_some(), "a block would still be handed in");
    other.new_template();
    proxy.relay(2, &other.work(at_other), terms, now);
    proxy.mine(device, &Target::MAX, now).0.outcome.unwrap();
}

#[test]
fn moving_on_the_same_block_takes_no_work_away() {
    let mut one = Dialogue::working(ServerFlags::default());
    let mut other = Dialogue::working(ServerFlags::default());
    let works = [&mut one, &mut other].map(|upstream| {
        let channel = upstream.open(ChannelKind::Extended, 0).unwrap();
        upstream.work(channel)
    });
    let now = one.now;
    let mut proxy = Proxy::new(STANDARD_ONLY);
    let devices = [(); 2].map(|()| proxy.open(ChannelKind::Standard, 0, now));
    let stays = proxy.open(ChannelKind::Standard, 1, now);
    let terms = WorkTerms::AtMost(Target::MAX);
    proxy.relay(0, &works[0], terms, now);
    proxy.relay(1, &works[1], terms, now);
    proxy.sent();
    proxy.server.set_payout(&devices, PayoutId(1)).unwrap();
    proxy.pump(now);
    let expected = devices.map(|id| alloc::format!("NewMiningJob to {id}"));
    assert_eq!(proxy.sent(), expected);
    for id in [devices[0], devices[1], stays] {
        proxy.mine(id, &Target::MAX, now).0.outcome.unwrap();
    }
}

#[test]
fn an_upstream_that_asks_for_less_is_obeyed_and_one_that_asks_for_nearly_nothing_is_not_flooded() {
    let mut upstream = Dialogue::working(ServerFlags::default());
    let channel = upstream.open(ChannelKind::Extended, 0).unwrap();
    let now = upstream.now;
    let mut proxy = Proxy::new(ServerFlags::default());
    let device = proxy.open(ChannelKind::Extended, 0, now);
    let own = proxy
        .device
        .channel(device)
        .unwrap()
        .target()
        .difficulty_f64();
    let target = |factor: f64| Target::from_difficulty(own * factor).unwrap();
    let mut expect = |terms, factor: f64| {
        upstream.new_template();
        proxy.relay(0, &upstream.work(channel), terms, now);
        let told = *proxy.device.channel(device).unwrap().target();
        let ratio = told.difficulty_f64() / own;
        assert!((ratio / factor - 1.0).abs() < 1e-6, "{terms:?}: {ratio}");
        let work = proxy.device.work(device).unwrap();
        assert_eq!(
            *work.target(),
            told,
            "it holds for the job that came with it"
        );
    };
    expect(WorkTerms::Own, 1.0);
    expect(WorkTerms::AtMost(target(100.0)), 1.0);
    // The test's own is the easiest that the operator allows; an upstream decides about its own target.
    expect(WorkTerms::AtMost(target(0.5)), 1.0);
    expect(WorkTerms::Relayed(target(0.25)), 0.25);
    expect(WorkTerms::Relayed(target(3.0)), 3.0);
    expect(WorkTerms::Own, 1.0);
}

#[test]
fn shares_of_a_relayed_job_are_acknowledged_as_the_upstream_says() {
    let mut upstream = Dialogue::working(ServerFlags::default());
    let channel = upstream.open(ChannelKind::Standard, 0).unwrap();
    let now = upstream.now;
    let mut proxy = Proxy::new(STANDARD_ONLY);
    let device = proxy.open(ChannelKind::Standard, 0, now);
    let work = upstream.work(channel);
    proxy.relay(0, &work, WorkTerms::Relayed(*work.target()), now);
    proxy.sent();
    for _ in 0..30 {
        proxy.mine(device, &Target::MAX, now).0.outcome.unwrap();
    }
    assert_eq!((proxy.persisted, proxy.sent().len()), (0, 0));
    let in_flight = |proxy: &Proxy| proxy.device.channel(device).unwrap().in_flight();
    assert_eq!(in_flight(&proxy), 30);
    proxy.server.acknowledge(SubmitSharesSuccess {
        channel_id: device,
        last_sequence_number: 20,
        new_submits_accepted_count: 20,
        new_shares_sum: 3,
    });
    let code = "stale-share".try_into().unwrap();
    proxy.server.reject(device, 21, code);
    proxy.pump(now);
    assert_eq!(proxy.sent(), ["SubmitShares.Success", "SubmitShares.Error"]);
    assert_eq!(in_flight(&proxy), 9);
    let counts = proxy.server.channel(device).unwrap();
    assert_eq!(counts.accounting().accepted(), 30);
    // Of a channel that is gone nobody wants to hear.
    proxy.server.close(device, "bye");
    proxy.pump(now);
    proxy.sent();
    proxy
        .server
        .reject(device, 22, "stale-share".try_into().unwrap());
    proxy.pump(now);
    assert!(proxy.sent().is_empty());
}

/// A device whose hash rate is divided goes to and fro while it finds shares of what it had before.
#[test]
fn a_share_counts_for_the_job_it_was_found_on_however_often_the_device_has_moved_since() {
    let mut one = Dialogue::working(ServerFlags::default());
    let mut other = Dialogue::working(ServerFlags::default());
    other.new_tip(HARD_NBITS);
    let now = one.now;
    let at_one = one.open(ChannelKind::Extended, 0).unwrap();
    let at_other = other.open(ChannelKind::Extended, 0).unwrap();
    let mut proxy = Proxy::new(ServerFlags::default());
    let device = proxy.open(ChannelKind::Extended, 0, now);
    let terms = WorkTerms::AtMost(Target::MAX);
    proxy.relay(0, &one.work(at_one), terms, now);
    let mut works = Vec::new();
    for visit in 0..MAX_EARLIER_GROUPS as u32 + 3 {
        works.push(proxy.device.work(device).unwrap().clone());
        let payout = (visit + 1) % 2;
        proxy
            .server
            .set_payout(&[device], PayoutId(payout))
            .unwrap();
        let work = if payout == 0 {
            one.work(at_one)
        } else {
            other.work(at_other)
        };
        proxy.relay(payout, &work, terms, now);
    }
    for (visit, work) in works.iter().enumerate().rev() {
        let (verdict, relayed) = proxy.mine_on(work, &Target::MAX, now);
        if visit < 3 {
            assert_eq!(verdict.outcome.unwrap_err(), RejectReason::Stale, "{visit}");
            continue;
        }
        assert!(verdict.outcome.is_ok(), "{visit}: {verdict:?}");
        let source = relayed.unwrap().work.tip().prev_hash;
        let tip = if visit % 2 == 0 {
            one.work(at_one).tip().prev_hash
        } else {
            other.work(at_other).tip().prev_hash
        };
        assert_eq!(source, tip, "{visit}");
    }
}
