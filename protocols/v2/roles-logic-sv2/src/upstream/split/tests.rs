//! Fleets in virtual time.

extern crate std;

use super::*;

/// Seconds between two shares of a device.
const SHARE_SECS: f64 = 6.0;

struct Device {
    hashrate: f64,
    estimate: f64,
    upstream: usize,
    moved_at: Instant,
    /// Shares' worth of work until the next one.
    until_share: f64,
}

struct Fleet {
    split: Split,
    now: Instant,
    random: u64,
    /// Whether shares come by luck.
    is_lucky: bool,
    devices: Vec<(u32, Device)>,
    /// Of each upstream: hashrate × time, and shares.
    expected: [f64; 4],
    counted: [f64; 4],
    moves: usize,
}

impl Fleet {
    fn new(weights: &[(usize, u32)], is_lucky: bool, seed: u64) -> Self {
        let now = Instant::from_secs(1_000);
        let mut split = Split::new(SplitConfig::default());
        split.set_weights(weights, now);
        Self {
            split,
            now,
            random: 0x2545_f491_4f6c_dd1d ^ (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            is_lucky,
            devices: Vec::new(),
            expected: [0.0; 4],
            counted: [0.0; 4],
            moves: 0,
        }
    }

    fn uniform(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((self.random >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    fn until_share(&mut self) -> f64 {
        if self.is_lucky {
            -self.uniform().ln()
        } else {
            1.0
        }
    }

    /// A device of this hashrate joins, which is thought to be so many times stronger than it is.
    fn join(&mut self, hashrate: f64, error: f64) {
        let estimate = hashrate * error;
        let upstream = self.split.place(estimate).unwrap();
        let until_share = self.until_share() * self.uniform();
        let device = Device {
            hashrate,
            estimate,
            upstream,
            moved_at: self.now,
            until_share,
        };
        let key = self.devices.last().map_or(0, |(key, _)| key + 1);
        self.devices.push((key, device));
    }

    fn look(&mut self) {
        let loads: Vec<_> = self
            .devices
            .iter()
            .map(|(key, device)| Load {
                key: *key,
                upstream: device.upstream,
                hashrate: device.estimate,
                moved_at: device.moved_at,
            })
            .collect();
        let dwell = Duration::from_secs_f64(self.split.dwell());
        for (key, upstream) in self.split.rebalance(&loads, self.now) {
            let mut devices = self.devices.iter_mut();
            let (_, device) = devices.find(|(other, _)| *other == key).unwrap();
            assert_ne!(device.upstream, upstream);
            let is_used = self.split.home(device.upstream).is_some();
            assert!(!is_used || self.now - device.moved_at >= dwell);
            (device.upstream, device.moved_at) = (upstream, self.now);
            self.moves += 1;
        }
    }

    fn second(&mut self) {
        if self.split.poll_timeout().is_some_and(|at| at <= self.now) {
            self.look();
        }
        for index in 0..self.devices.len() {
            let (upstream, hashrate) = {
                let (_, device) = &mut self.devices[index];
                device.until_share -= 1.0 / SHARE_SECS;
                (device.upstream, device.hashrate)
            };
            self.expected[upstream] += hashrate;
            while self.devices[index].1.until_share <= 0.0 {
                let work = hashrate * SHARE_SECS;
                self.counted[upstream] += work;
                self.split.worked(upstream, work);
                let until_share = self.until_share();
                self.devices[index].1.until_share += until_share;
            }
        }
        self.now += Duration::from_secs(1);
    }

    /// What upstreams got is counted from here on.
    fn forget(&mut self) {
        (self.expected, self.counted) = ([0.0; 4], [0.0; 4]);
    }

    fn set_weights(&mut self, weights: &[(usize, u32)]) {
        self.split.set_weights(weights, self.now);
        self.forget();
    }

    fn off(&self, weights: &[(usize, u32)]) -> f64 {
        off(&self.expected, weights)
    }

    fn run(&mut self, secs: u64) {
        for _ in 0..secs {
            self.second();
        }
    }
}

/// The furthest that any upstream's part of all is from its weight.
fn off(worked: &[f64; 4], weights: &[(usize, u32)]) -> f64 {
    let all: f64 = worked.iter().sum();
    let sum: u32 = weights.iter().map(|(_, weight)| weight).sum();
    let off = weights.iter().map(|(upstream, weight)| {
        (worked[*upstream] / all - f64::from(*weight) / f64::from(sum)).abs()
    });
    off.fold(0.0, f64::max)
}

fn numbered(weights: &[u32]) -> Vec<(usize, u32)> {
    weights.iter().copied().enumerate().collect()
}

const WEIGHTS: [&[u32]; 5] = [&[70, 30], &[50, 50], &[1, 1, 1], &[90, 10], &[60, 30, 10]];

/// A fleet of these sizes, with estimates that are wrong by so much at most, after a minute and for some more.
///
/// Asserts what is always so, and that leaves of a settled fleet are moved no more than so many times a minute.
fn check(sizes: &[f64], error: f64, minutes: u64, moves_a_minute: f64) {
    for weights in WEIGHTS.map(numbered) {
        for seed in 0..6 {
            let mut fleet = Fleet::new(&weights, seed > 0, seed);
            for size in sizes {
                let error = 1.0 + error * (2.0 * fleet.uniform() - 1.0);
                fleet.join(size * 1e14, error);
            }
            let scene = std::format!("{} devices, {weights:?}, seed {seed}", sizes.len());
            fleet.run(60);
            let (expected, counted) = (fleet.off(&weights), off(&fleet.counted, &weights));
            // One device among three can be two looks off, of sixty.
            let is_coarse = sizes.len() == 1 && weights.len() > 2;
            let limit = if is_coarse { 0.035 } else { 0.02 };
            assert!(expected <= limit, "{expected} after a minute: {scene}");
            // Ten shares a minute and device: luck alone is worth that much.
            let luck = 4.0 * (0.25 / (10.0 * sizes.len() as f64)).sqrt();
            let is_even = sizes.len() >= 100 && seed == 0;
            let limit = if is_even { 0.02 } else { 0.02 + luck };
            // Shares like clockwork can all fall into the slices of one, which is then no luck.
            let is_sliced = sizes.len() < 10 && seed == 0;
            assert!(is_sliced || counted <= limit, "{counted} counted: {scene}");
            fleet.run(240);
            let moves = fleet.moves;
            for _ in 0..minutes {
                fleet.run(60);
                let expected = fleet.off(&weights);
                let limit = if is_coarse && seed == 0 { 0.05 } else { 0.02 };
                assert!(expected <= limit, "{expected} later: {scene}");
            }
            let moves = (fleet.moves - moves) as f64 / minutes as f64;
            assert!(moves <= moves_a_minute, "{moves} a minute: {scene}");
            let counted = off(&fleet.counted, &weights);
            let luck = luck / ((minutes + 5) as f64).sqrt();
            assert!(counted <= 0.02 + luck, "{counted} counted: {scene}");
        }
    }
}

#[test]
fn a_few_devices_go_to_and_fro_and_are_divided_by_time() {
    check(&[1.0], 0.1, 60, 8.0);
    check(&[1.0, 1.0], 0.02, 60, 7.0);
    check(&[1.0, 1.0, 1.0], 0.02, 60, 5.0);
}

#[test]
fn ten_devices_are_divided_and_one_of_them_goes_to_and_fro() {
    check(&[1.0; 10], 0.02, 60, 2.0);
}

#[test]
fn one_big_device_goes_to_and_fro_where_it_must() {
    check(
        &[10.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        0.02,
        60,
        20.0,
    );
}

#[test]
fn a_hundred_devices_are_divided_once() {
    check(&[1.0; 100], 0.1, 60, 0.5);
}

#[test]
fn five_thousand_devices_are_divided_once() {
    check(&[1.0; 5_000], 0.1, 2, 0.5);
}

#[test]
fn a_fleet_that_worked_for_one_is_divided_at_once() {
    let weights = numbered(&[70, 30]);
    let mut fleet = Fleet::new(&[(0, 70)], true, 1);
    for _ in 0..100 {
        fleet.join(1e14, 1.0);
    }
    assert_eq!(fleet.split.poll_timeout(), None);
    fleet.run(600);
    assert_eq!(fleet.moves, 0);
    fleet.set_weights(&weights);
    fleet.run(60);
    assert!(fleet.off(&weights) <= 0.01, "what was before is forgotten");
    assert_eq!(fleet.moves, 30);

    // It goes and comes back.
    fleet.set_weights(&weights[..1]);
    fleet.look();
    assert!(fleet.devices.iter().all(|(_, device)| device.upstream == 0));
    fleet.run(300);
    fleet.set_weights(&weights);
    fleet.run(60);
    assert!(fleet.off(&weights) <= 0.01, "it is not paid back");
    assert_eq!(fleet.moves, 90);
}

#[test]
fn devices_that_come_and_go_change_nothing() {
    for (count, limit) in [(10, 0.02), (100, 0.01)] {
        let weights = numbered(&[70, 30]);
        let mut fleet = Fleet::new(&weights, true, 7);
        for _ in 0..count {
            fleet.join(1e14, 1.0);
        }
        for round in 0..200 {
            fleet.run(20);
            // Those of one upstream first, which is the worst.
            let mut devices = fleet.devices.iter();
            let first = devices.position(|(_, device)| device.upstream == round / 20 % 2);
            fleet.devices.remove(first.unwrap_or(0));
            if round % 3 != 0 || fleet.devices.len() < count / 2 {
                let error = 0.9 + 0.2 * fleet.uniform();
                fleet.join(1e14, error);
            }
            if round >= 2 {
                let off = fleet.off(&weights);
                assert!(off <= limit, "{off} in round {round} of {count}");
            }
        }
    }
}

#[test]
fn half_of_a_fleet_that_goes_is_made_up_for_before_it_shows() {
    let weights = numbered(&[70, 30]);
    let mut fleet = Fleet::new(&weights, true, 3);
    for _ in 0..100 {
        fleet.join(1e14, 1.0);
    }
    fleet.run(600);
    let mut left = 0;
    fleet.devices.retain(|(_, device)| {
        left += usize::from(device.upstream == 0);
        device.upstream != 0 || left > 50
    });
    for _ in 0..20 {
        fleet.run(30);
        assert!(fleet.off(&weights) <= 0.02, "{}", fleet.off(&weights));
    }
    assert!(fleet.moves <= 60, "{}", fleet.moves);
    // Those that were lent have gone home, and nothing swings to and fro.
    fleet.moves = 0;
    fleet.run(3_600);
    assert!(fleet.moves <= 10, "{}", fleet.moves);
    assert!(fleet.off(&weights) <= 0.01, "{}", fleet.off(&weights));
}

#[test]
fn leaves_that_were_lent_go_home_when_what_was_owed_is_paid() {
    let weights = numbered(&[70, 30]);
    let mut fleet = Fleet::new(&weights, true, 3);
    for _ in 0..100 {
        fleet.join(1e14, 1.0);
    }
    fleet.run(600);
    let mut left = 0;
    fleet.devices.retain(|(_, device)| {
        left += usize::from(device.upstream == 0);
        device.upstream != 0 || left > 10
    });
    fleet.run(3_600);
    assert!(fleet.moves > 0);
    assert!(fleet.moves <= 20, "{} swing to and fro", fleet.moves);
    assert!(fleet.off(&weights) <= 0.01, "{}", fleet.off(&weights));
}

#[test]
fn estimates_that_are_wrong_at_first_do_no_lasting_harm() {
    for (count, limit) in [(10, 0.02), (100, 0.01)] {
        for error in [10.0, 0.1] {
            let weights = numbered(&[70, 30]);
            let mut fleet = Fleet::new(&weights, true, 5);
            for device in 0..count {
                fleet.join(1e14, if device % 10 == 0 { error } else { 1.0 });
            }
            fleet.run(60);
            for (_, device) in &mut fleet.devices {
                device.estimate = device.hashrate;
            }
            fleet.run(540);
            let off = fleet.off(&weights);
            assert!(off <= limit, "{off} with {count}, {error} times");
        }
    }
}

#[test]
fn shares_are_right_where_estimates_stay_wrong() {
    // Whoever works for one of them is thought to do a quarter more than it does; by that alone it would get 44 %.
    let weights = numbered(&[50, 50]);
    let mut fleet = Fleet::new(&weights, true, 5);
    for _ in 0..100 {
        fleet.join(1e14, 1.0);
    }
    for _ in 0..3_600 {
        for (_, device) in &mut fleet.devices {
            device.estimate = device.hashrate * [1.25, 1.0][device.upstream];
        }
        fleet.second();
    }
    // What is tolerated, and what luck explains.
    assert!(fleet.off(&weights) <= 0.025, "{}", fleet.off(&weights));
    assert!(off(&fleet.counted, &weights) <= 0.025);
}

#[test]
fn estimates_that_waver_move_few() {
    let weights = numbered(&[70, 30]);
    let mut fleet = Fleet::new(&weights, true, 11);
    for _ in 0..100 {
        fleet.join(1e14, 1.0);
    }
    fleet.run(60);
    fleet.moves = 0;
    for _ in 0..3_600 {
        for index in 0..fleet.devices.len() {
            let error = 0.9 + 0.2 * fleet.uniform();
            fleet.devices[index].1.estimate = 1e14 * error;
        }
        fleet.second();
    }
    assert!(fleet.moves <= 60, "{} in an hour", fleet.moves);
    assert!(fleet.off(&weights) <= 0.01);
}

#[test]
fn a_scale_that_all_estimates_share_does_no_harm() {
    let weights = numbered(&[60, 30, 10]);
    let mut fleet = Fleet::new(&weights, true, 2);
    for _ in 0..100 {
        fleet.join(1e14, 1.0 / 4_294_967_296.0);
    }
    fleet.run(600);
    assert!(fleet.off(&weights) <= 0.01);
    assert!(fleet.moves <= 2, "{}", fleet.moves);
}

#[test]
fn many_that_come_between_two_looks_are_placed_by_weight() {
    for hashrate in [1e12, 0.0, f64::NAN] {
        let mut split = Split::new(SplitConfig::default());
        assert_eq!(split.place(hashrate), None);
        split.set_weights(&[(3, 70), (1, 0), (9, 30)], Instant::from_secs(1));
        let placed: Vec<_> = (0..100).filter_map(|_| split.place(hashrate)).collect();
        let count = |upstream| placed.iter().filter(|placed| **placed == upstream).count();
        assert_eq!([count(3), count(1), count(9)], [70, 0, 30]);
    }
}

#[test]
fn leaves_of_an_upstream_without_weight_or_use_are_moved_whenever_they_came() {
    let now = Instant::from_secs(1_000);
    let load = |key: usize| Load {
        key,
        upstream: key % 4,
        hashrate: if key < 40 { 1e14 } else { f64::NAN },
        moved_at: now,
    };
    let loads: Vec<_> = (0..44).map(load).collect();
    let mut split = Split::new(SplitConfig::default());
    assert_eq!(split.rebalance(&loads, now), []);
    split.set_weights(&[(0, 1), (1, 0), (2, 1)], now);
    assert_eq!(split.poll_timeout(), Some(now));
    let moves = split.rebalance(&loads, now);
    assert_eq!(split.poll_timeout(), Some(now + LOOK_INTERVAL));
    assert_eq!(moves.len(), 22);
    assert!(moves.iter().all(|(key, to)| key % 2 == 1 && to % 2 == 0));
    let strong = moves.iter().filter(|(key, to)| *key < 40 && *to == 0);
    assert_eq!(strong.count(), 10);
    // All without weight are equal.
    split.set_weights(&[(1, 0), (3, 0)], now);
    assert_eq!(split.rebalance(&loads, now).len(), 22);
    split.set_weights(&[(0, 5)], now);
    assert_eq!(split.poll_timeout(), None);
    assert_eq!(split.rebalance(&loads, now).len(), 33);
    split.set_weights(&[], now);
    assert_eq!(split.rebalance(&loads, now), []);
}
