//! What is said out of the blue: the one place of each [`Lie`].

use binary_sv2::B032;
use common_messages_sv2::{Reconnect, SetupConnectionSuccess};
use const_sv2::{FIRST_EXPERIMENTAL_EXTENSION, MAX_PAYLOAD_LEN, PROTOCOL_VERSION};
use mining_sv2::{
    NewExtendedMiningJob, NewMiningJob, OpenExtendedMiningChannelSuccess, SetExtranoncePrefix,
    SetGroupChannel, SetNewPrevHash, SetTarget, SubmitSharesError, SubmitSharesStandard,
    SubmitSharesSuccess, UpdateChannelError,
};
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::server::ExtendedJob;
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::downstream::DownstreamSession;

use crate::misbehaviour::Lie;

use super::delivery::EASIEST;
use super::frame::{Frame, Output, UNKNOWN};
use super::hub::Hub;

/// No channel, request or share of anybody has this number, and no job of the pool.
pub const NOBODYS: u32 = 4_000_000_000;

/// Bytes of an oversize frame that are sent.
const OVERSIZE_SENT: usize = 64 * 1024;

/// A type that no message of the mining protocol has.
const UNKNOWN_TYPE: u8 = 0x3f;

/// An extension that nobody negotiates.
const UNKNOWN_EXTENSION: u16 = FIRST_EXPERIMENTAL_EXTENSION + 0x0abc;

/// The last words of the pool about a connection that a lie ends.
const BY_COMMAND: &str = "ended by command";

/// Where a lie is told.
pub(super) struct Place<'a> {
    pub(super) session: &'a mut DownstreamSession,
    pub(super) hub: &'a mut Hub,
    pub(super) outputs: &'a mut Vec<Output>,
    pub(super) now: Now,
}

/// The channel that a lie is about.
struct About {
    channel_id: u32,
    kind: ChannelKind,
    prefix: Vec<u8>,
}

impl Place<'_> {
    fn say(&mut self, frame: Frame) -> Option<()> {
        self.outputs.push(Output::Send(frame));
        Some(())
    }

    fn about(&self) -> Option<About> {
        let channel = self.session.channels()?.channels().next()?;
        Some(About {
            channel_id: channel.id(),
            kind: channel.kind(),
            prefix: channel.extranonce_prefix().to_vec(),
        })
    }

    fn extended_job(&self, channel_id: u32, min_ntime: Option<u32>) -> Frame {
        Frame::of(&ExtendedJob {
            channel_id,
            job_id: NOBODYS,
            min_ntime,
            version_rolling_allowed: true,
            job: self.hub.job().clone(),
        })
    }

    fn standard_job(&self, about: &About, channel_id: u32, min_ntime: Option<u32>) -> Frame {
        let root = self.hub.job().merkle_root(&about.prefix, &[]);
        Frame::of(&NewMiningJob {
            channel_id,
            job_id: NOBODYS,
            min_ntime,
            version: self.hub.job().version(),
            merkle_root: root.unwrap_or_default().into(),
        })
    }

    fn ntime(&self) -> u32 {
        self.hub.tip().min_ntime
    }

    fn new_tip(&self, channel_id: u32, nbits: u32) -> Frame {
        Frame::of(&SetNewPrevHash {
            channel_id,
            job_id: NOBODYS,
            prev_hash: [0x5a; 32].into(),
            min_ntime: self.ntime(),
            nbits,
        })
    }
}

impl Lie {
    /// Tells it. `None` when there is nobody to tell it to: most are about a channel, and none is open.
    pub(super) fn tell(&self, place: &mut Place<'_>) -> Option<()> {
        match self {
            Self::UnknownChannel => {
                let _ = place.about()?;
                place.say(place.extended_job(NOBODYS, Some(place.ntime())))
            }
            Self::UnsentAccepted | Self::UnsentRejected => self.answer_nothing(place),
            Self::ShrinkExtranonce => shrink_extranonce(place),
            Self::EasyTarget => {
                let channel_id = place.about()?.channel_id;
                place.say(Frame::of(&SetTarget {
                    channel_id,
                    maximum_target: EASIEST.into(),
                }))
            }
            Self::UnknownJob => {
                let channel_id = place.about()?.channel_id;
                place.say(place.new_tip(channel_id, place.hub.tip().nbits))
            }
            Self::StaleJob => {
                let _ = place.about()?;
                let work = place.hub.stale_work();
                place.session.handle_work(&work, place.now);
                Some(())
            }
            Self::OtherPayee => {
                let _ = place.about()?;
                let work = place.hub.other_payees_work();
                place.session.handle_work(&work, place.now);
                Some(())
            }
            Self::InvalidNbits => invalid_nbits(place),
            Self::WrongKind => wrong_kind(place),
            Self::BadCoinbase => bad_coinbase(place),
            Self::GroupAsChannel => {
                let channel_id = place.about()?.channel_id;
                place.say(Frame::of(&SetGroupChannel {
                    group_channel_id: channel_id,
                    channel_ids: vec![channel_id].try_into().unwrap_or_default(),
                }))
            }
            Self::UnaskedOpen => place.say(unasked_open()),
            Self::UnaskedUpdate => {
                let channel_id = place.about()?.channel_id;
                place.say(Frame::of(&UpdateChannelError {
                    channel_id,
                    error_code: "invalid-channel-id".try_into().unwrap_or_default(),
                }))
            }
            Self::CloseChannels => close_channels(place),
            Self::Reconnect(to) => place.say(Frame::of(&Reconnect {
                new_host: to.host.clone().try_into().unwrap_or_default(),
                new_port: to.port,
            })),
            Self::SecondSetup => place.say(Frame::of(&SetupConnectionSuccess {
                used_version: PROTOCOL_VERSION,
                flags: 0,
            })),
            Self::ClientMessage => place.say(client_message()),
            Self::UnknownMessage => place.say(unknown(0, UNKNOWN_TYPE, vec![1, 2, 3])),
            Self::UnknownExtension => place.say(unknown(UNKNOWN_EXTENSION, 0x01, vec![1, 2, 3])),
            Self::Malformed => {
                let mut frame = Frame::of(&SetTarget {
                    channel_id: NOBODYS,
                    maximum_target: EASIEST.into(),
                });
                frame.payload.truncate(7);
                place.say(frame)
            }
            Self::Oversize | Self::Truncated | Self::Garbage | Self::Disconnect => {
                place.outputs.extend(self.bytes());
                Some(())
            }
        }
    }

    fn answer_nothing(&self, place: &mut Place<'_>) -> Option<()> {
        let channel_id = place.about()?.channel_id;
        place.say(match self {
            Self::UnsentAccepted => Frame::of(&SubmitSharesSuccess {
                channel_id,
                last_sequence_number: NOBODYS,
                new_submits_accepted_count: 1,
                new_shares_sum: 1,
            }),
            _ => Frame::of(&SubmitSharesError {
                channel_id,
                sequence_number: NOBODYS,
                error_code: "stale-share".try_into().unwrap_or_default(),
            }),
        })
    }

    /// What is wrong below the messages.
    fn bytes(&self) -> Vec<Output> {
        let cut = Output::Cut {
            reason: BY_COMMAND.to_owned(),
        };
        match self {
            Self::Oversize => vec![Output::SendPart {
                frame: unknown(0, UNKNOWN_TYPE, vec![0; MAX_PAYLOAD_LEN]),
                missing: MAX_PAYLOAD_LEN - OVERSIZE_SENT,
            }],
            Self::Truncated => {
                let half = Output::SendPart {
                    frame: unknown(0, UNKNOWN_TYPE, vec![0; 64]),
                    missing: 32,
                };
                let close = Output::Close {
                    reason: BY_COMMAND.to_owned(),
                };
                vec![half, close]
            }
            Self::Garbage => vec![Output::SendBytes(vec![0xff; 64])],
            _ => vec![cut],
        }
    }
}

fn shrink_extranonce(place: &mut Place<'_>) -> Option<()> {
    let mut about = place.about()?;
    about.prefix.push(0);
    // A prefix that cannot be longer is told as it is.
    about.prefix.truncate(B032::MAX_LEN);
    place.say(Frame::of(&SetExtranoncePrefix {
        channel_id: about.channel_id,
        extranonce_prefix: about.prefix.try_into().ok()?,
    }))
}

fn invalid_nbits(place: &mut Place<'_>) -> Option<()> {
    let about = place.about()?;
    let job = match about.kind {
        ChannelKind::Standard => place.standard_job(&about, about.channel_id, None),
        ChannelKind::Extended => place.extended_job(about.channel_id, None),
    };
    place.say(job)?;
    place.say(place.new_tip(about.channel_id, 0))
}

fn wrong_kind(place: &mut Place<'_>) -> Option<()> {
    let about = place.about()?;
    let ntime = Some(place.ntime());
    place.say(match about.kind {
        ChannelKind::Standard => place.extended_job(about.channel_id, ntime),
        ChannelKind::Extended => place.standard_job(&about, about.channel_id, ntime),
    })
}

fn bad_coinbase(place: &mut Place<'_>) -> Option<()> {
    let channels = place.session.channels()?.channels();
    // Of a standard channel the group is told, as it gets no extended jobs of its own.
    let channel_id = channels
        .map(|channel| match channel.kind() {
            ChannelKind::Standard => channel.group_id(),
            ChannelKind::Extended => channel.id(),
        })
        .next()?;
    place.say(Frame::of(&NewExtendedMiningJob {
        channel_id,
        job_id: NOBODYS,
        min_ntime: Some(place.ntime()),
        version: place.hub.job().version(),
        version_rolling_allowed: true,
        merkle_path: Vec::new().try_into().unwrap_or_default(),
        coinbase_tx_prefix: vec![1, 2, 3].try_into().unwrap_or_default(),
        coinbase_tx_suffix: Vec::new().try_into().unwrap_or_default(),
    }))
}

fn close_channels(place: &mut Place<'_>) -> Option<()> {
    let _ = place.about()?;
    place.session.with_channels(place.now, |channels| {
        let ids: Vec<u32> = channels.channels().map(|channel| channel.id()).collect();
        for id in ids {
            channels.close(id, "the test pool was told to");
        }
    })
}

fn unasked_open() -> Frame {
    Frame::of(&OpenExtendedMiningChannelSuccess {
        request_id: NOBODYS,
        channel_id: NOBODYS,
        target: EASIEST.into(),
        extranonce_size: 8,
        extranonce_prefix: B032::default(),
        group_channel_id: NOBODYS + 1,
    })
}

fn client_message() -> Frame {
    Frame::of(&SubmitSharesStandard {
        channel_id: NOBODYS,
        sequence_number: 1,
        job_id: 1,
        nonce: 0,
        ntime: 0,
        version: 0,
    })
}

const fn unknown(extension_type: u16, msg_type: u8, payload: Vec<u8>) -> Frame {
    Frame {
        extension_type,
        msg_type,
        payload,
        name: UNKNOWN,
    }
}
