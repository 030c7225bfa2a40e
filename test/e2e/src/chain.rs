//! What a real node says of the blocks on its chain.

use std::collections::BTreeMap;

use anyhow::Context as _;
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{Address, Block, Network, Transaction};
use serde_json::{Value, json};

use crate::regtest_node::RegtestNode;

/// A block, and what the node counted in it.
#[derive(Debug)]
pub struct MinedBlock {
    /// Its height.
    pub height: u64,
    /// The block.
    pub block: Block,
    /// New coins at this height, in satoshis.
    pub subsidy_sats: u64,
    /// Fees of all transactions, in satoshis.
    pub fees_sats: u64,
}

impl MinedBlock {
    /// The block at a height of the best chain.
    ///
    /// # Errors
    /// When the node does not answer, or not as expected.
    pub async fn at(node: &RegtestNode, height: u64) -> anyhow::Result<Self> {
        let stats = node
            .rpc(
                "getblockstats",
                json!([height, ["subsidy", "totalfee", "blockhash"]]),
            )
            .await?;
        let sats = |name: &str| stats[name].as_u64().with_context(|| format!("no {name}"));
        let raw = node.rpc("getblock", json!([stats["blockhash"], 0])).await?;
        Ok(Self {
            height,
            block: deserialize_hex(raw.as_str().context("no block")?)?,
            subsidy_sats: sats("subsidy")?,
            fees_sats: sats("totalfee")?,
        })
    }

    /// The coinbase transaction.
    ///
    /// # Panics
    /// Never: the node took the block, so it has one.
    pub fn coinbase(&self) -> &Transaction {
        self.block.txdata.first().expect("a block has a coinbase")
    }

    /// All transactions but the coinbase.
    pub fn payments(&self) -> &[Transaction] {
        self.block.txdata.get(1..).unwrap_or_default()
    }

    /// What each address gets by the coinbase, in satoshis; outputs without a value or an address are left out.
    pub fn payouts(&self) -> BTreeMap<String, u64> {
        let outputs = self.coinbase().output.iter();
        let paid = outputs.filter_map(|output| {
            let address = Address::from_script(&output.script_pubkey, Network::Regtest).ok()?;
            Some((address.to_string(), output.value.to_sat()))
        });
        paid.filter(|(_, sats)| *sats > 0).collect()
    }

    /// Whether the coinbase carries this text.
    pub fn has_tag(&self, tag: &str) -> bool {
        let script = self.coinbase().input.first().map(|input| &input.script_sig);
        script.is_some_and(|script| {
            let mut windows = script.as_bytes().windows(tag.len());
            windows.any(|window| window == tag.as_bytes())
        })
    }

    /// Checks that the coinbase claims all there is, neither less nor more.
    ///
    /// # Panics
    /// When it does not.
    pub fn assert_claims_everything(&self) {
        let outputs = self.coinbase().output.iter();
        let claimed: u64 = outputs.map(|output| output.value.to_sat()).sum();
        let (subsidy, fees) = (self.subsidy_sats, self.fees_sats);
        assert_eq!(claimed, subsidy + fees, "of block {}", self.height);
        assert_eq!(self.payouts().values().sum::<u64>(), claimed);
    }
}

/// All coins of the node's wallet, those that cannot be spent yet included, in satoshis.
///
/// # Errors
/// When the node does not answer, or not as expected.
pub async fn wallet_sats(node: &RegtestNode) -> anyhow::Result<u64> {
    let balances = node.rpc("getbalances", json!([])).await?;
    let sum = ["trusted", "untrusted_pending", "immature"].map(|name| &balances["mine"][name]);
    let parts = sum
        .into_iter()
        .map(sats)
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(parts.iter().sum())
}

/// An amount as nodes write it.
fn sats(coins: &Value) -> anyhow::Result<u64> {
    let coins = coins.as_f64().context("no amount")?;
    Ok(bitcoin::Amount::from_btc(coins)?.to_sat())
}
