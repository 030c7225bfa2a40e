//! Messages of the Stratum V2 job declaration protocol (specification 6).
//!
//! ```
//! use binary_sv2::Encodable;
//! use job_declaration_sv2::{AllocateMiningJobToken, JobDeclarationMessage};
//!
//! let request = AllocateMiningJobToken { user_identifier: "miner".try_into().unwrap(), request_id: 1 };
//! let payload = request.to_vec();
//! assert_eq!(JobDeclarationMessage::parse(0x50, &payload).unwrap(), request.into());
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
use binary_sv2::{B016M, B032, B064K, B0255, Decodable, Encodable, Seq064K, Str0255, U256};
#[cfg(feature = "with_serde")]
use binary_sv2::{Deserialize, Serialize};

const_sv2::job_declaration_messages!(
    binary_sv2::message_enum,
    [
        /// Any message of the job declaration protocol.
        JobDeclarationMessage, job_declaration;
    ]
);

#[cfg(feature = "with_serde")]
const_sv2::job_declaration_messages!(binary_sv2::message_enum_serde, [JobDeclarationMessage;]);

#[cfg(feature = "prop_test")]
const_sv2::job_declaration_messages!(binary_sv2::message_enum_arbitrary, [JobDeclarationMessage;]);

/// Asks for a token (specification 6.4.2).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct AllocateMiningJobToken<'a> {
    /// Who asks; UTF-8 is recommended, not required.
    pub user_identifier: Str0255<'a>,
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
}

/// Grants a token and the outputs that pay the pool (specification 6.4.3).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct AllocateMiningJobTokenSuccess<'a> {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Token that the job declaration server allocated.
    pub mining_job_token: B0255<'a>,
    /// Outputs of the coinbase, consensus serialisation behind a CompactSize count.
    pub coinbase_tx_outputs: B064K<'a>,
}

/// Asks for transactions that the server does not know (specification 6.4.7).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct ProvideMissingTransactions<'a> {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Positions in the declared list, from 0, the coinbase not counted.
    pub unknown_tx_position_list: Seq064K<'a, u16>,
}

/// Hands over the transactions asked for (specification 6.4.8).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct ProvideMissingTransactionsSuccess<'a> {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// The transactions in the order in which they were requested.
    pub transaction_list: Seq064K<'a, B016M<'a>>,
}

/// Declares a block to be mined (specification 6.4.4).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct DeclareMiningJob<'a> {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Token that the job declaration server allocated.
    pub mining_job_token: B0255<'a>,
    /// Block version; BIP323 bits may be rolled.
    pub version: u32,
    /// Coinbase up to the extranonce, BIP141 fields included.
    pub coinbase_tx_prefix: B064K<'a>,
    /// Coinbase behind the extranonce, BIP141 fields included.
    pub coinbase_tx_suffix: B064K<'a>,
    /// Witness transaction ids in block order, without the coinbase, raw bytes.
    pub wtxid_list: Seq064K<'a, U256>,
    /// Extra data that some chains need, not interpreted.
    pub excess_data: B064K<'a>,
}

/// Accepts the declaration (specification 6.4.5).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct DeclareMiningJobSuccess<'a> {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Token to use in `SetCustomMiningJob`.
    pub new_mining_job_token: B0255<'a>,
}

/// Refuses the declaration (specification 6.4.6).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct DeclareMiningJobError<'a> {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Printable reason, see `const_sv2::error_codes`; unknown codes are logged and otherwise ignored.
    pub error_code: Str0255<'a>,
    /// Further data for the error, not interpreted.
    pub error_details: B064K<'a>,
}

/// A block was found on a declared job (specification 6.4.9).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct PushSolution<'a> {
    /// The full extranonce, prefix included.
    pub extranonce: B032<'a>,
    /// Hash of the block to build on, raw bytes.
    pub prev_hash: U256,
    /// Nonce of the header.
    pub nonce: u32,
    /// Block time in Unix seconds.
    pub ntime: u32,
    /// Network target in compact form.
    pub nbits: u32,
    /// Full block version, rolled bits included.
    pub version: u32,
}
