//! What the pool has its miners work on. A real one follows a template provider: see `TemplateClient`.

use std::sync::Arc;

use bitcoin::ScriptBuf;
use roles_logic_sv2::channels::{PayoutId, WorkState};
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::coinbase::CoinbaseTemplate;
use roles_logic_sv2::job::{ChainTip, JobFactory, JobTemplate, Payout};

/// One job, whose coinbase anyone may spend (OP_TRUE), on a block that never was.
pub(crate) fn of_one_block(full_extranonce_size: usize, now: Now) -> anyhow::Result<WorkState> {
    let script_pubkey = ScriptBuf::from_bytes(vec![0x51]);
    let weight = 1;
    let payouts = vec![Payout {
        script_pubkey,
        weight,
    }];
    let factory = JobFactory::new(payouts, "small-pool", "", full_extranonce_size, true)?;
    let job = factory.job(&JobTemplate {
        template_id: 1,
        version: 0x2000_0000,
        coinbase: CoinbaseTemplate {
            tx_version: 2,
            // The height, 840 000, as BIP34 has it.
            script_sig_prefix: &[3, 0x40, 0xd1, 0x0c],
            input_sequence: u32::MAX,
            value_remaining_sats: 312_500_000,
            outputs_count: 0,
            outputs: &[],
            locktime: 0,
        },
        merkle_path: Arc::new([]),
    })?;
    let (nbits, min_ntime) = (0x1703_4219, now.unix_secs.try_into()?);
    let tip = ChainTip::new([0x5a; 32], nbits, min_ntime, now.instant)?;
    Ok(WorkState::new(tip, [(PayoutId(0), job)]))
}
