//! What becomes of what the pool sends: the one place of each [`Delivery`].

use mining_sv2::SubmitSharesError;
use roles_logic_sv2::channels::server::ServerMessage;
use roles_logic_sv2::downstream::Outgoing;

use crate::misbehaviour::Delivery;

use super::post::{Due, Parcel};

/// An answer that waits for the next one.
pub(super) type Hold = Option<Parcel>;

/// The easiest target there is.
pub(super) const EASIEST: [u8; 32] = [0xff; 32];

impl Delivery {
    /// What leaves in place of the messages that would leave together.
    pub(super) fn carry(&self, mut parcels: Vec<Parcel>, hold: &mut Hold) -> Vec<Parcel> {
        match self {
            Self::Silent => {
                parcels
                    .iter_mut()
                    .for_each(|parcel| parcel.due = Due::Behaving);
            }
            Self::Slow(delay) => {
                for parcel in &mut parcels {
                    if let Due::At(at) = &mut parcel.due {
                        *at += *delay;
                    }
                }
            }
            Self::Reorder => parcels.reverse(),
            Self::ReorderAnswers => parcels = swapped(parcels, hold),
            Self::Duplicate => {
                let twice = |parcel: Parcel| [parcel.clone(), parcel];
                parcels = parcels.into_iter().flat_map(twice).collect();
            }
            Self::WrongChannelBit => {
                parcels
                    .iter_mut()
                    .for_each(|parcel| parcel.has_wrong_bit = true);
            }
            Self::IgnoreShares => parcels.retain(|parcel| !is_answer_to_share(&parcel.message)),
            Self::WithholdWork => parcels.retain(|parcel| !is_job(&parcel.message)),
            Self::WithholdTips => parcels.retain(|parcel| !is_tip(&parcel.message)),
            Self::RefuseShares(code) => change(&mut parcels, |message| {
                let ServerMessage::SubmitSharesSuccess(success) = message else {
                    return;
                };
                *message = ServerMessage::SubmitSharesError(SubmitSharesError {
                    channel_id: success.channel_id,
                    sequence_number: success.last_sequence_number,
                    error_code: code.field(),
                });
            }),
            Self::ShortGrant => change(&mut parcels, |message| {
                if let ServerMessage::OpenExtendedMiningChannelSuccess(grant) = message {
                    grant.extranonce_size = 1;
                }
            }),
            Self::EasyGrant => change(&mut parcels, |message| match message {
                ServerMessage::OpenExtendedMiningChannelSuccess(grant) => {
                    grant.target = EASIEST.into();
                }
                ServerMessage::OpenStandardMiningChannelSuccess(grant) => {
                    grant.target = EASIEST.into();
                }
                _ => {}
            }),
            Self::UsedId => change(&mut parcels, |message| match message {
                ServerMessage::OpenExtendedMiningChannelSuccess(grant) => {
                    grant.channel_id = grant.group_channel_id;
                }
                ServerMessage::OpenStandardMiningChannelSuccess(grant) => {
                    grant.channel_id = grant.group_channel_id;
                }
                _ => {}
            }),
        }
        parcels
    }
}

fn change(parcels: &mut [Parcel], change: impl Fn(&mut ServerMessage)) {
    for parcel in parcels {
        if let Outgoing::Mining(message) = &mut parcel.message {
            change(message);
        }
    }
}

/// Each answer waits for the next one, which then goes before it.
fn swapped(parcels: Vec<Parcel>, hold: &mut Hold) -> Vec<Parcel> {
    let mut leaving = Vec::new();
    for parcel in parcels {
        if !is_answer_to_share(&parcel.message) {
            leaving.push(parcel);
            continue;
        }
        match hold.take() {
            Some(earlier) => leaving.extend([parcel, earlier]),
            None => *hold = Some(parcel),
        }
    }
    leaving
}

const fn is_answer_to_share(message: &Outgoing) -> bool {
    matches!(
        message,
        Outgoing::Mining(
            ServerMessage::SubmitSharesSuccess(_) | ServerMessage::SubmitSharesError(_)
        )
    )
}

const fn is_job(message: &Outgoing) -> bool {
    matches!(
        message,
        Outgoing::Mining(
            ServerMessage::NewMiningJob(_)
                | ServerMessage::NewExtendedMiningJob(_)
                | ServerMessage::SetNewPrevHash(_)
        )
    )
}

const fn is_tip(message: &Outgoing) -> bool {
    matches!(message, Outgoing::Mining(ServerMessage::SetNewPrevHash(_)))
}
