//! A wallet for the embedded chain: its payments give blocks transactions, segwit and legacy, and fees.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use bitcoin::absolute::LockTime;
use bitcoin::consensus::serialize;
use bitcoin::ecdsa::Signature;
use bitcoin::hashes::Hash as _;
use bitcoin::script::PushBytesBuf;
use bitcoin::secp256k1::{All, Message, Secp256k1, SecretKey};
use bitcoin::sighash::SighashCache;
use bitcoin::{
    Address, Amount, CompressedPublicKey, EcdsaSighashType, Network, OutPoint, ScriptBuf, Sequence,
    Transaction, TxIn, TxOut, Witness, transaction,
};
use bitcoin_node::Node as _;
use bitcoin_node::embedded::{EmbeddedChain, EmbeddedNode};
use bitcoin_node::generate::{solve, unsolved_block};

/// Blocks that a coinbase needs above it before it can be spent, and one block for each coin.
const FUNDING_BLOCKS: u64 = 101;

/// Seconds between the blocks that fund the wallet.
const FUNDING_INTERVAL_SECS: u64 = 600;

/// What a payment leaves to the miner, in satoshis.
const FEE_SATS: u64 = 2_000;

/// One key and its two addresses.
pub(super) struct Wallet {
    secp: Secp256k1<All>,
    secret: SecretKey,
    public: CompressedPublicKey,
}

/// An output that can be spent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coin {
    outpoint: OutPoint,
    sats: u64,
}

/// How a coin is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// P2WPKH.
    Segwit,
    /// P2PKH.
    Legacy,
}

const KINDS: [Kind; 2] = [Kind::Segwit, Kind::Legacy];

impl Wallet {
    pub(super) fn random() -> Self {
        let secp = Secp256k1::new();
        let secret = loop {
            if let Ok(secret) = SecretKey::from_slice(&network_helpers_sv2::random_bytes::<32>()) {
                break secret;
            }
        };
        let public = CompressedPublicKey(secret.public_key(&secp));
        Self {
            secp,
            secret,
            public,
        }
    }

    /// The address that blocks of the demo pay.
    pub(super) fn address(&self) -> Address {
        Address::p2wpkh(&self.public, Network::Regtest)
    }

    fn script(&self, kind: Kind) -> ScriptBuf {
        match kind {
            Kind::Segwit => self.address().script_pubkey(),
            Kind::Legacy => Address::p2pkh(self.public, Network::Regtest).script_pubkey(),
        }
    }

    /// Pays a coin to ourselves and leaves a fee; the coin is what comes out of it. `None` when it is used up.
    fn pay(&self, kind: Kind, coin: &mut Coin) -> Option<Transaction> {
        let sats = coin.sats.checked_sub(FEE_SATS)?;
        let mut payment = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: coin.outpoint,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::MAX,
                witness: Witness::new(),
            }],
            output: vec![TxOut {
                value: Amount::from_sat(sats),
                script_pubkey: self.script(kind),
            }],
        };
        self.sign(kind, &mut payment, Amount::from_sat(coin.sats))?;
        *coin = Coin {
            outpoint: OutPoint::new(payment.compute_txid(), 0),
            sats,
        };
        Some(payment)
    }

    fn sign(&self, kind: Kind, payment: &mut Transaction, spent: Amount) -> Option<()> {
        let script = self.script(kind);
        let all = EcdsaSighashType::All;
        let mut cache = SighashCache::new(&*payment);
        let digest = match kind {
            Kind::Segwit => cache
                .p2wpkh_signature_hash(0, &script, spent, all)
                .ok()?
                .to_byte_array(),
            Kind::Legacy => cache
                .legacy_signature_hash(0, &script, all.to_u32())
                .ok()?
                .to_byte_array(),
        };
        let message = Message::from_digest(digest);
        let signature = Signature::sighash_all(self.secp.sign_ecdsa(&message, &self.secret));
        let input = payment.input.first_mut()?;
        match kind {
            Kind::Segwit => input.witness = Witness::p2wpkh(&signature, &self.public.0),
            Kind::Legacy => {
                let signature = PushBytesBuf::try_from(signature.to_vec()).ok()?;
                input.script_sig = ScriptBuf::builder()
                    .push_slice(signature)
                    .push_slice(self.public.to_bytes())
                    .into_script();
            }
        }
        Some(())
    }
}

/// A chain whose first blocks pay the wallet, old enough that it can spend a coin of each kind.
pub(super) fn funded_chain(wallet: &Wallet) -> anyhow::Result<(EmbeddedChain, [Coin; 2])> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut chain = EmbeddedChain::new();
    let mut coinbases = Vec::new();
    for height in 1..=FUNDING_BLOCKS {
        let kind = if height == 2 {
            Kind::Legacy
        } else {
            Kind::Segwit
        };
        let block_secs = now - (FUNDING_BLOCKS + 1 - height) * FUNDING_INTERVAL_SECS;
        let mut block = unsolved_block(&chain.template(block_secs), wallet.script(kind))
            .context("the chain gives no template")?;
        ensure!(solve(&mut block), "a block finds no nonce");
        let submitted = chain.submit_block(&serialize(&block), block_secs);
        ensure!(submitted.is_ok(), "the chain refuses a block");
        coinbases.extend(block.txdata.into_iter().next());
    }
    let mut coins = coinbases.iter().map(|coinbase| Coin {
        outpoint: OutPoint::new(coinbase.compute_txid(), 0),
        sats: coinbase
            .output
            .first()
            .map_or(0, |output| output.value.to_sat()),
    });
    let coins = coins.next().zip(coins.next());
    let (segwit, legacy) = coins.context("the funding blocks have no coinbases")?;
    Ok((chain, [segwit, legacy]))
}

/// Puts a payment of each kind in line on every tip. Ends with the node.
pub(super) async fn pay_in_every_block(
    wallet: Wallet,
    mut coins: [Coin; 2],
    node: Arc<EmbeddedNode>,
) {
    let mut state = node.state();
    let mut paid_height = 0;
    loop {
        let height = state
            .borrow_and_update()
            .template
            .as_ref()
            .map_or(0, |template| template.height);
        if height != paid_height {
            paid_height = height;
            for (kind, coin) in KINDS.into_iter().zip(&mut coins) {
                let Some(payment) = wallet.pay(kind, coin) else {
                    return;
                };
                // A chain that has no room for a payment has none for those that follow from it.
                if node
                    .add_transaction(&serialize(&payment), FEE_SATS)
                    .is_err()
                {
                    return;
                }
            }
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payments_of_both_kinds_are_signed_and_follow_from_each_other() {
        let wallet = Wallet::random();
        let (chain, mut coins) = funded_chain(&wallet).unwrap();
        assert_eq!(u64::from(chain.height()), FUNDING_BLOCKS);
        for (kind, coin) in KINDS.into_iter().zip(&mut coins) {
            let spent = *coin;
            let payment = wallet.pay(kind, coin).unwrap();
            assert_eq!(payment.input[0].previous_output, spent.outpoint);
            assert_eq!(coin.sats, spent.sats - FEE_SATS);
            assert_eq!(payment.input[0].witness.is_empty(), kind == Kind::Legacy);
            assert_eq!(payment.input[0].script_sig.is_empty(), kind == Kind::Segwit);
            let next = wallet.pay(kind, coin).unwrap();
            assert_eq!(next.input[0].previous_output.txid, payment.compute_txid());
        }
        let used_up = &mut Coin {
            sats: FEE_SATS - 1,
            ..coins[0]
        };
        assert!(wallet.pay(Kind::Segwit, used_up).is_none());
    }

    #[tokio::test]
    async fn every_block_has_two_payments() {
        let wallet = Wallet::random();
        let (chain, coins) = funded_chain(&wallet).unwrap();
        let node = Arc::new(EmbeddedNode::new(chain));
        let (mut state, script) = (node.state(), wallet.script(Kind::Segwit));
        tokio::spawn(pay_in_every_block(wallet, coins, node.clone()));
        for _ in 0..3 {
            let full = state.wait_for(|state| {
                let template = state.template.as_ref();
                template.is_some_and(|template| template.transactions.len() == 2)
            });
            let template = full.await.unwrap().template.clone().unwrap();
            assert_eq!(template.fees_sats(), 2 * FEE_SATS);
            let mut block = unsolved_block(&template, script.clone()).unwrap();
            assert!(solve(&mut block));
            let outcome = node.submit_block(serialize(&block).into()).await;
            assert_eq!(outcome, bitcoin_node::SubmitOutcome::Accepted);
        }
    }
}
