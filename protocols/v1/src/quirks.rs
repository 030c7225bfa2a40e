//! What is known of miners by the name they give: a table, so that no rule needs to know a name.

use std::ops::RangeInclusive;

use crate::client_message::MAX_EXTRANONCE_PART_BYTES;

/// What one kind of miner needs. Everything else about it is ordinary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quirks {
    /// Start of the user agent, in lower case; `*` stands for anything. The first entry that fits counts.
    pub pattern: &'static str,
    /// Sizes of extranonce2, in bytes, that it works with.
    pub extranonce2_min: usize,
    /// See `extranonce2_min`.
    pub extranonce2_max: usize,
    /// Bytes that extranonce1 may have.
    pub extranonce1_max: usize,
    /// Bytes that the whole coinbase may have; `None` where no limit is known.
    pub max_coinbase_bytes: Option<usize>,
    /// Lowest difficulty that it takes. 1 for those that read integers only.
    pub min_difficulty: f64,
    /// It writes an ntime of zero for the job's own.
    pub zero_ntime_is_jobs: bool,
    /// Bytes after which it cuts a user name, in `mining.submit` too.
    pub cuts_names_at: Option<usize>,
    /// It understands `client.show_message`.
    pub shows_messages: bool,
}

impl Quirks {
    /// A miner about which nothing is known.
    pub const ORDINARY: Self = Self {
        pattern: "*",
        extranonce2_min: 2,
        extranonce2_max: 8,
        extranonce1_max: MAX_EXTRANONCE_PART_BYTES,
        max_coinbase_bytes: None,
        min_difficulty: 0.0,
        zero_ntime_is_jobs: false,
        cuts_names_at: None,
        shows_messages: false,
    };

    /// The entry for a user agent.
    pub fn of(user_agent: &str) -> &'static Self {
        let agent = user_agent.to_ascii_lowercase();
        let mut entries = TABLE.iter();
        entries
            .find(|entry| fits(entry.pattern, &agent))
            .unwrap_or(&Self::ORDINARY)
    }

    /// Sizes of extranonce2, in bytes, that it works with.
    pub const fn extranonce2_sizes(&self) -> RangeInclusive<usize> {
        self.extranonce2_min..=self.extranonce2_max
    }
}

/// The miners that need something, the narrower patterns first.
pub const TABLE: &[Quirks] = &[
    // Before 2025 it sent 4 bytes whatever it was told (ESP-Miner #658).
    old_bitaxe("bitaxe/*/v2.0"),
    old_bitaxe("bitaxe/*/v2.1"),
    old_bitaxe("bitaxe/*/v2.2"),
    old_bitaxe("bitaxe/*/v2.3"),
    old_bitaxe("bitaxe/*/v2.4"),
    // Fractional difficulties only since 2026 (ESP-Miner #1594).
    Quirks {
        extranonce2_max: 32,
        min_difficulty: 1.0,
        ..named("bitaxe/")
    },
    // A JSON document of 4096 bytes and 255 bytes of coinbase are all it has room for.
    Quirks {
        max_coinbase_bytes: Some(255),
        ..named("nerdminer")
    },
    Quirks {
        max_coinbase_bytes: Some(500),
        extranonce2_min: 4,
        min_difficulty: 524_288.0,
        ..named("nicehash/")
    },
    Quirks {
        max_coinbase_bytes: Some(2_250),
        min_difficulty: 1.0,
        ..named("antminer s21/")
    },
    Quirks {
        max_coinbase_bytes: Some(730),
        min_difficulty: 1.0,
        ..named("antminer ")
    },
    Quirks {
        max_coinbase_bytes: Some(16_384),
        min_difficulty: 1.0,
        ..named("xminer-1.")
    },
    Quirks {
        max_coinbase_bytes: Some(16_384),
        min_difficulty: 1.0,
        ..named("powerplay-bm/")
    },
    Quirks {
        max_coinbase_bytes: Some(6_500),
        min_difficulty: 1.0,
        ..named("whatsminer/")
    },
    Quirks {
        max_coinbase_bytes: Some(2_250),
        min_difficulty: 1.0,
        ..named("bosminer")
    },
    Quirks {
        cuts_names_at: Some(63),
        min_difficulty: 1.0,
        ..named("avalon")
    },
    Quirks {
        extranonce1_max: 16,
        min_difficulty: 1.0,
        ..named("futurebit")
    },
    // It fixed extranonce2 at 4 bytes.
    Quirks {
        extranonce2_min: 4,
        extranonce2_max: 4,
        ..named("cgminer/3.")
    },
    Quirks {
        extranonce2_max: 16,
        shows_messages: true,
        ..named("cgminer/")
    },
    Quirks {
        extranonce2_min: 1,
        extranonce2_max: 32,
        ..named("cpuminer/")
    },
    Quirks {
        zero_ntime_is_jobs: true,
        ..named("btccom-agent/")
    },
];

const fn named(pattern: &'static str) -> Quirks {
    Quirks {
        pattern,
        ..Quirks::ORDINARY
    }
}

const fn old_bitaxe(pattern: &'static str) -> Quirks {
    Quirks {
        extranonce2_min: 4,
        extranonce2_max: 4,
        min_difficulty: 1.0,
        ..named(pattern)
    }
}

/// Whether the text begins as the pattern says.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let rest = text.strip_prefix(parts.next().unwrap_or_default());
    let after = |rest: Option<_>, part: &str| {
        let rest: &str = rest?;
        rest.find(part).and_then(|at| rest.get(at + part.len()..))
    };
    parts.fold(rest, after).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_prefixes_with_gaps() {
        for (pattern, text, is_fit) in [
            ("bitaxe/", "bitaxe/bm1366/v2.9.0", true),
            ("bitaxe/*/v2.1", "bitaxe/bm1366/v2.1.10", true),
            ("bitaxe/*/v2.1", "bitaxe/bm1366/v2.9.0", false),
            ("bitaxe/", "my bitaxe/", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, text), is_fit, "{pattern} {text}");
        }
    }

    #[test]
    fn every_entry_can_be_reached_and_takes_some_size() {
        for entry in TABLE {
            let agent = entry.pattern.replace('*', "x");
            assert_eq!(Quirks::of(&agent).pattern, entry.pattern);
            assert!(!entry.extranonce2_sizes().is_empty());
            assert_eq!(entry.pattern, entry.pattern.to_ascii_lowercase());
        }
    }
}
