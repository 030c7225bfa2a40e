//! Blocks for templates, and a negotiation with peers that say what a test wants.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]
#![allow(dead_code, reason = "each test file uses a part")]

use std::time::Duration;

use bitcoin::absolute::LockTime;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
use coinbase_negotiator_core::{Agreement, Fault, Negotiation, News, Output, Party, Source, Terms};
use common_messages_sv2::{CommonMessage, SetupConnectionSuccess};
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::merkle;
use roles_logic_sv2::messages::AnyMessage;
use template_distribution_sv2::{
    NewTemplate, RequestTransactionDataSuccess, SetNewPrevHash, TemplateDistributionMessage,
};

/// A script with one signature operation, in an output of 34 bytes.
pub(crate) fn p2pkh() -> ScriptBuf {
    ScriptBuf::new_p2pkh(&bitcoin::PubkeyHash::from_raw_hash(
        bitcoin::hashes::Hash::all_zeros(),
    ))
}

pub(crate) fn spend(coin: OutPoint, has_witness: bool, script_pubkey: ScriptBuf) -> Transaction {
    let witness = match has_witness {
        true => Witness::from_slice(&[[7; 64]]),
        false => Witness::new(),
    };
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: coin,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness,
        }],
        output: vec![TxOut {
            value: Amount::from_sat(1_000),
            script_pubkey,
        }],
    }
}

/// A coin of an earlier block.
pub(crate) fn old_coin(number: u8) -> OutPoint {
    OutPoint::new(Txid::from_byte_array([number; 32]), 0)
}

pub(crate) fn txs(with_witness: &[bool]) -> Vec<Transaction> {
    let numbered = (1..).zip(with_witness);
    let txs = numbered.map(|(number, has)| spend(old_coin(number), *has, ScriptBuf::new()));
    txs.collect()
}

/// A template provider's answers, sound unless a test spoils them.
pub(crate) struct Block {
    pub(crate) template: NewTemplate<'static>,
    pub(crate) tip: SetNewPrevHash,
    pub(crate) data: RequestTransactionDataSuccess<'static>,
}

pub(crate) fn commitment_of(transactions: &[Transaction]) -> Vec<u8> {
    let wtxids = transactions
        .iter()
        .map(|tx| tx.compute_wtxid().to_byte_array());
    let hash = merkle::witness_commitment(&wtxids.collect::<Vec<_>>());
    let script = [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], &hash].concat();
    serialize(&TxOut {
        value: Amount::ZERO,
        script_pubkey: script.into(),
    })
}

pub(crate) fn block(template_id: u64, transactions: &[Transaction]) -> Block {
    let txids = transactions
        .iter()
        .map(|tx| tx.compute_txid().to_byte_array());
    let path = merkle::coinbase_path(&txids.collect::<Vec<_>>());
    let path: Vec<_> = path.into_iter().map(Into::into).collect();
    let list = transactions
        .iter()
        .map(|tx| serialize(tx).try_into().unwrap());
    Block {
        template: NewTemplate {
            template_id,
            future_template: true,
            version: 0x2000_0000,
            coinbase_tx_version: 2,
            coinbase_prefix: vec![0x51, 0].try_into().unwrap(),
            coinbase_tx_input_sequence: u32::MAX - 1,
            coinbase_tx_value_remaining: 5_000_000_000,
            coinbase_tx_outputs_count: 1,
            coinbase_tx_outputs: commitment_of(transactions).try_into().unwrap(),
            coinbase_tx_locktime: 0,
            merkle_path: path.try_into().unwrap(),
        },
        tip: SetNewPrevHash {
            template_id,
            prev_hash: [template_id as u8; 32].into(),
            header_timestamp: 1_700_000_000,
            nbits: 0x207f_ffff,
            target: [0xff; 32].into(),
        },
        data: RequestTransactionDataSuccess {
            template_id,
            excess_data: Vec::new().try_into().unwrap(),
            transaction_list: list.collect::<Vec<_>>().try_into().unwrap(),
        },
    }
}

pub(crate) fn provider(
    message: impl Into<TemplateDistributionMessage<'static>>,
) -> AnyMessage<'static> {
    message.into().into()
}

/// A negotiation, and what it has said.
pub(crate) struct Scene {
    pub(crate) negotiation: Negotiation,
    pub(crate) now: Now,
    pub(crate) sent: Vec<AnyMessage<'static>>,
    pub(crate) done: Option<Result<Box<Agreement>, Fault>>,
}

impl Scene {
    pub(crate) fn new(source: Source) -> Self {
        let now = Now::default();
        Self {
            negotiation: Negotiation::new(Terms::new(source), now),
            now,
            sent: Vec::new(),
            done: None,
        }
    }

    /// Outputs that are given, and a template provider that has been asked.
    pub(crate) fn asked() -> Self {
        let mut scene = Self::new(Source::Outputs(vec![p2pkh()]));
        assert_eq!(scene.told(), ["outputs 34 1", "connect template provider"]);
        scene.set_up(Party::TemplateProvider);
        let asked = ["CoinbaseOutputConstraints", "asked 34 1"];
        assert_eq!(scene.told(), asked);
        scene
    }

    pub(crate) fn set_up(&mut self, party: Party) {
        self.negotiation.handle_connected(party, self.now);
        assert_eq!(self.told(), ["SetupConnection"]);
        let (used_version, flags) = (2, 0);
        let success = SetupConnectionSuccess {
            used_version,
            flags,
        };
        self.says(party, CommonMessage::from(success).into());
    }

    pub(crate) fn says(&mut self, party: Party, message: AnyMessage<'static>) {
        self.negotiation.handle_message(party, &message, self.now);
    }

    pub(crate) fn provides(&mut self, message: impl Into<TemplateDistributionMessage<'static>>) {
        self.says(Party::TemplateProvider, provider(message));
    }

    pub(crate) fn waits(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.negotiation.handle_timeout(self.now);
    }

    /// The outputs, in short.
    pub(crate) fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(output) = self.negotiation.poll_output() {
            told.push(match output {
                Output::Connect(party) => format!("connect {party}"),
                Output::Send(_, message) => {
                    let name = message.kind().name.to_owned();
                    self.sent.push(message);
                    name
                }
                Output::Told(News::Outputs { space, .. }) => {
                    format!("outputs {} {}", space.size, space.sigops)
                }
                Output::Told(News::Asked(asked)) => format!(
                    "asked {} {}",
                    asked.coinbase_output_max_additional_size,
                    asked.coinbase_output_max_additional_sigops
                ),
                Output::Told(News::Template { template_id, .. }) => {
                    format!("template {template_id}")
                }
                Output::Disconnect(party) => format!("disconnect {party}"),
                Output::Done(done) => {
                    assert!(self.done.is_none(), "it ends once");
                    self.done = Some(done);
                    continue;
                }
            });
        }
        told
    }

    /// How it ended.
    pub(crate) fn end(&mut self) -> Result<Box<Agreement>, Fault> {
        self.told();
        assert_eq!(self.negotiation.poll_timeout(), None);
        self.done.take().expect("it has ended")
    }

    /// Has the provider send a block's template and tip, and its transactions.
    pub(crate) fn offer(&mut self, block: Block) {
        self.provides(block.template);
        self.provides(block.tip);
        self.provides(block.data);
    }
}
