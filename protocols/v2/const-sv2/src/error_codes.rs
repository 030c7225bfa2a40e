//! Error codes in use on the wire.
//!
//! The specification leaves the strings to implementations (3.5); these are the ones that deployed software sends and
//! that this project sends too. A receiver logs an unknown code and otherwise ignores it.

/// Codes of `SetupConnection.Error`.
pub mod setup_connection {
    /// The server does not serve this sub-protocol here.
    pub const UNSUPPORTED_PROTOCOL: &str = "unsupported-protocol";
    /// The version range does not hold a version that the server speaks.
    pub const PROTOCOL_VERSION_MISMATCH: &str = "protocol-version-mismatch";
    /// The server does not support the flags listed beside this code.
    pub const UNSUPPORTED_FEATURE_FLAGS: &str = "unsupported-feature-flags";
    /// A job declaration server that needs transaction data was refused it.
    pub const MISSING_DECLARE_TX_DATA_FLAG: &str = "missing-declare-tx-data-flag";
}

/// Codes of `OpenMiningChannel.Error`.
pub mod open_mining_channel {
    /// The pool does not know this user.
    pub const UNKNOWN_USER: &str = "unknown-user";
    /// `max_target` lies outside of what the server can serve.
    pub const MAX_TARGET_OUT_OF_RANGE: &str = "max-target-out-of-range";
    /// `nominal_hash_rate` is negative, infinite or not a number.
    pub const INVALID_NOMINAL_HASHRATE: &str = "invalid-nominal-hashrate";
    /// `user_identity` does not follow a pattern that the pool understands, or names an invalid address.
    pub const INVALID_USER_IDENTITY: &str = "invalid-user-identity";
    /// The client asks for more extranonce bytes than the server can give.
    pub const MIN_EXTRANONCE_SIZE_TOO_LARGE: &str = "min-extranonce-size-too-large";
    /// The server cannot serve this extranonce size.
    pub const UNSUPPORTED_MIN_EXTRANONCE_SIZE: &str = "unsupported-min-extranonce-size";
    /// No channel is left: a limit of the server or of the extranonce space is reached.
    pub const CHANNEL_CAPACITY_EXHAUSTED: &str = "channel-capacity-exhausted";
    /// A client that selects its own work opened a standard channel.
    pub const STANDARD_CHANNELS_NOT_SUPPORTED_FOR_CUSTOM_WORK: &str =
        "standard-channels-not-supported-for-custom-work";
    /// A client that takes standard jobs only opened an extended channel.
    pub const EXTENDED_CHANNELS_NOT_SUPPORTED_FOR_STANDARD_JOBS: &str =
        "extended-channels-not-supported-for-standard-jobs";
}

/// Codes of `UpdateChannel.Error`.
pub mod update_channel {
    /// No channel of this connection has this id.
    pub const INVALID_CHANNEL_ID: &str = "invalid-channel-id";
    /// `nominal_hash_rate` is negative, infinite or not a number.
    pub const INVALID_NOMINAL_HASHRATE: &str = "invalid-nominal-hashrate";
    /// `maximum_target` lies outside of what the server can serve.
    pub const MAX_TARGET_OUT_OF_RANGE: &str = "max-target-out-of-range";
}

/// Codes of `SubmitShares.Error`.
pub mod submit_shares {
    /// No channel of this connection has this id.
    pub const INVALID_CHANNEL_ID: &str = "invalid-channel-id";
    /// The job belongs to an older chain tip.
    pub const STALE_SHARE: &str = "stale-share";
    /// The header hash lies above the channel's target.
    pub const DIFFICULTY_TOO_LOW: &str = "difficulty-too-low";
    /// The channel never had this job, or has it no more.
    pub const INVALID_JOB_ID: &str = "invalid-job-id";
    /// The share was handed in before.
    pub const DUPLICATE_SHARE: &str = "duplicate-share";
    /// The extranonce does not have the negotiated size.
    pub const BAD_EXTRANONCE_SIZE: &str = "bad-extranonce-size";
    /// The job does not allow version rolling and the version differs.
    pub const VERSION_ROLLING_NOT_ALLOWED: &str = "version-rolling-not-allowed";
    /// A version bit outside of the BIP323 mask differs.
    pub const INVALID_NON_ROLLABLE_VERSION_BIT: &str = "invalid-non-rollable-version-bit";
    /// The share is wrong in another way, for example its `ntime` lies outside of the window.
    pub const INVALID_SHARE: &str = "invalid-share";
}

/// Codes of `SetCustomMiningJob.Error`.
pub mod set_custom_mining_job {
    /// No channel of this connection has this id.
    pub const INVALID_CHANNEL_ID: &str = "invalid-channel-id";
    /// The token is unknown, used already or expired.
    pub const INVALID_MINING_JOB_TOKEN: &str = "invalid-mining-job-token";
    /// The pool does not take custom jobs.
    pub const JD_NOT_SUPPORTED: &str = "jd-not-supported";
    /// The declaration behind the token is still being checked.
    pub const JOB_NOT_YET_VALIDATED: &str = "job-not-yet-validated";
    /// The job builds on an older chain tip.
    pub const STALE_CHAIN_TIP: &str = "stale-chain-tip";
    /// `min_ntime` is out of range.
    pub const INVALID_MIN_NTIME: &str = "invalid-min-ntime";
    /// `nbits` differs from the chain's.
    pub const INVALID_NBITS: &str = "invalid-nbits";
    /// `version` is not acceptable.
    pub const INVALID_VERSION: &str = "invalid-version";
    /// The coinbase cannot be built from the parts.
    pub const INVALID_COINBASE_TX: &str = "invalid-coinbase-tx";
    /// `coinbase_tx_version` differs from the declared one.
    pub const INVALID_COINBASE_TX_VERSION: &str = "invalid-coinbase-tx-version";
    /// `coinbase_prefix` differs from the declared one or is too long.
    pub const INVALID_COINBASE_PREFIX: &str = "invalid-coinbase-prefix";
    /// `coinbase_tx_input_nSequence` differs from the declared one.
    pub const INVALID_COINBASE_TX_INPUT_N_SEQUENCE: &str = "invalid-coinbase-tx-input-n-sequence";
    /// `coinbase_tx_outputs` differ from the declared ones or do not pay the pool.
    pub const INVALID_COINBASE_TX_OUTPUTS: &str = "invalid-coinbase-tx-outputs";
    /// `coinbase_tx_locktime` differs from the declared one.
    pub const INVALID_COINBASE_TX_LOCKTIME: &str = "invalid-coinbase-tx-locktime";
    /// `merkle_path` does not belong to the declared transactions.
    pub const INVALID_MERKLE_PATH: &str = "invalid-merkle-path";
}

/// Codes of `DeclareMiningJob.Error`.
pub mod declare_mining_job {
    /// The token is unknown, used already or expired.
    pub const INVALID_MINING_JOB_TOKEN: &str = "invalid-mining-job-token";
    /// Requested transactions did not arrive.
    pub const MISSING_TXS: &str = "missing-txs";
    /// The job builds on an older chain tip.
    pub const STALE_CHAIN_TIP: &str = "stale-chain-tip";
    /// The block would be invalid.
    pub const INVALID_JOB: &str = "invalid-job";
    /// The coinbase cannot be built from the parts.
    pub const INVALID_COINBASE_TX: &str = "invalid-coinbase-tx";
    /// The coinbase does not have exactly one valid input.
    pub const INVALID_COINBASE_TX_INPUT: &str = "invalid-coinbase-tx-input";
    /// The server failed.
    pub const INTERNAL_ERROR: &str = "internal-error";
}

/// Codes of `RequestTransactionData.Error`.
pub mod request_transaction_data {
    /// No template has this id.
    pub const TEMPLATE_ID_NOT_FOUND: &str = "template-id-not-found";
    /// The template builds on an older chain tip.
    pub const STALE_TEMPLATE_ID: &str = "stale-template-id";
}
