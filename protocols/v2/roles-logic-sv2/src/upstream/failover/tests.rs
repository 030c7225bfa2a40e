//! What an owner sees happen, in virtual time.

use alloc::vec;

use super::*;
use FailoverOutput::{Leave, Try, Use};

struct Scene {
    failover: Failover,
    now: Instant,
}

impl Scene {
    fn new(priorities: &[u32]) -> Self {
        let now = Instant::from_secs(1_000);
        let failover = Failover::new(priorities, FailoverConfig::default(), now);
        Self { failover, now }
    }

    /// Everything that happens within so many seconds, each with its millisecond.
    fn within(&mut self, secs: u64) -> Vec<(u64, FailoverOutput)> {
        let start = self.now;
        let end = start + Duration::from_secs(secs);
        let mut seen = Vec::new();
        loop {
            let ms = (self.now - start).as_millis() as u64;
            seen.extend(core::iter::from_fn(|| self.failover.poll_output()).map(|o| (ms, o)));
            match self.failover.poll_timeout().filter(|at| *at <= end) {
                Some(at) => {
                    assert!(at > self.now || seen.is_empty(), "time stands still");
                    self.now = at.max(self.now);
                    self.failover.handle_timeout(self.now);
                    let next = self.failover.poll_timeout();
                    assert!(next.is_none_or(|next| next > self.now), "time stands still");
                }
                None => break,
            }
        }
        self.now = end;
        seen
    }

    fn now(&mut self) -> Vec<FailoverOutput> {
        core::iter::from_fn(|| self.failover.poll_output()).collect()
    }

    fn ready(&mut self, index: usize) {
        self.failover.ready(index, self.now);
    }

    fn failed(&mut self, index: usize) {
        self.failover.failed(index, u32::MAX, self.now);
    }

    fn set_wanted(&mut self, index: usize, is_wanted: bool) {
        self.failover.set_wanted(index, is_wanted, self.now);
    }

    fn set_priority(&mut self, index: usize, priority: u32) {
        self.failover.set_priority(index, priority, self.now);
    }

    /// Upstreams of these priorities, all of the best tier in use.
    fn settled(priorities: &[u32]) -> Self {
        let mut scene = Self::new(priorities);
        let best = priorities.iter().min().copied();
        let tier: Vec<usize> = (0..priorities.len())
            .filter(|index| priorities.get(*index).copied() == best)
            .collect();
        for index in &tier {
            scene.ready(*index);
        }
        scene.within(60);
        assert_eq!(scene.failover.used(), tier);
        scene
    }
}

#[test]
fn a_lone_upstream_is_tried_again_and_again_with_longer_pauses() {
    let mut scene = Scene::new(&[0]);
    assert_eq!(scene.now(), [Try(0)]);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        scene.failed(0);
        let tried = scene.within(31);
        assert_eq!(tried.len(), 1);
        pauses.push(tried[0].0);
    }
    let expected = [500, 1_000, 2_000, 2_000, 2_000, 2_000, 2_000, 2_000];
    assert_eq!(pauses, expected, "miners wait");
    // One that worked for long is back at once.
    scene.ready(0);
    scene.within(120);
    scene.failed(0);
    assert_eq!(scene.within(1), [(0, Use(vec![])), (0, Try(0))]);
}

#[test]
fn the_next_is_tried_at_once_when_the_best_fails_and_after_a_while_when_it_says_nothing() {
    let mut scene = Scene::new(&[0, 1, 2]);
    assert_eq!(
        scene.within(5),
        [(0, Try(0)), (2_000, Try(1)), (4_000, Try(2))]
    );
    scene.ready(2);
    assert_eq!(scene.now(), [Use(vec![2])]);

    let mut scene = Scene::new(&[0, 1, 2]);
    assert_eq!(scene.now(), [Try(0)]);
    scene.failed(0);
    assert_eq!(scene.now(), [Try(1)]);
    scene.ready(1);
    assert_eq!(scene.now(), [Use(vec![1])]);
    assert_eq!(scene.failover.used(), [1]);
}

#[test]
fn a_better_one_is_used_again_when_it_has_lasted() {
    let mut scene = Scene::new(&[0, 1]);
    scene.failed(0);
    scene.ready(1);
    scene.now();
    assert_eq!(scene.within(5), [(500, Try(0))]);
    scene.ready(0);
    assert_eq!(scene.within(9), []);
    assert_eq!(scene.within(5), [(1_000, Use(vec![0])), (1_000, Leave(1))]);
    assert_eq!(scene.within(600), []);
}

#[test]
fn one_that_is_lost_while_it_settles_changes_nothing() {
    let mut scene = Scene::new(&[0, 1]);
    scene.failed(0);
    scene.ready(1);
    scene.now();
    for _ in 0..20 {
        let tried = scene.within(31);
        assert!(
            tried.iter().all(|(_, output)| *output == Try(0)),
            "{tried:?}"
        );
        scene.ready(0);
        assert_eq!(scene.within(5), []);
        scene.failed(0);
        assert_eq!(scene.failover.used(), [1]);
    }
}

#[test]
fn two_that_come_and_go_are_changed_less_and_less_often() {
    let mut scene = Scene::new(&[0, 1]);
    let mut changes = Vec::new();
    // Each is up for 20 seconds and down for 5, in turn; an hour of it.
    for second in 0_u64..3_600 {
        let (round, moment) = (second / 25, second % 25);
        let down = usize::try_from(round % 2).ok().filter(|_| moment >= 20);
        if moment == 20 {
            scene.failed((round % 2) as usize);
        }
        for (_, output) in scene.within(1) {
            match output {
                Try(index) if down == Some(index) => scene.failed(index),
                Try(index) => scene.ready(index),
                Use(set) if !set.is_empty() => changes.push(round),
                _ => {}
            }
        }
    }
    let early = changes.iter().filter(|round| **round < 24).count();
    let late = changes.iter().filter(|round| **round >= 120).count();
    assert!(late <= early, "{changes:?}");
    assert!(
        scene
            .failover
            .upstreams
            .iter()
            .any(|upstream| upstream.settle > Duration::from_secs(60))
    );
}

#[test]
fn one_that_breaks_as_soon_as_it_is_used_is_used_less_and_less_often() {
    let mut scene = Scene::new(&[0, 1]);
    scene.failed(0);
    scene.ready(1);
    let mut uses = Vec::new();
    // Ready whenever it is tried, and lost a second after it was taken into use; two hours of it.
    for second in 0..7_200_u64 {
        for (_, output) in scene.within(1) {
            match output {
                Try(index) => scene.ready(index),
                Use(set) if set == [0] => {
                    uses.push(second);
                    scene.failed(0);
                }
                _ => {}
            }
        }
    }
    let pauses: Vec<_> = uses.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.is_sorted(), "{uses:?}");
    assert!(pauses.last().is_some_and(|pause| *pause >= 600), "{uses:?}");
}

#[test]
fn all_of_a_tier_are_tried_together_and_used_as_they_get_ready() {
    let mut scene = Scene::new(&[5, 1, 1]);
    assert_eq!(scene.now(), [Try(1), Try(2)]);
    scene.ready(2);
    assert_eq!(scene.now(), [Use(vec![2])]);
    assert_eq!(scene.within(1), []);
    scene.ready(1);
    assert_eq!(scene.within(60), [(10_000, Use(vec![1, 2]))]);
}

#[test]
fn a_peer_that_fails_is_used_again_when_it_has_lasted() {
    let mut scene = Scene::settled(&[0, 0, 1]);
    scene.failed(1);
    assert_eq!(scene.within(1), [(0, Use(vec![0])), (0, Try(1))]);
    scene.failed(1);
    assert_eq!(
        scene.within(1),
        [(500, Try(1))],
        "the next tier is not needed"
    );
    scene.ready(1);
    assert_eq!(scene.within(15), [(10_000, Use(vec![0, 1]))]);
    // Lost soon, so it must last twice as long.
    scene.failed(1);
    assert_eq!(scene.within(5), [(0, Use(vec![0])), (1_000, Try(1))]);
    scene.ready(1);
    assert_eq!(scene.within(60), [(20_000, Use(vec![0, 1]))]);
}

#[test]
fn a_better_tier_replaces_all_that_were_used_and_its_members_join_as_they_settle() {
    let mut scene = Scene::new(&[1, 0, 1, 0]);
    scene.now();
    scene.failed(1);
    scene.failed(3);
    assert_eq!(scene.now(), [Try(0), Try(2)]);
    scene.ready(0);
    scene.ready(2);
    let expected = [
        (0, Use(vec![0])),
        (500, Try(1)),
        (500, Try(3)),
        (10_000, Use(vec![0, 2])),
    ];
    assert_eq!(scene.within(20), expected);
    scene.ready(1);
    assert_eq!(scene.within(4), []);
    scene.ready(3);
    let expected = [
        (6_000, Use(vec![1])),
        (6_000, Leave(0)),
        (6_000, Leave(2)),
        (10_000, Use(vec![1, 3])),
    ];
    assert_eq!(scene.within(60), expected);
}

#[test]
fn all_of_a_better_tier_that_have_settled_are_taken_into_use_at_once() {
    let mut scene = Scene::new(&[0, 0, 1]);
    scene.now();
    scene.failed(0);
    scene.failed(1);
    scene.ready(2);
    scene.within(1);
    scene.ready(0);
    scene.ready(1);
    let expected = [(10_000, Use(vec![0, 1])), (10_000, Leave(2))];
    assert_eq!(scene.within(60), expected);
}

#[test]
fn when_a_whole_tier_fails_the_next_is_tried_at_once_or_after_a_while_for_the_tier() {
    let mut scene = Scene::settled(&[0, 0, 1, 1, 2]);
    scene.failed(0);
    assert_eq!(scene.now(), [Use(vec![1]), Try(0)]);
    scene.failed(1);
    assert_eq!(scene.now(), [Use(vec![]), Try(1)]);
    // Both say nothing: a tier is waited for once, not each of its members.
    let expected = [(2_000, Try(2)), (2_000, Try(3)), (4_000, Try(4))];
    assert_eq!(scene.within(5), expected);
    scene.ready(3);
    assert_eq!(scene.now(), [Use(vec![3]), Leave(4)]);

    let mut scene = Scene::new(&[0, 0, 1]);
    assert_eq!(scene.now(), [Try(0), Try(1)]);
    scene.failed(0);
    assert_eq!(scene.now(), [], "the other one may work");
    scene.failed(1);
    assert_eq!(scene.now(), [Try(2)]);
}

#[test]
fn when_the_last_fails_another_that_is_ready_is_used_without_a_gap() {
    let mut scene = Scene::new(&[0, 1]);
    scene.failed(0);
    scene.ready(1);
    scene.within(1);
    scene.ready(0);
    scene.now();
    scene.failed(1);
    assert_eq!(scene.now(), [Use(vec![0])]);
}

#[test]
fn one_of_two_that_is_drained_is_left_at_once_and_comes_back() {
    let mut scene = Scene::settled(&[0, 0, 1]);
    scene.set_wanted(0, false);
    assert_eq!(scene.within(600), [(0, Use(vec![1])), (0, Leave(0))]);
    scene.set_wanted(0, true);
    assert_eq!(scene.now(), [Try(0)]);
    scene.ready(0);
    assert_eq!(scene.within(60), [(10_000, Use(vec![0, 1]))]);
}

#[test]
fn the_only_one_that_is_drained_is_used_until_another_is() {
    let mut scene = Scene::settled(&[0, 1]);
    scene.set_wanted(0, false);
    assert_eq!(scene.within(1), [(0, Try(1))]);
    scene.failed(1);
    assert_eq!(scene.within(3), [(500, Try(1))]);
    assert_eq!(scene.failover.used(), [0]);
    scene.ready(1);
    assert_eq!(scene.now(), [Use(vec![1]), Leave(0)]);
    assert_eq!(scene.within(600), []);
    scene.set_wanted(0, true);
    assert_eq!(scene.now(), [Try(0)]);
    scene.ready(0);
    let expected = [(10_000, Use(vec![0])), (10_000, Leave(1))];
    assert_eq!(scene.within(60), expected);
}

#[test]
fn a_drained_one_that_fails_is_gone_and_one_that_is_wanted_again_was_never_left() {
    let mut scene = Scene::settled(&[0, 1]);
    scene.set_wanted(0, false);
    assert_eq!(scene.now(), [Try(1)]);
    scene.failed(0);
    assert_eq!(scene.within(60), [(0, Use(vec![]))]);

    let mut scene = Scene::settled(&[0, 1]);
    scene.set_wanted(0, false);
    scene.now();
    scene.set_wanted(0, true);
    assert_eq!(scene.within(60), [(0, Leave(1))]);
    assert_eq!(scene.failover.used(), [0]);
}

#[test]
fn draining_what_is_not_used_ends_attempts_and_uses_what_settles() {
    // An attempt.
    let mut scene = Scene::new(&[0, 1]);
    scene.now();
    scene.set_wanted(0, false);
    assert_eq!(scene.now(), [Leave(0), Try(1)]);
    // The used one, while a better one settles.
    scene.ready(1);
    scene.set_wanted(0, true);
    scene.ready(0);
    scene.now();
    scene.set_wanted(1, false);
    assert_eq!(scene.now(), [Use(vec![0]), Leave(1)]);
    // The last one that is wanted: nothing would be gained.
    scene.set_wanted(0, false);
    assert_eq!(scene.within(600), []);
    assert_eq!(scene.failover.used(), [0]);
}

#[test]
fn one_that_is_added_is_tried_when_it_is_no_worse() {
    let mut scene = Scene::settled(&[1]);
    assert_eq!(scene.failover.add(2, scene.now), 1);
    assert_eq!(scene.within(60), []);
    assert_eq!(scene.failover.add(1, scene.now), 2);
    assert_eq!(scene.now(), [Try(2)]);
    scene.ready(2);
    assert_eq!(scene.within(60), [(10_000, Use(vec![0, 2]))]);
    assert_eq!(scene.failover.add(0, scene.now), 3);
    assert_eq!(scene.now(), [Try(3)]);
    scene.ready(3);
    let expected = [
        (10_000, Use(vec![3])),
        (10_000, Leave(0)),
        (10_000, Leave(2)),
    ];
    assert_eq!(scene.within(60), expected);
}

#[test]
fn what_is_used_follows_new_priorities() {
    let mut scene = Scene::settled(&[1, 1, 2]);
    scene.set_priority(0, 3);
    assert_eq!(scene.within(60), [(0, Use(vec![1])), (0, Leave(0))]);
    scene.set_priority(1, 2);
    assert_eq!(scene.now(), [Try(2)], "a peer now");
    scene.ready(2);
    assert_eq!(scene.within(60), [(10_000, Use(vec![1, 2]))]);
    scene.set_priority(2, 1);
    assert_eq!(scene.within(60), [(0, Use(vec![2])), (0, Leave(1))]);
    scene.set_priority(2, 5);
    assert_eq!(scene.now(), [Try(1), Try(0)], "better ones now");
    scene.ready(1);
    let expected = [
        (10_000, Use(vec![1])),
        (10_000, Leave(0)),
        (10_000, Leave(2)),
    ];
    assert_eq!(scene.within(60), expected);
}

#[test]
fn what_lies_only_on_the_way_to_other_choices_is_not_done() {
    let mut scene = Scene::new(&[]);
    let now = scene.now;
    // One that is not wanted is not even tried.
    scene
        .failover
        .set_all(&[(0, true), (0, true), (0, false), (1, true)], now);
    assert_eq!(scene.now(), [Try(0), Try(1)]);
    scene.ready(0);
    scene.ready(1);
    scene.within(60);
    assert_eq!(scene.failover.used(), [0, 1]);
    let now = scene.now;
    // All go down together, and the third takes the place of the fourth.
    scene
        .failover
        .set_all(&[(7, true), (7, true), (8, true), (8, false)], now);
    assert_eq!(scene.within(60), []);
    let now = scene.now;
    scene
        .failover
        .set_all(&[(7, true), (8, true), (8, true), (6, true)], now);
    assert_eq!(scene.now(), [Use(vec![0]), Leave(1), Try(3)]);
}

#[test]
fn patience_can_change() {
    let mut scene = Scene::new(&[0, 1]);
    assert_eq!(scene.now(), [Try(0)]);
    let config = FailoverConfig {
        patience: Duration::from_millis(700),
        ..FailoverConfig::default()
    };
    scene.failover.set_config(config, scene.now);
    assert_eq!(scene.within(5), [(700, Try(1))]);
}

/// What an owner knows of the upstreams, and what must be true of it whatever happens.
struct Owner {
    scene: Scene,
    trying: Vec<bool>,
    ready: Vec<bool>,
    wanted: Vec<bool>,
    priorities: Vec<u32>,
    used: Vec<usize>,
}

impl Owner {
    fn new(priorities: &[u32]) -> Self {
        Self {
            scene: Scene::new(priorities),
            trying: vec![false; priorities.len()],
            ready: vec![false; priorities.len()],
            wanted: vec![true; priorities.len()],
            priorities: priorities.to_vec(),
            used: Vec::new(),
        }
    }

    fn pass(&mut self, secs: u64, has_failed: bool) {
        for (_, output) in self.scene.within(secs) {
            match output {
                Try(index) => {
                    assert!(self.wanted[index] && !self.trying[index] && !self.ready[index]);
                    self.trying[index] = true;
                }
                Use(set) => {
                    assert!(set != self.used && set.is_sorted());
                    assert!(set.iter().all(|index| self.ready[*index]));
                    assert!(has_failed || !set.is_empty(), "an avoidable gap");
                    self.used = set;
                }
                Leave(index) => {
                    assert!(!self.used.contains(&index));
                    assert!(self.trying[index] || self.ready[index]);
                    (self.trying[index], self.ready[index]) = (false, false);
                }
            }
        }
        self.check();
    }

    fn check(&self) {
        assert_eq!(self.scene.failover.used(), self.used);
        let connected = |index: &usize| self.trying[*index] || self.ready[*index];
        let all = 0..self.priorities.len();
        let is_held = self.used.iter().any(|index| !self.wanted[*index]);
        let Some(first) = self.used.first().filter(|_| !is_held) else {
            assert!(self.used.len() <= 1);
            assert!(
                all.clone()
                    .all(|i| !self.ready[i] || self.used.contains(&i))
            );
            let is_active = self.trying.contains(&true);
            let is_idle = !is_active && self.scene.failover.poll_timeout().is_none();
            assert!(!is_idle || !self.wanted.contains(&true));
            return;
        };
        let tier = self.priorities[*first];
        assert!(
            self.used
                .iter()
                .all(|index| self.priorities[*index] == tier)
        );
        for index in all.filter(connected) {
            assert!(self.wanted[index] && self.priorities[index] <= tier);
        }
    }

    /// Something happens to one upstream, if it can; says whether one that was used failed.
    fn happen(&mut self, index: usize, what: u64) -> bool {
        match what {
            0..8 if self.trying[index] => {
                (self.trying[index], self.ready[index]) = (false, true);
                self.scene.ready(index);
            }
            8..10 if self.trying[index] || self.ready[index] => {
                (self.trying[index], self.ready[index]) = (false, false);
                self.scene.failed(index);
                return self.used.contains(&index);
            }
            10..12 => {
                self.wanted[index] = what == 10;
                self.scene.set_wanted(index, what == 10);
            }
            12..14 => {
                self.priorities[index] = (what - 12) as u32 * 2 + index as u32 % 2;
                self.scene.set_priority(index, self.priorities[index]);
            }
            14 if self.priorities.len() < 6 => {
                self.scene.failover.add(1, self.scene.now);
                self.priorities.push(1);
                for list in [&mut self.trying, &mut self.ready, &mut self.wanted] {
                    list.push(false);
                }
                self.wanted[self.priorities.len() - 1] = true;
            }
            _ => {}
        }
        false
    }
}

#[test]
fn none_is_used_twice_and_none_is_left_that_is_used() {
    // Any order of events: what is used was ready, what is left is not used.
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..200 {
        let mut owner = Owner::new(&[0, round % 3, round / 3 % 3]);
        owner.pass(0, false);
        for _ in 0..1_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let index = (random >> 32) as usize % owner.priorities.len();
            let has_failed = owner.happen(index, (random >> 16) % 16);
            // Failed, and what follows at once, before time passes.
            owner.pass(0, has_failed);
            owner.pass(random % 7, false);
        }
    }
}
