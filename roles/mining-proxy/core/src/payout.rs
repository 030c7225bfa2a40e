//! Whether an upstream's coinbase pays whom it should.

use bitcoin::consensus::deserialize;
use bitcoin::{ScriptBuf, Transaction};
use roles_logic_sv2::job::Job;

/// Whom the coinbase must pay, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedPayout {
    /// The script of the output.
    pub script_pubkey: ScriptBuf,
    /// Least part of all outputs together, in percent.
    pub min_percent: u8,
}

/// Why a job is not mined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayoutMismatch {
    /// The coinbase cannot be read.
    #[error("the coinbase cannot be read")]
    Unreadable,
    /// The script gets less than it should, or nothing.
    #[error("the coinbase pays {paid_sats} of {total_sats} sats to the expected script")]
    TooLittle {
        /// What it gets.
        paid_sats: u64,
        /// All outputs together.
        total_sats: u64,
    },
}

impl ExpectedPayout {
    /// Checks a job.
    ///
    /// # Errors
    /// [`PayoutMismatch`].
    pub fn check(&self, job: &Job) -> Result<(), PayoutMismatch> {
        let coinbase = job.coinbase().ok_or(PayoutMismatch::Unreadable)?;
        let extranonce = vec![0; coinbase.full_extranonce_size()];
        let bytes = [coinbase.prefix(), &extranonce, coinbase.suffix()].concat();
        let transaction: Transaction =
            deserialize(&bytes).map_err(|_| PayoutMismatch::Unreadable)?;
        let sum = |sats: u64, value: bitcoin::Amount| sats.saturating_add(value.to_sat());
        let outputs = transaction.output.iter();
        let total_sats = outputs.clone().map(|output| output.value).fold(0, sum);
        let paid_sats = outputs
            .filter(|output| output.script_pubkey == self.script_pubkey)
            .map(|output| output.value)
            .fold(0, sum);
        let is_enough =
            u128::from(paid_sats) * 100 >= u128::from(total_sats) * u128::from(self.min_percent);
        if is_enough && paid_sats > 0 {
            Ok(())
        } else {
            Err(PayoutMismatch::TooLittle {
                paid_sats,
                total_sats,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use roles_logic_sv2::coinbase::Coinbase;

    use super::*;

    fn job(outputs: &[(u64, u8)]) -> Job {
        let prefix = [&[1, 0, 0, 0, 1][..], &[0; 32], &[0xff; 4], &[8, 3, 1, 2, 3]].concat();
        let mut suffix = [&[0xff; 4][..], &[outputs.len() as u8]].concat();
        for (sats, op) in outputs {
            suffix.extend(sats.to_le_bytes());
            suffix.extend([1, *op]);
        }
        suffix.extend([0; 4]);
        let coinbase = Coinbase::from_stripped_parts(&prefix, &suffix, 4).unwrap();
        Job::new(None, 0x2000_0000, true, Vec::new(), coinbase)
    }

    fn check(outputs: &[(u64, u8)], expected: Result<(), (u64, u64)>) {
        let payout = ExpectedPayout {
            script_pubkey: ScriptBuf::from_bytes(vec![0x51]),
            min_percent: 90,
        };
        let checked = payout
            .check(&job(outputs))
            .map_err(|mismatch| match mismatch {
                PayoutMismatch::TooLittle {
                    paid_sats,
                    total_sats,
                } => (paid_sats, total_sats),
                PayoutMismatch::Unreadable => panic!("{mismatch}"),
            });
        assert_eq!(checked, expected, "{outputs:?}");
    }

    #[test]
    fn the_script_gets_its_part_or_the_job_is_refused() {
        check(&[(1_000, 0x51)], Ok(()));
        check(&[(100, 0x52), (450, 0x51), (450, 0x51), (0, 0x6a)], Ok(()));
        check(&[(101, 0x52), (899, 0x51)], Err((899, 1_000)));
        check(&[(1_000, 0x52)], Err((0, 1_000)));
        check(&[(0, 0x51)], Err((0, 0)));
        check(&[(u64::MAX, 0x51), (u64::MAX, 0x52)], Ok(()));
    }
}
