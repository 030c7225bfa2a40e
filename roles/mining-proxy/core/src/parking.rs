//! Miners that left and may come back.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use roles_logic_sv2::clock::Instant;
use roles_logic_sv2::extranonce::ExtranoncePrefix;
use stratum_translation::bridge::Parked;

/// How long a miner may come back to its session: miners hand in shares up to two minutes late.
pub const PARK_TIME: Duration = Duration::from_secs(120);

/// Sessions kept. One more pushes out the oldest, whose miner then begins anew.
pub const MAX_PARKED: usize = 4_096;

/// What is kept of a miner.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) parked: Parked,
    pub(crate) number: ExtranoncePrefix,
    parked_at: Instant,
}

/// Sessions by their names, and in the order in which they were parked.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    sessions: BTreeMap<String, Session>,
    order: VecDeque<(Instant, String)>,
}

impl Parking {
    /// Keeps a session. Gives back the numbers of those that it pushes out.
    pub(crate) fn park(
        &mut self,
        name: String,
        parked: Parked,
        number: ExtranoncePrefix,
        now: Instant,
    ) -> Vec<ExtranoncePrefix> {
        let mut pushed_out = Vec::new();
        // Entries of resumed sessions stay in the order for a while; they are bounded too.
        while self.sessions.len() >= MAX_PARKED || self.order.len() >= 2 * MAX_PARKED {
            pushed_out.extend(self.oldest());
        }
        self.order.push_back((now, name.clone()));
        let session = Session {
            parked,
            number,
            parked_at: now,
        };
        // Names are given once, and a session is taken out when it is resumed.
        self.sessions.insert(name, session);
        pushed_out
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// The miner is back.
    pub(crate) fn take(&mut self, name: &str) -> Option<Session> {
        self.sessions.remove(name)
    }

    /// Gives back the number of a session whose time is over, one at each call.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<ExtranoncePrefix> {
        while self.order.front()?.0 + PARK_TIME <= now {
            if let Some(number) = self.oldest() {
                return Some(number);
            }
        }
        None
    }

    /// When the next session's time is over.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.order
            .front()
            .map(|(parked_at, _)| *parked_at + PARK_TIME)
    }

    /// Takes out the session parked first; `None` when the entry is of one that was resumed.
    fn oldest(&mut self) -> Option<ExtranoncePrefix> {
        let (parked_at, name) = self.order.pop_front()?;
        let session = self.sessions.get(&name)?;
        if session.parked_at != parked_at {
            return None;
        }
        self.sessions.remove(&name).map(|session| session.number)
    }
}
