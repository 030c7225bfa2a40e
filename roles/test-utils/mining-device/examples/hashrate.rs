//! Measures the hash rate of one core: `cargo run --release -p stratum-mining-device --example hashrate`.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use stratum_mining_device::hasher::{Hasher, Work};

const ROUNDS: u32 = 5;
const NONCES_PER_ROUND: u32 = 2_000_000;

fn main() {
    let work = Work::new(&[0x5a; 80], &[0; 32]);
    let stop = AtomicBool::new(false);
    for hasher in [Hasher::portable(), Hasher::detect()] {
        let mut rates: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let started = Instant::now();
                let scan = hasher.scan(&work, 0..=NONCES_PER_ROUND - 1, &stop);
                scan.hashes as f64 / started.elapsed().as_secs_f64() / 1e6
            })
            .collect();
        rates.sort_by(f64::total_cmp);
        println!(
            "{}: {:.2} MH/s (median of {ROUNDS})",
            hasher.name(),
            rates[rates.len() / 2]
        );
    }
}
