//! Who a block pays: the pool's outputs, and what a miner's `user_identity` asks for.

use bitcoin::{Network, ScriptBuf};
use roles_logic_sv2::coinbase_space::{CoinbaseSpace, CoinbaseSpaceError};
use roles_logic_sv2::job::Payout;
use template_distribution_sv2::CoinbaseOutputConstraints;
use thiserror::Error;

use crate::descriptor::{DescriptorError, address_script, script_pubkey};

/// Most outputs that a pool may configure: every one costs a miner's small buffer 31 bytes or more.
pub const MAX_POOL_OUTPUTS: usize = 16;

/// Largest weight of one output; keeps every product with a percentage below 2^32.
pub const MAX_OUTPUT_WEIGHT: u32 = 10_000;

/// Why the configured outputs are of no use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PayoutError {
    /// No output is configured.
    #[error("no coinbase output is configured; give at least one descriptor with a weight")]
    NoOutput,
    /// More outputs than [`MAX_POOL_OUTPUTS`].
    #[error("{count} coinbase outputs are configured, at most {MAX_POOL_OUTPUTS} are allowed")]
    TooManyOutputs {
        /// Number of outputs.
        count: usize,
    },
    /// A weight is zero or above [`MAX_OUTPUT_WEIGHT`].
    #[error("coinbase output {index}: weight {weight} must lie between 1 and {MAX_OUTPUT_WEIGHT}")]
    Weight {
        /// Position of the output, from 1.
        index: usize,
        /// The weight given.
        weight: u32,
    },
    /// A descriptor gives no script.
    #[error("coinbase output {index}: {source}")]
    Descriptor {
        /// Position of the output, from 1.
        index: usize,
        /// What is wrong.
        source: DescriptorError,
    },
    /// No block has room for them.
    #[error("coinbase outputs: {0}")]
    Space(#[from] CoinbaseSpaceError),
}

/// A `user_identity` that asks for a payout the pool cannot make.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// It starts with `sri/` and continues in no known way.
    #[error(
        "identity does not follow sri/solo/ADDRESS[/WORKER], sri/donate[/WORKER] or sri/donate/PERCENT/ADDRESS[/WORKER]"
    )]
    UnknownPattern,
    /// The address is none, or none of this chain.
    #[error("identity names no payout address of this chain")]
    Address,
    /// The percentage is no whole number from 0 to 100.
    #[error("identity names a percentage that is no whole number from 0 to 100")]
    Percent,
}

/// Whom a channel's blocks pay.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PayoutChoice {
    /// The pool takes the whole reward and pays its miners later.
    Pool,
    /// The miner takes the whole reward.
    Solo {
        /// Script of the miner's address.
        script_pubkey: ScriptBuf,
    },
    /// Pool and miner share the reward in the block itself.
    Split {
        /// The pool's part in percent, 1 to 99.
        pool_percent: u8,
        /// Script of the miner's address.
        script_pubkey: ScriptBuf,
    },
}

/// The pool's own outputs, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolPayouts {
    network: Network,
    outputs: Vec<Payout>,
    constraints: CoinbaseOutputConstraints,
}

impl PoolPayouts {
    /// Resolves descriptors and weights.
    ///
    /// # Errors
    /// [`PayoutError`] naming the output that is wrong.
    pub fn new<'d>(
        network: Network,
        outputs: impl IntoIterator<Item = (&'d str, u32)>,
    ) -> Result<Self, PayoutError> {
        let mut resolved = Vec::new();
        for (position, (descriptor, weight)) in outputs.into_iter().enumerate() {
            let index = position + 1;
            if !(1..=MAX_OUTPUT_WEIGHT).contains(&weight) {
                return Err(PayoutError::Weight { index, weight });
            }
            let script_pubkey = script_pubkey(descriptor, network)
                .map_err(|source| PayoutError::Descriptor { index, source })?;
            resolved.push(Payout {
                script_pubkey,
                weight,
            });
        }
        match resolved.len() {
            0 => return Err(PayoutError::NoOutput),
            count if count > MAX_POOL_OUTPUTS => {
                return Err(PayoutError::TooManyOutputs { count });
            }
            _ => {}
        }
        // The outputs of any choice are among the pool's own and one address.
        let pool = CoinbaseSpace::of_scripts(resolved.iter().map(|output| &output.script_pubkey));
        Ok(Self {
            network,
            outputs: resolved,
            constraints: pool.plus(CoinbaseSpace::ANY_ADDRESS).constraints()?,
        })
    }

    /// The room that the outputs of any choice need at most, as a template provider is told.
    pub const fn constraints(&self) -> CoinbaseOutputConstraints {
        self.constraints
    }

    /// The chain that addresses must belong to.
    pub const fn network(&self) -> Network {
        self.network
    }

    /// The outputs of a block for a choice, weighted.
    pub fn payouts(&self, choice: &PayoutChoice) -> Vec<Payout> {
        match choice {
            PayoutChoice::Pool => self.outputs.clone(),
            PayoutChoice::Solo { script_pubkey } => {
                vec![Payout {
                    script_pubkey: script_pubkey.clone(),
                    weight: 1,
                }]
            }
            PayoutChoice::Split {
                pool_percent,
                script_pubkey,
            } => {
                let pool_percent = u32::from(*pool_percent).min(100);
                let total: u32 = self.outputs.iter().map(|output| output.weight).sum();
                let miner = Payout {
                    script_pubkey: script_pubkey.clone(),
                    weight: total * (100 - pool_percent),
                };
                let pool = self.outputs.iter().map(|output| Payout {
                    script_pubkey: output.script_pubkey.clone(),
                    weight: output.weight * pool_percent,
                });
                pool.chain([miner]).collect()
            }
        }
    }
}

/// What a `user_identity` asks for, by the patterns that deployed pools understand.
///
/// - `sri/solo/ADDRESS[/WORKER]`, or an address alone or followed by `.WORKER`: the miner takes the whole reward.
/// - `sri/donate[/WORKER]`: the pool takes it.
/// - `sri/donate/PERCENT/ADDRESS[/WORKER]`: the pool takes `PERCENT`, the miner the rest.
/// - anything else is a user of the pool, which takes the whole reward.
///
/// # Errors
/// [`IdentityError`] for an identity that starts with `sri/`, or looks like an address of this chain, and is wrong:
/// paying the pool instead would take the miner's block.
pub fn choose(identity: &[u8], network: Network) -> Result<PayoutChoice, IdentityError> {
    let Ok(identity) = std::str::from_utf8(identity) else {
        return Ok(PayoutChoice::Pool);
    };
    let Some(pattern) = identity.strip_prefix("sri/") else {
        return choose_by_address(identity, network);
    };
    let mut parts = pattern.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("solo"), Some(address), _) => solo(address, network),
        (Some("donate"), None, _) => Ok(PayoutChoice::Pool),
        (Some("donate"), Some(percent), Some(address)) => split(percent, address, network),
        (Some("donate"), Some(worker), None) if worker.parse::<u8>().is_err() => {
            Ok(PayoutChoice::Pool)
        }
        _ => Err(IdentityError::UnknownPattern),
    }
}

fn choose_by_address(identity: &str, network: Network) -> Result<PayoutChoice, IdentityError> {
    let address = identity
        .split_once('.')
        .map_or(identity, |(address, _)| address);
    match solo(address, network) {
        Err(_) if !looks_like_address(address) => Ok(PayoutChoice::Pool),
        choice => choice,
    }
}

/// Whether someone meant an address: a mistyped one must not silently become a user of the pool.
fn looks_like_address(text: &str) -> bool {
    const SEGWIT_PREFIXES: [&str; 3] = ["bc1", "tb1", "bcrt1"];
    const MIN_ADDRESS_LEN: usize = 26;
    let lower = text.to_ascii_lowercase();
    let is_segwit = SEGWIT_PREFIXES
        .iter()
        .any(|prefix| lower.starts_with(prefix));
    let is_other_chains = address_script(text, Network::Bitcoin).is_ok()
        || address_script(text, Network::Testnet).is_ok();
    text.len() >= MIN_ADDRESS_LEN && (is_segwit || is_other_chains || is_like_base58(text))
}

/// Whether a text has the form of an address from before SegWit, its checksum apart.
fn is_like_base58(text: &str) -> bool {
    const MAX_LEN: usize = 35;
    const NOT_BASE58: [char; 4] = ['0', 'O', 'I', 'l'];
    let is_digit = |c: char| c.is_ascii_alphanumeric() && !NOT_BASE58.contains(&c);
    text.len() <= MAX_LEN
        && text.starts_with(['1', '3', 'm', 'n', '2'])
        && text.chars().all(is_digit)
}

fn solo(address: &str, network: Network) -> Result<PayoutChoice, IdentityError> {
    let script_pubkey = address_script(address, network).map_err(|_| IdentityError::Address)?;
    Ok(PayoutChoice::Solo { script_pubkey })
}

fn split(percent: &str, address: &str, network: Network) -> Result<PayoutChoice, IdentityError> {
    let script_pubkey = address_script(address, network).map_err(|_| IdentityError::Address)?;
    match percent.parse::<u8>() {
        Ok(0) => Ok(PayoutChoice::Solo { script_pubkey }),
        Ok(100) => Ok(PayoutChoice::Pool),
        Ok(pool_percent) if pool_percent < 100 => Ok(PayoutChoice::Split {
            pool_percent,
            script_pubkey,
        }),
        _ => Err(IdentityError::Percent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

    fn pool() -> PoolPayouts {
        PoolPayouts::new(Network::Regtest, [("raw(51)", 1), ("raw(52)", 3)]).unwrap()
    }

    fn check(identity: &str, expected: Result<&str, IdentityError>) {
        let found = choose(identity.as_bytes(), Network::Regtest).map(|choice| match choice {
            PayoutChoice::Pool => "pool".to_owned(),
            PayoutChoice::Solo { .. } => "miner".to_owned(),
            PayoutChoice::Split { pool_percent, .. } => format!("pool {pool_percent}"),
        });
        assert_eq!(found, expected.map(str::to_owned), "{identity}");
    }

    #[test]
    fn identities_choose_payouts() {
        check("farm-7", Ok("pool"));
        check("", Ok("pool"));
        check("name.with.dots", Ok("pool"));
        check(ADDRESS, Ok("miner"));
        check("mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn.rig", Ok("miner"));
        check("mining-department-of-the-north", Ok("pool"));
        check(&format!("{ADDRESS}.rig1"), Ok("miner"));
        check(&format!("sri/solo/{ADDRESS}/worker.1"), Ok("miner"));
        check(&format!("sri/solo/{ADDRESS}"), Ok("miner"));
        check("sri/donate", Ok("pool"));
        check("sri/donate/worker.1", Ok("pool"));
        check(&format!("sri/donate/5/{ADDRESS}/worker.1"), Ok("pool 5"));
        check(&format!("sri/donate/0/{ADDRESS}/worker.1"), Ok("miner"));
        check(&format!("sri/donate/100/{ADDRESS}/worker.1"), Ok("pool"));
    }

    #[test]
    fn wrong_identities_are_refused() {
        check("sri/worker.1", Err(IdentityError::UnknownPattern));
        check("sri/", Err(IdentityError::UnknownPattern));
        check("sri/solo", Err(IdentityError::UnknownPattern));
        check("sri/donate/5", Err(IdentityError::UnknownPattern));
        check("sri/solo/nonsense/worker", Err(IdentityError::Address));
        check(
            "sri/solo/bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4/w",
            Err(IdentityError::Address),
        );
        check(
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            Err(IdentityError::Address),
        );
        check(
            "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt081.rig",
            Err(IdentityError::Address),
        );
        check(
            "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfm.rig",
            Err(IdentityError::Address),
        );
        check(
            &format!("sri/donate/101/{ADDRESS}"),
            Err(IdentityError::Percent),
        );
        check(
            &format!("sri/donate/-5/{ADDRESS}"),
            Err(IdentityError::Percent),
        );
    }

    #[test]
    fn a_split_gives_pool_and_miner_their_parts() {
        let choice = choose(
            format!("sri/donate/5/{ADDRESS}/w").as_bytes(),
            Network::Regtest,
        )
        .unwrap();
        let weights: Vec<u32> = pool()
            .payouts(&choice)
            .iter()
            .map(|payout| payout.weight)
            .collect();
        assert_eq!(weights, [5, 15, 380]);
    }

    /// With too little room announced a full template makes a block that the network refuses.
    #[test]
    fn all_the_room_that_outputs_may_need_is_announced() {
        let outputs = [("raw(51)", 1), ("mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", 1)];
        let payouts = PoolPayouts::new(Network::Regtest, outputs).unwrap();
        // Value, length and script of both, and of the longest address that a miner may bring along.
        let size = (8 + 1 + 1) + (8 + 1 + 25) + (8 + 1 + 42);
        let expected = CoinbaseOutputConstraints {
            coinbase_output_max_additional_size: size,
            coinbase_output_max_additional_sigops: 2,
        };
        assert_eq!(payouts.constraints(), expected);
    }

    #[test]
    fn every_choice_fits_the_announced_size() {
        // The longest address there can be.
        let program = bitcoin::WitnessProgram::new(bitcoin::WitnessVersion::V16, &[7; 40]).unwrap();
        let address = bitcoin::Address::from_witness_program(program, Network::Regtest);
        let choice = choose(
            format!("sri/donate/5/{address}/w").as_bytes(),
            Network::Regtest,
        )
        .unwrap();
        let payouts = pool().payouts(&choice);
        let space = CoinbaseSpace::of_scripts(payouts.iter().map(|payout| &payout.script_pubkey));
        let announced = pool().constraints().coinbase_output_max_additional_size;
        assert_eq!(space.size, announced as usize);
    }

    #[test]
    fn every_choice_fits_the_announced_sigops() {
        // P2PKH is the only usual script that is checked by an operation of its own.
        const P2PKH: &str = "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn";
        let outputs = [(P2PKH, 1), (ADDRESS, 1)];
        let pool = PoolPayouts::new(Network::Regtest, outputs).unwrap();
        let identity = format!("sri/donate/5/{P2PKH}/w");
        let choice = choose(identity.as_bytes(), Network::Regtest).unwrap();
        let payouts = pool.payouts(&choice);
        let space = CoinbaseSpace::of_scripts(payouts.iter().map(|payout| &payout.script_pubkey));
        assert_eq!(space.sigops, 2);
        assert_eq!(pool.constraints().coinbase_output_max_additional_sigops, 2);
    }

    #[test]
    fn wrong_outputs_are_named() {
        let new = |outputs: &[(&'static str, u32)]| {
            PoolPayouts::new(Network::Regtest, outputs.iter().copied())
        };
        assert_eq!(new(&[]), Err(PayoutError::NoOutput));
        assert_eq!(
            new(&[("raw(51)", 1), ("raw(51)", 0)]),
            Err(PayoutError::Weight {
                index: 2,
                weight: 0
            })
        );
        assert!(matches!(
            new(&[("nonsense", 1)]),
            Err(PayoutError::Descriptor { index: 1, .. })
        ));
        assert_eq!(
            new(&[("raw(51)", 1); 17]),
            Err(PayoutError::TooManyOutputs { count: 17 })
        );
        // OP_CHECKMULTISIG counts twenty, whoever signs.
        let costly = format!("raw({})", "ae".repeat(1_000));
        assert_eq!(
            new(&[(costly.leak(), 1)]),
            Err(PayoutError::Space(CoinbaseSpaceError::TooManySigops {
                sigops: 20_001
            }))
        );
    }
}
