//! Random sequences of everything that can happen on a connection, with what must hold throughout.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use super::dialogue::{Dialogue, EASY_NBITS, HARD_NBITS};
use crate::channels::client::{ClientError, OpenTerms, Work};
use crate::channels::server::ServerFlags;
use crate::channels::{ChannelKind, PayoutId};
use crate::share::RejectReason;
use crate::target::Target;

/// Works of one channel that the miner may still submit for: fewer than a group remembers jobs.
const WORKS_KEPT: usize = 6;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn pick(&mut self, ids: &[u32]) -> Option<u32> {
        ids.get(self.below(ids.len().max(1) as u64) as usize)
            .copied()
    }
}

struct Model {
    dialogue: Dialogue,
    random: Random,
    flags: ServerFlags,
    works: BTreeMap<u32, Vec<Work>>,
    ids_seen: BTreeSet<u32>,
    accepted: u64,
    /// Prefixes that a change has retired on this tip: a second change on one tip may end jobs.
    changed_prefix: BTreeSet<u32>,
}

impl Model {
    fn new(seed: u64, flags: ServerFlags) -> Self {
        Self {
            dialogue: Dialogue::working(flags),
            random: Random(seed),
            flags,
            works: BTreeMap::new(),
            ids_seen: BTreeSet::new(),
            accepted: 0,
            changed_prefix: BTreeSet::new(),
        }
    }

    fn step(&mut self) {
        let ids: Vec<u32> = self.works.keys().copied().collect();
        let id = self.random.pick(&ids);
        match (self.random.below(24), id) {
            (0..=2, _) if ids.len() < 12 => self.open(),
            (3, Some(id)) => self.close(id),
            (4..=6, _) => self.dialogue.new_template(),
            (7..=8, _) => self.new_tip(),
            (9, Some(id)) => self.update(id),
            (10, Some(id)) => self.change_prefix(id),
            (11, Some(id)) => self.change_payout(id),
            (12..=13, _) => {
                let millis = self.random.below(30_000);
                self.dialogue.pass(Duration::from_millis(millis));
            }
            (_, Some(id)) => self.submit(id),
            _ => {}
        }
        self.take_new_works();
        self.check();
    }

    fn open(&mut self) {
        let is_standard = self.flags.standard_jobs_only || self.random.below(2) == 0;
        let kind = if is_standard {
            ChannelKind::Standard
        } else {
            ChannelKind::Extended
        };
        let payout = self.random.below(3) as u32;
        let id = self.dialogue.open(kind, payout).unwrap();
        assert!(self.ids_seen.insert(id), "channel id {id} used twice");
        self.works.insert(id, Vec::new());
    }

    fn close(&mut self, id: u32) {
        assert!(self.dialogue.server.close(id, "model"));
        self.dialogue.pump();
        self.works.remove(&id);
    }

    fn new_tip(&mut self) {
        let nbits = if self.random.below(4) == 0 {
            EASY_NBITS
        } else {
            HARD_NBITS
        };
        self.dialogue.new_tip(nbits);
        self.changed_prefix.clear();
    }

    fn update(&mut self, id: u32) {
        let difficulty = (1 + self.random.below(30)) as f64 * 1e-9;
        let terms = OpenTerms {
            nominal_hash_rate: self.random.below(50) as f32,
            max_target: Target::from_difficulty(difficulty).unwrap(),
            min_extranonce_size: 0,
        };
        let update = self.dialogue.client.update(id, terms).unwrap();
        let now = self.dialogue.now;
        self.dialogue
            .server
            .handle_update_channel(&update, now)
            .unwrap();
        self.dialogue.pump();
    }

    fn change_prefix(&mut self, id: u32) {
        if !self.changed_prefix.insert(id) {
            return;
        }
        let kind = self.dialogue.client.channel(id).unwrap().kind();
        let prefix = self.dialogue.prefix(kind);
        self.dialogue
            .server
            .set_extranonce_prefix(id, prefix)
            .unwrap();
        self.dialogue.pump();
    }

    fn change_payout(&mut self, id: u32) {
        let payout = PayoutId(self.random.below(3) as u32);
        // As with prefixes: one change a tip keeps all jobs.
        let is_first = self.changed_prefix.insert(id + 1_000_000);
        if is_first {
            self.dialogue.server.set_payout(&[id], payout).unwrap();
            self.dialogue.pump();
        }
    }

    /// Whatever the miner holds counts when it meets the target it was sent with, and is stale after a tip.
    fn submit(&mut self, id: u32) {
        // A rate that vardiff need not stop.
        let secs = 3 + self.random.below(10);
        self.dialogue.pass(Duration::from_secs(secs));
        self.take_new_works();
        let works = &self.works[&id];
        if works.is_empty() {
            return;
        }
        let work = works[self.random.below(works.len() as u64) as usize].clone();
        let found = self.dialogue.find(&work, true);
        match self.dialogue.submit(&work, &found) {
            Ok(verdict) => {
                let credited = verdict.outcome.unwrap_or_else(|reason| {
                    panic!("{reason}: job {} of channel {id}", work.job_id())
                });
                assert_eq!(credited.difficulty, work.target().difficulty());
                self.accepted += 1;
            }
            Err(ClientError::Stale) => {
                let tip = self.dialogue.client.work(id).unwrap().tip().prev_hash;
                // A channel that moved to a new group is told its tip once more, which ends its jobs for the client;
                // the server is more patient.
                let is_same_block = work.tip().prev_hash == tip;
                match self.dialogue.force(&work, &found) {
                    Some(reason) => assert_eq!(reason, RejectReason::Stale),
                    None => {
                        assert!(is_same_block, "credit on an old tip");
                        self.accepted += 1;
                    }
                }
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn take_new_works(&mut self) {
        for (id, works) in &mut self.works {
            let Some(work) = self.dialogue.client.work(*id) else {
                panic!("channel {id} has no work");
            };
            if works
                .last()
                .is_none_or(|last| last.job_id() != work.job_id())
            {
                assert!(
                    works.iter().all(|other| other.job_id() < work.job_id()),
                    "job ids ascend"
                );
                works.push(work.clone());
            }
            if works.len() > WORKS_KEPT {
                works.remove(0);
            }
        }
    }

    fn check(&mut self) {
        let dialogue = &self.dialogue;
        let server: Vec<_> = dialogue.server.channels().collect();
        assert_eq!(server.len(), self.works.len());
        let mut prefixes = BTreeSet::new();
        for (theirs, ours) in server.iter().zip(dialogue.client.channels()) {
            assert_eq!(theirs.id(), ours.id());
            // Who takes standard jobs only is not told of groups (MS-55).
            if !self.flags.standard_jobs_only {
                assert_eq!(theirs.group_id(), ours.group_id());
            }
            assert_eq!(theirs.target(), *ours.target());
            assert_eq!(theirs.extranonce_prefix(), ours.extranonce_prefix());
            assert!(prefixes.insert(ours.extranonce_prefix()[..4].to_vec()));
            assert!(
                !self.ids_seen.contains(&ours.group_id()),
                "a group's id is no channel's"
            );
        }
        let in_use = dialogue.extranonces.in_use() as usize;
        assert!(in_use >= server.len() && in_use <= 2 * server.len());
    }
}

fn run(seed: u64, flags: ServerFlags) -> Model {
    let mut model = Model::new(seed, flags);
    for _ in 0..400 {
        model.step();
    }
    model
}

#[test]
fn both_sides_agree_whatever_happens() {
    let standard_jobs_only = ServerFlags {
        standard_jobs_only: true,
        ..ServerFlags::default()
    };
    let mut accepted = 0;
    for seed in 1..=12u64 {
        for flags in [ServerFlags::default(), standard_jobs_only] {
            let mut model = run(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), flags);
            model.dialogue.server.close_all();
            model.dialogue.pump();
            // Every credited share is handed to the ledger once, every prefix comes back.
            assert_eq!(model.dialogue.persisted, model.accepted);
            assert_eq!(model.dialogue.extranonces.in_use(), 0);
            accepted += model.accepted;
        }
    }
    assert!(accepted > 1_000, "the sequences must reach the share path");
}
