//! What waits to be sent on one connection, in order.

use std::collections::VecDeque;

use roles_logic_sv2::clock::Instant;
use roles_logic_sv2::downstream::Outgoing;

use crate::misbehaviour::Delivery;

use super::delivery::Hold;
use super::frame::{Frame, Output};

/// Messages that may wait on one connection; with one more it is closed.
pub const MAX_HELD: usize = 10_000;

/// A message on its way out.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) message: Outgoing,
    /// When it leaves.
    pub(super) due: Due,
    pub(super) has_wrong_bit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    At(Instant),
    /// When the pool behaves again.
    Behaving,
}

#[derive(Debug)]
enum Letter {
    Parcel(Parcel),
    Close(String),
}

/// The post of one connection.
#[derive(Debug, Default)]
pub(super) struct Post {
    queue: VecDeque<(Due, Letter)>,
    /// Answers that wait for the next one.
    hold: Hold,
    is_overfull: bool,
}

impl Post {
    /// Takes what leaves together.
    pub(super) fn take(&mut self, batch: Vec<Outgoing>, deliveries: &[&Delivery], now: Instant) {
        let parcel = |message| Parcel {
            message,
            due: Due::At(now),
            has_wrong_bit: false,
        };
        let mut parcels: Vec<Parcel> = batch.into_iter().map(parcel).collect();
        for delivery in deliveries {
            parcels = delivery.carry(parcels, &mut self.hold);
        }
        for parcel in parcels {
            self.put(parcel.due, Letter::Parcel(parcel));
        }
    }

    /// Ends the connection when all before has left.
    pub(super) fn close(&mut self, reason: String, now: Instant) {
        let due = self.queue.back().map_or(Due::At(now), |(due, _)| *due);
        self.put(due, Letter::Close(reason));
    }

    fn put(&mut self, due: Due, letter: Letter) {
        if self.queue.len() >= MAX_HELD {
            self.is_overfull = true;
            return;
        }
        self.queue.push_back((due, letter));
    }

    /// Misbehaviour is over: what it kept may leave, but for what others keep.
    pub(super) fn behave(&mut self, deliveries: &[&Delivery], now: Instant) {
        let is_silent = deliveries.contains(&&Delivery::Silent);
        if !is_silent {
            for (due, _) in &mut self.queue {
                if *due == Due::Behaving {
                    *due = Due::At(now);
                }
            }
        }
        if !deliveries.contains(&&Delivery::ReorderAnswers)
            && let Some(parcel) = self.hold.take()
        {
            let due = if is_silent {
                Due::Behaving
            } else {
                Due::At(now)
            };
            self.put(due, Letter::Parcel(parcel));
        }
    }

    /// What is due, in order.
    pub(super) fn due(&mut self, now: Instant) -> Option<Output> {
        if self.is_overfull {
            self.is_overfull = false;
            self.queue.clear();
            return Some(Output::Cut {
                reason: "too many messages waited".to_owned(),
            });
        }
        let (Due::At(due), _) = self.queue.front()? else {
            return None;
        };
        if *due > now {
            return None;
        }
        let (_, letter) = self.queue.pop_front()?;
        Some(match letter {
            Letter::Parcel(parcel) => Output::Send(parcel.frame()),
            Letter::Close(reason) => Output::Close { reason },
        })
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.queue.front()? {
            (Due::At(at), _) => Some(*at),
            (Due::Behaving, _) => None,
        }
    }
}

impl Parcel {
    fn frame(&self) -> Frame {
        let mut frame = Frame::of_kind(self.message.kind(), &self.message);
        if self.has_wrong_bit {
            frame.extension_type ^= const_sv2::CHANNEL_MSG_BIT;
        }
        frame
    }
}
