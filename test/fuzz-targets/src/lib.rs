//! What the fuzzer calls, as ordinary functions.
//!
//! Each target takes any bytes and panics only when a promise is broken. `cargo fuzz run <name>` in
//! `fuzz/` searches for such bytes on a nightly toolchain; the test of this crate replays the corpora
//! in `fuzz/corpus/<name>/`, and mutations of them, on stable.
//!
//! ```
//! for (name, target) in stratum_fuzz_targets::TARGETS {
//!     assert!(!name.is_empty());
//!     target(b"any bytes");
//! }
//! ```

mod buffer;
mod codec;
mod handshake;
mod keys;
mod messages;
mod sv1;

/// A function that takes any bytes and panics only when a promise is broken.
pub type Target = fn(&[u8]);

/// Every target under the name of its corpus and of its file in `fuzz/fuzz_targets/`.
pub const TARGETS: &[(&str, Target)] = &joined();

const NOISE_AND_FRAMES: &[(&str, Target)] = &[
    ("frame_decoder", codec::frame_decoder),
    ("noise_decoder", codec::noise_decoder),
    ("noise_tampering", codec::noise_tampering),
    ("handshake_initiator", handshake::initiator),
    ("handshake_responder", handshake::responder),
    ("authority_key", keys::authority_key),
    ("buffer_pool", buffer::pool),
];

const SV1: &[(&str, Target)] = &[
    ("sv1_lines", sv1::lines),
    ("sv1_message", sv1::message),
    ("sv1_server", sv1::server),
    ("sv1_client", sv1::client),
];

const TABLES: &[&[(&str, Target)]] = &[
    NOISE_AND_FRAMES,
    SV1,
    messages::common::TARGETS,
    messages::mining::TARGETS,
    messages::job_declaration::TARGETS,
    messages::template_distribution::TARGETS,
    messages::extension_negotiation::TARGETS,
];

const COUNT: usize = {
    let mut count = 0;
    let mut tables = TABLES;
    while let [table, rest @ ..] = tables {
        count += table.len();
        tables = rest;
    }
    count
};

const fn joined() -> [(&'static str, Target); COUNT] {
    let mut all: [(&str, Target); COUNT] = [("", |_| ()); COUNT];
    let (mut position, mut tables) = (0, TABLES);
    while let [table, rest @ ..] = tables {
        let mut left = *table;
        while let [target, others @ ..] = left {
            all[position] = *target;
            position += 1;
            left = others;
        }
        tables = rest;
    }
    all
}

/// Runs the target of this name.
///
/// # Panics
/// When there is no such target, or when the target finds a broken promise.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    let (_, target) = target.unwrap_or_else(|| panic!("no fuzz target is called {name}"));
    target(data);
}
