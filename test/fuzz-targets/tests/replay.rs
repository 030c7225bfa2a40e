//! Replays the corpora of `fuzz/` and mutations of them, so that stable toolchains run them too.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use stratum_fuzz_targets::TARGETS;

/// Mutations of each file of a corpus.
const MUTATIONS: u64 = 200;

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A small generator of numbers (xorshift64*): the same mutations on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn mutate(data: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(data.len() + 1);
        match random.below(5) {
            0 => data.truncate(at),
            1 => data.insert(at, random.next() as u8),
            2 => data.extend_from_within(at..),
            3 => drop(data.drain(..at)),
            _ => match data.get_mut(at) {
                Some(byte) => *byte ^= 1 << random.below(8),
                None => data.push(random.next() as u8),
            },
        }
    }
}

#[test]
fn corpora_and_their_mutations_break_no_promise() {
    for (name, target) in TARGETS {
        let dir = fuzz_dir().join("corpus").join(name);
        let files = names(&dir);
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            let seed = fs::read(dir.join(&file)).unwrap();
            println!("{name}/{file}");
            target(&seed);
            let mut random = Random(0x9e37_79b9_7f4a_7c15);
            for _ in 0..MUTATIONS {
                let mut data = seed.clone();
                mutate(&mut data, &mut random);
                target(&data);
            }
        }
    }
}

#[test]
fn every_target_can_be_run_by_the_fuzzer() {
    let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let path = format!("fuzz_targets/{name}.rs");
        let source = fs::read_to_string(fuzz_dir().join(&path));
        let source = source.unwrap_or_else(|e| panic!("fuzz/{path}: {e}"));
        assert!(
            source.contains(&format!("run(\"{name}\"")),
            "fuzz/{path} runs another target"
        );
        assert!(
            manifest.contains(&format!("path = \"{path}\"")),
            "fuzz/Cargo.toml lacks {path}"
        );
    }
    assert_eq!(
        names(&fuzz_dir().join("corpus")).len(),
        TARGETS.len(),
        "a corpus has no target"
    );
}
