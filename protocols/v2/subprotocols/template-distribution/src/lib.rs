//! Messages of the Stratum V2 template distribution protocol (specification 7).
//!
//! ```
//! use binary_sv2::Encodable;
//! use template_distribution_sv2::{CoinbaseOutputConstraints, TemplateDistributionMessage};
//!
//! let constraints = CoinbaseOutputConstraints {
//!     coinbase_output_max_additional_size: 43,
//!     coinbase_output_max_additional_sigops: 0,
//! };
//! let payload = constraints.to_vec();
//! assert_eq!(TemplateDistributionMessage::parse(0x70, &payload).unwrap(), constraints.into());
//! ```
//!
//! # Features
//!
//! - `core` (default): nothing more; our own codec is always there.
//! - `with_serde`: all messages implement serde's `Serialize` and `Deserialize`, see `binary_sv2` for their forms.
//! - `prop_test`: all messages implement proptest's `Arbitrary`; brings the standard library.
#![no_std]

#[cfg(feature = "prop_test")]
use binary_sv2::Arbitrary;
use binary_sv2::{B016M, B064K, B0255, Decodable, Encodable, Seq064K, Seq0255, Str0255, U256};
#[cfg(feature = "with_serde")]
use binary_sv2::{Deserialize, Serialize};

const_sv2::template_distribution_messages!(
    binary_sv2::message_enum,
    [
        /// Any message of the template distribution protocol.
        TemplateDistributionMessage, template_distribution;
    ]
);

#[cfg(feature = "with_serde")]
const_sv2::template_distribution_messages!(binary_sv2::message_enum_serde, [TemplateDistributionMessage;]);

#[cfg(feature = "prop_test")]
const_sv2::template_distribution_messages!(binary_sv2::message_enum_arbitrary, [TemplateDistributionMessage;]);

/// What the client will add to the coinbase (specification 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct CoinbaseOutputConstraints {
    /// Bytes that the client's outputs will take in the coinbase.
    pub coinbase_output_max_additional_size: u32,
    /// Signature operations that the client's outputs will add.
    pub coinbase_output_max_additional_sigops: u16,
}

/// A block template (specification 7.2).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct NewTemplate<'a> {
    /// Number of the template, strictly increasing.
    pub template_id: u64,
    /// Whether the template waits for a `SetNewPrevHash` that names it.
    pub future_template: bool,
    /// Block version; BIP323 bits may be rolled.
    pub version: u32,
    /// Version of the coinbase transaction.
    pub coinbase_tx_version: u32,
    /// Start of the scriptSig, at most 8 bytes.
    pub coinbase_prefix: B0255<'a>,
    /// nSequence of the coinbase input.
    pub coinbase_tx_input_sequence: u32,
    /// Satoshis that the client may spend in its outputs.
    pub coinbase_tx_value_remaining: u64,
    /// Number of outputs in `coinbase_tx_outputs`.
    pub coinbase_tx_outputs_count: u32,
    /// Outputs to append last, consensus serialisation without a count.
    pub coinbase_tx_outputs: B064K<'a>,
    /// Lock time of the coinbase.
    pub coinbase_tx_locktime: u32,
    /// Hashes from the coinbase to the root, deepest first, raw bytes.
    pub merkle_path: Seq0255<'a, U256>,
}

/// A new chain tip, and the template to start with (specification 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct SetNewPrevHash {
    /// Number of the template, strictly increasing.
    pub template_id: u64,
    /// Hash of the block to build on, raw bytes.
    pub prev_hash: U256,
    /// Block time to start from, in Unix seconds.
    pub header_timestamp: u32,
    /// Network target in compact form.
    pub nbits: u32,
    /// Largest hash of a solution, little-endian integer; may lie below what `nbits` means.
    pub target: U256,
}

/// Asks for the transactions of a template (specification 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct RequestTransactionData {
    /// Number of the template, strictly increasing.
    pub template_id: u64,
}

/// The transactions of a template (specification 7.5).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct RequestTransactionDataSuccess<'a> {
    /// Number of the template, strictly increasing.
    pub template_id: u64,
    /// Extra data that some chains need, not interpreted.
    pub excess_data: B064K<'a>,
    /// All transactions of the template in block order, without the coinbase.
    pub transaction_list: Seq064K<'a, B016M<'a>>,
}

/// Refuses the transactions of a template (specification 7.6).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct RequestTransactionDataError<'a> {
    /// Number of the template, strictly increasing.
    pub template_id: u64,
    /// Printable reason, see `const_sv2::error_codes`; unknown codes are logged and otherwise ignored.
    pub error_code: Str0255<'a>,
}

/// A block was found on a template (specification 7.7).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct SubmitSolution<'a> {
    /// Number of the template, strictly increasing.
    pub template_id: u64,
    /// Full block version, rolled bits included.
    pub version: u32,
    /// Block time in Unix seconds.
    pub header_timestamp: u32,
    /// Nonce of the header.
    pub header_nonce: u32,
    /// The coinbase, BIP141 fields included.
    pub coinbase_tx: B064K<'a>,
}
