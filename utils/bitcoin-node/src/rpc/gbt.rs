//! getblocktemplate's JSON as a [`BlockTemplate`].

use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, CompactTarget, Network, Target};
use roles_logic_sv2::block_template::{
    BlockTemplate, MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT_WU, TemplateTransaction,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{RpcError, parse_reply};

/// The call's name.
pub const METHOD: &str = "getblocktemplate";

/// Rules that a miner must know to mine on a template; one that is not listed makes the template unusable (BIP9).
const KNOWN_MANDATORY_RULES: [&str; 2] = ["segwit", "signet"];

/// A template as the node gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTemplate {
    /// The template.
    pub template: BlockTemplate,
    /// What to ask with to be answered when it is outdated; empty when the node cannot long poll.
    pub long_poll_id: String,
}

#[derive(Deserialize)]
struct Gbt<'a> {
    version: u32,
    #[serde(default)]
    rules: Vec<String>,
    previousblockhash: BlockHash,
    #[serde(borrow)]
    transactions: Vec<GbtTransaction<'a>>,
    coinbasevalue: u64,
    #[serde(default)]
    longpollid: String,
    mintime: u32,
    curtime: u32,
    bits: String,
    height: u32,
    sigoplimit: Option<u32>,
    weightlimit: Option<u32>,
}

#[derive(Deserialize)]
struct GbtTransaction<'a> {
    #[serde(borrow)]
    data: &'a str,
    txid: bitcoin::Txid,
    hash: bitcoin::Wtxid,
    fee: u64,
    sigops: u32,
    weight: u32,
}

/// The call's parameters for a node on `chain`.
pub fn params(chain: Network, long_poll_id: Option<&str>) -> Value {
    let mut rules = vec!["segwit"];
    if chain == Network::Signet {
        rules.push("signet");
    }
    let mut request = json!({ "rules": rules });
    if let (Some(id), Some(request)) = (long_poll_id, request.as_object_mut()) {
        request.insert("longpollid".to_owned(), id.into());
    }
    json!([request])
}

/// Reads the reply to getblocktemplate.
///
/// # Errors
/// The node's own error, or [`RpcError::Garbage`] that names what is missing or contradicts itself.
pub fn parse(reply: &[u8]) -> Result<NodeTemplate, RpcError> {
    let gbt: Gbt<'_> =
        parse_reply(METHOD, reply)?.ok_or_else(|| RpcError::garbage(METHOD, "null"))?;
    convert(gbt).map_err(|reason| RpcError::garbage(METHOD, reason))
}

fn convert(gbt: Gbt<'_>) -> Result<NodeTemplate, String> {
    let mandatory = gbt.rules.iter().filter_map(|rule| rule.strip_prefix('!'));
    if let Some(rule) = mandatory
        .into_iter()
        .find(|rule| !KNOWN_MANDATORY_RULES.contains(rule))
    {
        return Err(format!("rule {rule} is mandatory and not supported"));
    }
    let nbits = u32::from_str_radix(&gbt.bits, 16)
        .map_err(|_| "bits is no 32-bit hexadecimal number".to_owned())?;
    if Target::from_compact(CompactTarget::from_consensus(nbits)) == Target::ZERO {
        return Err("bits is no target".to_owned());
    }
    let transactions = gbt
        .transactions
        .into_iter()
        .map(convert_transaction)
        .collect::<Result<Vec<_>, _>>()?;
    let weight_limit_wu = gbt
        .weightlimit
        .unwrap_or(MAX_BLOCK_WEIGHT_WU)
        .min(MAX_BLOCK_WEIGHT_WU);
    let weight: u64 = transactions.iter().map(|tx| u64::from(tx.weight_wu)).sum();
    if weight > u64::from(weight_limit_wu) {
        return Err(format!("transactions weigh {weight}, above weightlimit"));
    }
    let fees = transactions
        .iter()
        .try_fold(0_u64, |sum, tx| sum.checked_add(tx.fee_sats));
    let subsidy_sats = fees
        .and_then(|fees| gbt.coinbasevalue.checked_sub(fees))
        .ok_or("coinbasevalue is below the fees")?;
    let template = BlockTemplate {
        height: gbt.height,
        version: gbt.version,
        prev_hash: gbt.previousblockhash.to_byte_array(),
        nbits,
        current_time_secs: gbt.curtime.max(gbt.mintime),
        min_time_secs: gbt.mintime,
        subsidy_sats,
        transactions,
        segwit_active: gbt
            .rules
            .iter()
            .any(|rule| rule.trim_start_matches('!') == "segwit"),
        weight_limit_wu,
        sigops_limit: gbt
            .sigoplimit
            .unwrap_or(MAX_BLOCK_SIGOPS_COST)
            .min(MAX_BLOCK_SIGOPS_COST),
        is_provisional: false,
    };
    Ok(NodeTemplate {
        template,
        long_poll_id: gbt.longpollid,
    })
}

fn convert_transaction(tx: GbtTransaction<'_>) -> Result<TemplateTransaction, String> {
    let raw = hex::decode(tx.data)
        .map_err(|_| format!("data of transaction {} is no hexadecimal text", tx.txid))?;
    // A byte weighs one unit with witness discount and four without.
    let size = raw.len() as u64;
    if raw.is_empty() || !(size..=size * 4).contains(&u64::from(tx.weight)) {
        return Err(format!(
            "weight of transaction {} does not fit its {size} bytes",
            tx.txid
        ));
    }
    Ok(TemplateTransaction {
        raw: Arc::from(raw),
        txid: tx.txid.to_byte_array(),
        wtxid: tx.hash.to_byte_array(),
        fee_sats: tx.fee,
        weight_wu: tx.weight,
        sigops_cost: tx.sigops,
    })
}

/// Whether `new` is worth telling miners after `old`, when fees must rise by `fees_delta_sats`.
pub fn is_material(old: &BlockTemplate, new: &BlockTemplate, fees_delta_sats: u64) -> bool {
    let is_other_block = (old.prev_hash, old.nbits, old.version, old.subsidy_sats)
        != (new.prev_hash, new.nbits, new.version, new.subsidy_sats);
    // A provisional template is replaced even by an equally empty one: then its limits and version are the node's own.
    let fees_rose = new.fees_sats() >= old.fees_sats().saturating_add(fees_delta_sats.max(1));
    is_other_block || (old.is_provisional && !new.is_provisional) || fees_rose
}
