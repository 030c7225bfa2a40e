//! Why a block was refused, in bitcoind's words.

use core::fmt;

/// Longest text kept of a reason that is not in the table, in bytes; the rest is cut.
pub const OTHER_REASON_BYTES_MAX: usize = 120;

macro_rules! reject_reasons {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why a node refused a block: the string of BIP22 and bitcoind, as a value that can be counted.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum RejectReason {
            $($(#[$doc])* $variant,)*
            /// A reason without a variant of its own, as the node worded it (at most [`OTHER_REASON_BYTES_MAX`] bytes).
            Other(String),
        }

        impl RejectReason {
            /// The reason as bitcoind writes it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }

            /// The reason that bitcoind's `text` stands for.
            pub fn from_text(text: &str) -> Self {
                // bitcoind appends the value: "bad-version(0x00000001)".
                match text.split('(').next().unwrap_or(text) {
                    $($text => Self::$variant,)*
                    _ => Self::Other(text.chars().take(OTHER_REASON_BYTES_MAX / 4).collect()),
                }
            }
        }

        #[cfg(test)]
        const ALL: &[RejectReason] = &[$(RejectReason::$variant,)*];
    };
}

reject_reasons! {
    /// The bytes are no block.
    Malformed = "block-decode-failed",
    /// The header's hash is above its target.
    HighHash = "high-hash",
    /// The header's nbits are not those that consensus asks for.
    BadDiffbits = "bad-diffbits",
    /// The header's time is not later than the median of the last eleven.
    TimeTooOld = "time-too-old",
    /// The header's time is more than two hours ahead of the node's clock.
    TimeTooNew = "time-too-new",
    /// The header's version is too low for its height.
    BadVersion = "bad-version",
    /// The block to build on is not known.
    PrevBlkNotFound = "prev-blk-not-found",
    /// The block to build on is invalid.
    BadPrevblk = "bad-prevblk",
    /// The merkle root does not match the transactions.
    BadTxnmrklroot = "bad-txnmrklroot",
    /// Two transactions are the same, or the merkle tree was mutated.
    BadTxnsDuplicate = "bad-txns-duplicate",
    /// The first transaction is no coinbase.
    BadCbMissing = "bad-cb-missing",
    /// A later transaction is a coinbase.
    BadCbMultiple = "bad-cb-multiple",
    /// The coinbase's scriptSig is shorter than 2 or longer than 100 bytes.
    BadCbLength = "bad-cb-length",
    /// The coinbase does not start with the block's height (BIP34).
    BadCbHeight = "bad-cb-height",
    /// The coinbase pays more than subsidy and fees.
    BadCbAmount = "bad-cb-amount",
    /// The witness commitment does not match the transactions (BIP141).
    BadWitnessMerkleMatch = "bad-witness-merkle-match",
    /// The coinbase's witness is not one item of 32 bytes (BIP141).
    BadWitnessNonceSize = "bad-witness-nonce-size",
    /// Witness data without a commitment in the coinbase (BIP141).
    UnexpectedWitness = "unexpected-witness",
    /// The block without witnesses is too large, or it is empty.
    BadBlkLength = "bad-blk-length",
    /// The block's weight is above the limit.
    BadBlkWeight = "bad-blk-weight",
    /// The block's signature operations are above the limit.
    BadBlkSigops = "bad-blk-sigops",
    /// An input is unknown or already spent.
    BadTxnsInputsMissingorspent = "bad-txns-inputs-missingorspent",
    /// A transaction is not final at this height and time.
    BadTxnsNonfinal = "bad-txns-nonfinal",
    /// A transaction has no outputs.
    BadTxnsVoutEmpty = "bad-txns-vout-empty",
    /// An amount is out of range.
    BadTxnsVoutToolarge = "bad-txns-vout-toolarge",
    /// The block was seen before and is invalid.
    DuplicateInvalid = "duplicate-invalid",
    /// The node refuses without saying why.
    Rejected = "rejected",
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_its_text() {
        for reason in ALL {
            assert_eq!(&RejectReason::from_text(reason.as_str()), reason);
        }
        assert_eq!(
            RejectReason::from_text("bad-version(0x00000001)"),
            RejectReason::BadVersion
        );
    }

    #[test]
    fn an_unknown_reason_is_kept_and_bounded() {
        assert_eq!(
            RejectReason::from_text("bad-signet-blksig").as_str(),
            "bad-signet-blksig"
        );
        let long = RejectReason::from_text(&"ü".repeat(10_000));
        assert!(long.as_str().len() <= OTHER_REASON_BYTES_MAX);
    }
}
