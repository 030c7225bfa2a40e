//! Messages of the Stratum V2 mining protocol (specification 5).
//!
//! ```
//! use binary_sv2::Encodable;
//! use mining_sv2::{MiningMessage, SubmitSharesExtended};
//!
//! let share = SubmitSharesExtended {
//!     channel_id: 1,
//!     sequence_number: 7,
//!     job_id: 2,
//!     nonce: 0x1234_5678,
//!     ntime: 1_700_000_000,
//!     version: 0x2000_0000,
//!     extranonce: [0; 8].as_slice().try_into().unwrap(),
//! };
//! let payload = share.to_vec();
//! assert_eq!(MiningMessage::parse(0x1b, &payload).unwrap(), MiningMessage::SubmitSharesExtended(share));
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
use binary_sv2::{B032, B064K, B0255, Decodable, Encodable, Seq064K, Seq0255, Str0255, U256};
#[cfg(feature = "with_serde")]
use binary_sv2::{Deserialize, Serialize};

const_sv2::mining_messages!(
    binary_sv2::message_enum,
    [
        /// Any message of the mining protocol.
        MiningMessage, mining;
    ]
);

#[cfg(feature = "with_serde")]
const_sv2::mining_messages!(binary_sv2::message_enum_serde, [MiningMessage;]);

#[cfg(feature = "prop_test")]
const_sv2::mining_messages!(binary_sv2::message_enum_arbitrary, [MiningMessage;]);

/// Asks for a standard channel (specification 5.3.2).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct OpenStandardMiningChannel<'a> {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Who is mining; UTF-8 is recommended, not required.
    pub user_identity: Str0255<'a>,
    /// Expected hash rate in hashes per second.
    pub nominal_hash_rate: f32,
    /// Largest target that the client accepts, little-endian integer.
    pub max_target: U256,
}

/// Grants a standard channel (specification 5.3.3).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct OpenStandardMiningChannelSuccess<'a> {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Channel within the connection.
    pub channel_id: u32,
    /// Target of the channel, little-endian integer.
    pub target: U256,
    /// First bytes of the extranonce, fixed by the server.
    pub extranonce_prefix: B032<'a>,
    /// Group channel that the channel belongs to.
    pub group_channel_id: u32,
}

/// Refuses a channel (specification 5.3.6).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct OpenMiningChannelError<'a> {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Printable reason, see `const_sv2::error_codes`; unknown codes are logged and otherwise ignored.
    pub error_code: Str0255<'a>,
}

/// Asks for an extended channel (specification 5.3.4).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct OpenExtendedMiningChannel<'a> {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Who is mining; UTF-8 is recommended, not required.
    pub user_identity: Str0255<'a>,
    /// Expected hash rate in hashes per second.
    pub nominal_hash_rate: f32,
    /// Largest target that the client accepts, little-endian integer.
    pub max_target: U256,
    /// Least number of extranonce bytes that the client needs for itself.
    pub min_extranonce_size: u16,
}

/// Grants an extended channel (specification 5.3.5).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct OpenExtendedMiningChannelSuccess<'a> {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Channel within the connection.
    pub channel_id: u32,
    /// Target of the channel, little-endian integer.
    pub target: U256,
    /// Number of extranonce bytes that the client rolls, the prefix not counted.
    pub extranonce_size: u16,
    /// First bytes of the extranonce, fixed by the server.
    pub extranonce_prefix: B032<'a>,
    /// Group channel that the channel belongs to.
    pub group_channel_id: u32,
}

/// Work for a standard channel (specification 5.3.15).
#[derive(Clone, Copy, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct NewMiningJob {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Job within the channel.
    pub job_id: u32,
    /// Earliest block time in Unix seconds; absent for a future job.
    pub min_ntime: Option<u32>,
    /// Block version; BIP323 bits may be rolled.
    pub version: u32,
    /// Merkle root of the header, raw bytes.
    pub merkle_root: U256,
}

/// The client's hash rate or wanted target changed (specification 5.3.7).
#[derive(Clone, Copy, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct UpdateChannel {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Expected hash rate in hashes per second.
    pub nominal_hash_rate: f32,
    /// Largest target that the client accepts from now on, little-endian integer.
    pub maximum_target: U256,
}

/// Refuses an `UpdateChannel` (specification 5.3.8).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct UpdateChannelError<'a> {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Printable reason, see `const_sv2::error_codes`; unknown codes are logged and otherwise ignored.
    pub error_code: Str0255<'a>,
}

/// Ends a channel, or all channels of a group (specification 5.3.9).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct CloseChannel<'a> {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Printable reason for closing the channel.
    pub reason_code: Str0255<'a>,
}

/// A new extranonce prefix for jobs sent after it (specification 5.3.10).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct SetExtranoncePrefix<'a> {
    /// Channel within the connection.
    pub channel_id: u32,
    /// First bytes of the extranonce, fixed by the server.
    pub extranonce_prefix: B032<'a>,
}

/// A share of a standard channel (specification 5.3.11).
#[derive(Clone, Copy, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct SubmitSharesStandard {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Chosen by the client to tell its submissions apart.
    pub sequence_number: u32,
    /// Job within the channel.
    pub job_id: u32,
    /// Nonce of the header.
    pub nonce: u32,
    /// Block time in Unix seconds.
    pub ntime: u32,
    /// Full block version, rolled bits included.
    pub version: u32,
}

/// A share of an extended channel (specification 5.3.12).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct SubmitSharesExtended<'a> {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Chosen by the client to tell its submissions apart.
    pub sequence_number: u32,
    /// Job within the channel.
    pub job_id: u32,
    /// Nonce of the header.
    pub nonce: u32,
    /// Block time in Unix seconds.
    pub ntime: u32,
    /// Full block version, rolled bits included.
    pub version: u32,
    /// Extranonce bytes that the client rolled, the prefix not included.
    pub extranonce: B032<'a>,
}

/// Acknowledges a batch of shares (specification 5.3.13).
#[derive(Clone, Copy, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct SubmitSharesSuccess {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Sequence number of the last accepted submission.
    pub last_sequence_number: u32,
    /// Number of submissions that this message acknowledges.
    pub new_submits_accepted_count: u32,
    /// Sum of the difficulties of these submissions.
    pub new_shares_sum: u64,
}

/// Rejects one share (specification 5.3.14).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct SubmitSharesError<'a> {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Chosen by the client to tell its submissions apart.
    pub sequence_number: u32,
    /// Printable reason, see `const_sv2::error_codes`; unknown codes are logged and otherwise ignored.
    pub error_code: Str0255<'a>,
}

/// Work for an extended or group channel (specification 5.3.16).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct NewExtendedMiningJob<'a> {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Job within the channel.
    pub job_id: u32,
    /// Earliest block time in Unix seconds; absent for a future job.
    pub min_ntime: Option<u32>,
    /// Block version; BIP323 bits may be rolled.
    pub version: u32,
    /// Whether the BIP323 bits of the version may be rolled.
    pub version_rolling_allowed: bool,
    /// Hashes from the coinbase to the root, deepest first, raw bytes.
    pub merkle_path: Seq0255<'a, U256>,
    /// Coinbase up to the extranonce, without BIP141 fields.
    pub coinbase_tx_prefix: B064K<'a>,
    /// Coinbase behind the extranonce, without BIP141 fields.
    pub coinbase_tx_suffix: B064K<'a>,
}

/// The block to build on, and the job to start with (specification 5.3.17).
#[derive(Clone, Copy, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct SetNewPrevHash {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Job within the channel.
    pub job_id: u32,
    /// Hash of the block to build on, raw bytes.
    pub prev_hash: U256,
    /// Earliest block time in Unix seconds.
    pub min_ntime: u32,
    /// Network target in compact form.
    pub nbits: u32,
}

/// A new target for future jobs; active jobs keep theirs (specification 5.3.21).
#[derive(Clone, Copy, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct SetTarget {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Largest target that shares may have, little-endian integer.
    pub maximum_target: U256,
}

/// A job that the client made (specification 5.3.18).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct SetCustomMiningJob<'a> {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Token that the job declaration server allocated.
    pub mining_job_token: B0255<'a>,
    /// Block version; BIP323 bits may be rolled.
    pub version: u32,
    /// Hash of the block to build on, raw bytes.
    pub prev_hash: U256,
    /// Earliest block time in Unix seconds.
    pub min_ntime: u32,
    /// Network target in compact form.
    pub nbits: u32,
    /// Version of the coinbase transaction.
    pub coinbase_tx_version: u32,
    /// Everything of the scriptSig that precedes the extranonce.
    pub coinbase_prefix: B0255<'a>,
    /// nSequence of the coinbase input.
    pub coinbase_tx_input_n_sequence: u32,
    /// Outputs of the coinbase, consensus serialisation behind a CompactSize count.
    pub coinbase_tx_outputs: B064K<'a>,
    /// Lock time of the coinbase.
    pub coinbase_tx_locktime: u32,
    /// Hashes from the coinbase to the root, deepest first, raw bytes.
    pub merkle_path: Seq0255<'a, U256>,
}

/// The pool commits to reward the job (specification 5.3.19).
#[derive(Clone, Copy, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct SetCustomMiningJobSuccess {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Job within the channel.
    pub job_id: u32,
}

/// The pool refuses the job (specification 5.3.20).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct SetCustomMiningJobError<'a> {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Printable reason, see `const_sv2::error_codes`; unknown codes are logged and otherwise ignored.
    pub error_code: Str0255<'a>,
}

/// Puts channels into a group (specification 5.3.22).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct SetGroupChannel<'a> {
    /// Group channel that the channel belongs to.
    pub group_channel_id: u32,
    /// Channels of the group.
    pub channel_ids: Seq064K<'a, u32>,
}
