//! Where accepted shares are stored before they are acknowledged.

use roles_logic_sv2::channels::server::PendingAck;

/// Shares to be stored, with whom they belong to.
#[derive(Debug)]
pub(crate) struct ShareRecord<'a> {
    /// Who mined them, as the channel was opened.
    pub(crate) user_identity: &'a [u8],
    /// The shares.
    pub(crate) shares: &'a PendingAck,
}

/// Stores nothing, so everything is stored at once: a pool without accounts, such as a solo pool.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NullLedger;

impl NullLedger {
    /// Stores shares; `true` once they would survive the end of the process.
    pub(crate) fn store(self, record: &ShareRecord<'_>) -> bool {
        tracing::trace!(
            channel_id = record.shares.channel_id(),
            user_identity = %record.user_identity.escape_ascii(),
            shares = record.shares.slice().accepted_count,
            "shares not kept: there is no ledger"
        );
        true
    }
}
