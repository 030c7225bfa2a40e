//! What servers tell and ask of miners, and their longer answers.

use serde_json::{Map, Value, json};

use crate::client_message::{
    Configure, INFO, MAX_EXTRANONCE_PART_BYTES, MAX_JOB_ID_BYTES, MAX_TEXT_BYTES,
    MINIMUM_DIFFICULTY, RequestError, SUBSCRIBE_EXTRANONCE, VERSION_ROLLING, hex_u32,
};
use crate::difficulty::Difficulty;
use crate::id::Id;
use crate::message::{Request, request_line};
use crate::params::{ParamError, Params, Problem, array_from_hex, u32_from_hex};

/// Hashes of a merkle path: a block cannot have more than 2^32 transactions.
pub const MAX_MERKLE_PATH_LEN: usize = 32;

/// Bytes of either half of a coinbase.
pub const MAX_COINBASE_PART_BYTES: usize = 64 * 1024;

/// Bytes of a message that a server wants shown.
pub const MAX_SHOWN_BYTES: usize = 1024;

/// Something a server sends of its own accord.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerMessage {
    /// `mining.notify`: a job.
    Notify(Notify),
    /// `mining.set_difficulty`: for the jobs that follow.
    SetDifficulty(Difficulty),
    /// `mining.set_extranonce`: for the jobs that follow.
    SetExtranonce(SetExtranonce),
    /// `mining.set_version_mask` (BIP310): the bits that may be rolled, from now on.
    SetVersionMask(u32),
    /// `client.reconnect`: come again, maybe elsewhere.
    Reconnect(Reconnect),
    /// `client.show_message`: for a human.
    ShowMessage(String),
    /// `client.get_version`: answered with the user agent.
    GetVersion,
    /// `mining.ping`: answered with `"pong"`.
    Ping,
    /// `pong` as a request.
    Pong,
}

/// `mining.notify`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Names the job in submissions. ASCII.
    pub job_id: String,
    /// Hash of the block to build on, 32 bytes as they stand in a header.
    pub prev_hash: [u8; 32],
    /// Coinbase up to the extranonce, without BIP141 fields (`coinb1`).
    pub coinbase_prefix: Vec<u8>,
    /// Coinbase behind the extranonce (`coinb2`).
    pub coinbase_suffix: Vec<u8>,
    /// Hashes from the coinbase to the root, deepest first, raw bytes.
    pub merkle_path: Vec<[u8; 32]>,
    /// Block version to start from.
    pub version: u32,
    /// Network target in compact form.
    pub nbits: u32,
    /// Block time to start from, in Unix seconds.
    pub ntime: u32,
    /// Whether earlier jobs are over.
    pub clean_jobs: bool,
}

/// `mining.set_extranonce`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetExtranonce {
    /// First part of the extranonce, chosen by the server.
    pub extranonce1: Vec<u8>,
    /// Bytes of the part that the miner rolls.
    pub extranonce2_size: usize,
}

/// `client.reconnect`. Whatever is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconnect {
    /// Host to connect to.
    pub host: Option<String>,
    /// Port to connect to.
    pub port: Option<u16>,
    /// Seconds to wait first.
    pub wait_secs: Option<u32>,
}

impl ServerMessage {
    /// Reads a notification or request of a server.
    ///
    /// # Errors
    /// A method that servers do not send, parameters that cannot be used.
    pub fn parse(request: &Request<'_>) -> Result<Self, RequestError> {
        let params = || request.params.list();
        Ok(match &*request.method {
            "mining.notify" => Self::Notify(Notify::parse(params()?)?),
            "mining.set_difficulty" => Self::SetDifficulty(params()?.difficulty(0)?),
            "mining.set_extranonce" => Self::SetExtranonce(SetExtranonce::parse(params()?, 0)?),
            "mining.set_version_mask" => Self::SetVersionMask(params()?.u32_hex(0, "mask")?),
            "client.reconnect" => Self::Reconnect(Reconnect::parse(params()?)?),
            "client.show_message" => {
                Self::ShowMessage(params()?.text(0, "message", MAX_SHOWN_BYTES)?)
            }
            "client.get_version" => Self::GetVersion,
            "mining.ping" | "ping" => Self::Ping,
            "mining.pong" | "pong" => Self::Pong,
            _ => return Err(RequestError::UnknownMethod),
        })
    }

    /// Name of the method.
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Notify(_) => "mining.notify",
            Self::SetDifficulty(_) => "mining.set_difficulty",
            Self::SetExtranonce(_) => "mining.set_extranonce",
            Self::SetVersionMask(_) => "mining.set_version_mask",
            Self::Reconnect(_) => "client.reconnect",
            Self::ShowMessage(_) => "client.show_message",
            Self::GetVersion => "client.get_version",
            Self::Ping => "mining.ping",
            Self::Pong => "mining.pong",
        }
    }

    /// The line, its end included. What needs no answer has [`Id::NULL`].
    pub fn to_line(&self, id: &Id) -> String {
        let params = match self {
            Self::Notify(message) => message.to_json(),
            Self::SetDifficulty(difficulty) => json!([difficulty.to_json()]),
            Self::SetExtranonce(message) => {
                json!([hex::encode(&message.extranonce1), message.extranonce2_size])
            }
            Self::SetVersionMask(mask) => json!([hex_u32(*mask)]),
            Self::Reconnect(message) => message.to_json(),
            Self::ShowMessage(text) => json!([text]),
            Self::GetVersion | Self::Ping | Self::Pong => json!([]),
        };
        request_line(id, self.method(), &params)
    }
}

impl Notify {
    fn parse(params: &Params<'_>) -> Result<Self, ParamError> {
        let path = params.value(4, "merkle branch")?;
        let path = path
            .as_array()
            .ok_or(Problem::WrongType.of("merkle branch"))?;
        if path.len() > MAX_MERKLE_PATH_LEN {
            return Err(Problem::WrongLength.of("merkle branch"));
        }
        let node = |node: &Value| array_from_hex(node.as_str(), "merkle branch");
        let clean_jobs = params.value(8, "clean_jobs")?;
        Ok(Self {
            job_id: params.text(0, "job id", MAX_JOB_ID_BYTES)?,
            prev_hash: swap_words(params.array(1, "prevhash")?),
            coinbase_prefix: params.bytes(2, "coinb1", MAX_COINBASE_PART_BYTES)?,
            coinbase_suffix: params.bytes(3, "coinb2", MAX_COINBASE_PART_BYTES)?,
            merkle_path: path.iter().map(node).collect::<Result<_, _>>()?,
            version: params.u32_hex(5, "version")?,
            nbits: params.u32_hex(6, "nbits")?,
            ntime: params.u32_hex(7, "ntime")?,
            clean_jobs: clean_jobs
                .as_value()
                .and_then(Value::as_bool)
                .ok_or(Problem::WrongType.of("clean_jobs"))?,
        })
    }

    fn to_json(&self) -> Value {
        let path: Vec<_> = self.merkle_path.iter().map(hex::encode).collect();
        json!([
            self.job_id,
            hex::encode(swap_words(self.prev_hash)),
            hex::encode(&self.coinbase_prefix),
            hex::encode(&self.coinbase_suffix),
            path,
            hex_u32(self.version),
            hex_u32(self.nbits),
            hex_u32(self.ntime),
            self.clean_jobs,
        ])
    }
}

/// A block hash between its form in a header and the one of `mining.notify`: each of its 8 words of 4 bytes is
/// reversed in place. Its own inverse.
pub fn swap_words(mut hash: [u8; 32]) -> [u8; 32] {
    for word in hash.chunks_exact_mut(4) {
        word.reverse();
    }
    hash
}

impl SetExtranonce {
    fn parse(params: &Params<'_>, at: usize) -> Result<Self, ParamError> {
        let size = params.uint(at + 1, "extranonce2 size", MAX_EXTRANONCE_PART_BYTES as u64)?;
        Ok(Self {
            extranonce1: params.bytes(at, "extranonce1", MAX_EXTRANONCE_PART_BYTES)?,
            extranonce2_size: size as usize,
        })
    }
}

impl Reconnect {
    fn parse(params: &Params<'_>) -> Result<Self, ParamError> {
        let optional = |at, name, max| {
            let is_present = params.optional(at).is_some();
            is_present.then(|| params.uint(at, name, max)).transpose()
        };
        let port = optional(1, "port", u64::from(u16::MAX))?;
        let wait = optional(2, "wait", u64::from(u32::MAX))?;
        let host = params.optional_text(0, MAX_TEXT_BYTES);
        Ok(Self {
            host: host.filter(|host| !host.is_empty()),
            port: port
                .and_then(|port| port.try_into().ok())
                .filter(|port| *port != 0),
            wait_secs: wait.and_then(|wait| wait.try_into().ok()),
        })
    }

    /// As many parameters as say something.
    fn to_json(&self) -> Value {
        let host = json!(self.host.as_deref().unwrap_or_default());
        let port = json!(self.port.unwrap_or(0));
        match (&self.host, self.port, self.wait_secs) {
            (None, None, None) => json!([]),
            (_, None, None) => json!([host]),
            (_, _, None) => json!([host, port]),
            (_, _, Some(wait)) => json!([host, port, wait]),
        }
    }
}

/// The result of `mining.subscribe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeReply {
    /// What was subscribed to: method and id of the subscription. The id of `mining.notify` resumes the session.
    pub subscriptions: Vec<(String, String)>,
    /// The extranonce that the connection works with.
    pub extranonce: SetExtranonce,
}

impl SubscribeReply {
    /// Reads a result; the list of subscriptions may be anything, as nothing depends on it.
    ///
    /// # Errors
    /// No list, an extranonce1 that is not hexadecimal, a size that cannot be.
    pub fn from_json(result: &Value) -> Result<Self, ParamError> {
        let params = result
            .as_array()
            .ok_or(Problem::WrongType.of("subscription"))?;
        let list = params.first().and_then(Value::as_array);
        let list = list.map(Vec::as_slice).unwrap_or_default();
        let pair = |value: &Value| {
            let [method, id] = value.as_array()?.as_slice() else {
                return None;
            };
            Some((method.as_str()?.to_owned(), id.as_str()?.to_owned()))
        };
        // A single subscription sometimes comes without its list.
        let single = params.first().and_then(pair);
        let subscriptions = single
            .into_iter()
            .chain(list.iter().filter_map(pair))
            .take(MAX_MERKLE_PATH_LEN)
            .collect();
        Ok(Self {
            subscriptions,
            extranonce: SetExtranonce::parse(&Params::from_list(params), 1)?,
        })
    }

    /// The id to resume this session with.
    pub fn session(&self) -> Option<&str> {
        let is_notify = |(method, _): &&(String, String)| method == "mining.notify";
        self.subscriptions
            .iter()
            .find(is_notify)
            .map(|(_, id)| id.as_str())
    }

    /// The `result` member.
    pub fn to_json(&self) -> Value {
        json!([
            self.subscriptions,
            hex::encode(&self.extranonce.extranonce1),
            self.extranonce.extranonce2_size
        ])
    }
}

/// What a server says to one extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is on.
    Yes,
    /// It is not supported.
    No,
    /// It could not be turned on; a text for a human.
    Failed(String),
}

impl Outcome {
    fn from_json(value: &Value) -> Self {
        match value {
            Value::Bool(true) => Self::Yes,
            Value::String(text) => Self::Failed(text.clone()),
            _ => Self::No,
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Yes => json!(true),
            Self::No => json!(false),
            Self::Failed(text) => json!(text),
        }
    }
}

/// The result of `mining.configure`: one outcome for each extension asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigureReply {
    /// Extensions and what became of them.
    pub outcomes: Vec<(String, Outcome)>,
    /// The bits that may be rolled, with `version-rolling`.
    pub version_rolling_mask: Option<u32>,
}

impl ConfigureReply {
    /// What became of an extension; `None` when nothing was said.
    pub fn outcome(&self, extension: &str) -> Option<&Outcome> {
        let mut outcomes = self.outcomes.iter();
        outcomes
            .find(|(name, _)| name == extension)
            .map(|(_, outcome)| outcome)
    }

    /// The answer of a server that lets `mask` be rolled (nothing when 0), and knows the other extensions of BIP310.
    pub fn answer(request: &Configure, mask: u32) -> Self {
        let outcome = |name: &String| {
            let is_on = match name.as_str() {
                VERSION_ROLLING => mask != 0,
                MINIMUM_DIFFICULTY => request.minimum_difficulty.is_some(),
                SUBSCRIBE_EXTRANONCE | INFO => true,
                _ => false,
            };
            (name.clone(), if is_on { Outcome::Yes } else { Outcome::No })
        };
        let rolls = request.asks_for(VERSION_ROLLING) && mask != 0;
        Self {
            outcomes: request.extensions.iter().map(outcome).collect(),
            version_rolling_mask: rolls.then_some(mask),
        }
    }

    /// Reads a result.
    ///
    /// # Errors
    /// No object, a mask that is not hexadecimal.
    pub fn from_json(result: &Value) -> Result<Self, ParamError> {
        let members = result
            .as_object()
            .ok_or(Problem::WrongType.of("configuration"))?;
        let outcomes = members.iter().filter(|(name, _)| !name.contains('.'));
        let mask = members.get("version-rolling.mask");
        Ok(Self {
            outcomes: outcomes
                .map(|(name, value)| (name.clone(), Outcome::from_json(value)))
                .collect(),
            version_rolling_mask: mask
                .map(|mask| u32_from_hex(mask.as_str(), "version-rolling.mask"))
                .transpose()?,
        })
    }

    /// The `result` member.
    pub fn to_json(&self) -> Value {
        let outcomes = self.outcomes.iter();
        let mut members: Map<_, _> = outcomes
            .map(|(name, outcome)| (name.clone(), outcome.to_json()))
            .collect();
        if let Some(mask) = self.version_rolling_mask {
            members.insert("version-rolling.mask".into(), json!(hex_u32(mask)));
        }
        Value::Object(members)
    }
}
