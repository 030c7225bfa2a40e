//! What miners ask of servers.

use roles_logic_sv2::target::Target;
use serde_json::{Map, Value, json};

use crate::difficulty::Difficulty;
use crate::id::Id;
use crate::message::{Request, request_line};
use crate::params::{ParamError, Params, Problem, difficulty, u32_from_hex};

/// Bytes of a user name, a password, a user agent, a session id. A longer name is refused, a longer agent ignored.
pub const MAX_TEXT_BYTES: usize = 512;

/// Bytes of either part of an extranonce.
pub const MAX_EXTRANONCE_PART_BYTES: usize = 32;

/// Bytes of a job id.
pub const MAX_JOB_ID_BYTES: usize = 64;

/// Extensions that one `mining.configure` may name. More are refused.
pub const MAX_EXTENSIONS: usize = 16;

/// Why a request is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no such method on this side.
    #[error("unknown method")]
    UnknownMethod,
    /// The method is known, its parameters cannot be used.
    #[error(transparent)]
    Params(#[from] ParamError),
}

/// A request of a miner.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientMessage {
    /// `mining.configure` (BIP310): which extensions the miner wants.
    Configure(Configure),
    /// `mining.subscribe`: asks for work.
    Subscribe(Subscribe),
    /// `mining.authorize`: who mines.
    Authorize(Authorize),
    /// `mining.submit`: a share.
    Submit(Submit),
    /// `mining.suggest_difficulty`: what the miner would like.
    SuggestDifficulty(Difficulty),
    /// `mining.suggest_target`: the same as a target, hexadecimal, most significant byte first.
    SuggestTarget(Target),
    /// `mining.extranonce.subscribe`: the miner can follow `mining.set_extranonce`.
    ExtranonceSubscribe,
    /// `mining.get_transactions`: those of a job, by its id.
    GetTransactions(Option<String>),
    /// `mining.ping`: answered with `"pong"`.
    Ping,
    /// `pong` as a request: how some firmware answers a ping.
    Pong,
}

/// `mining.configure` (BIP310).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configure {
    /// The extensions asked for, in order. Each is answered.
    pub extensions: Vec<String>,
    /// Version bits that the miner can roll; all where it says nothing.
    pub version_rolling_mask: Option<u32>,
    /// Bits that the miner needs. Required by BIP310, left out by most miners; one that is no number counts as none.
    pub min_bit_count: Option<u32>,
    /// The lowest difficulty that the miner takes.
    pub minimum_difficulty: Option<Difficulty>,
    /// What the miner says of itself (`info.connection-url`, `info.hw-version`, …), without the prefix.
    pub info: Vec<(String, String)>,
}

/// The extension by which version bits are rolled.
pub const VERSION_ROLLING: &str = "version-rolling";
/// The extension by which a miner names its lowest difficulty.
pub const MINIMUM_DIFFICULTY: &str = "minimum-difficulty";
/// The extension that does what `mining.extranonce.subscribe` does.
pub const SUBSCRIBE_EXTRANONCE: &str = "subscribe-extranonce";
/// The extension by which a miner says what it is.
pub const INFO: &str = "info";

/// `mining.subscribe`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscribe {
    /// What the miner runs.
    pub user_agent: Option<String>,
    /// Session to resume: any text, whatever it looks like.
    pub session: Option<String>,
}

/// `mining.authorize`. Its debug form does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorize {
    /// Usually `account.worker` or `address.worker`.
    pub user: String,
    /// Seldom a secret: it carries options such as `d=1024`.
    pub password: Option<String>,
}

impl std::fmt::Debug for Authorize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorize")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// `mining.submit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submit {
    /// A name that was authorized.
    pub worker: String,
    /// The job.
    pub job_id: String,
    /// The miner's part of the extranonce.
    pub extranonce2: Vec<u8>,
    /// Block time in Unix seconds.
    pub ntime: u32,
    /// Nonce of the header.
    pub nonce: u32,
    /// Version bits chosen under the mask; `None` without version rolling.
    pub version_bits: Option<u32>,
}

impl ClientMessage {
    /// Reads a request.
    ///
    /// # Errors
    /// A method that miners do not send, parameters that cannot be used.
    pub fn parse(request: &Request<'_>) -> Result<Self, RequestError> {
        let params = || request.params.list();
        Ok(match &*request.method {
            "mining.configure" => Self::Configure(Configure::parse(params()?)?),
            "mining.subscribe" => Self::Subscribe(Subscribe::parse(params()?)),
            "mining.authorize" => Self::Authorize(Authorize::parse(params()?)?),
            "mining.submit" => Self::Submit(Submit::parse(params()?)?),
            "mining.suggest_difficulty" => Self::SuggestDifficulty(params()?.difficulty(0)?),
            "mining.suggest_target" => Self::SuggestTarget(suggested_target(params()?)?),
            "mining.extranonce.subscribe" => Self::ExtranonceSubscribe,
            "mining.get_transactions" => {
                Self::GetTransactions(params()?.optional_text(0, MAX_JOB_ID_BYTES))
            }
            "mining.ping" | "ping" => Self::Ping,
            "mining.pong" | "pong" => Self::Pong,
            _ => return Err(RequestError::UnknownMethod),
        })
    }

    /// Name of the method.
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Configure(_) => "mining.configure",
            Self::Subscribe(_) => "mining.subscribe",
            Self::Authorize(_) => "mining.authorize",
            Self::Submit(_) => "mining.submit",
            Self::SuggestDifficulty(_) => "mining.suggest_difficulty",
            Self::SuggestTarget(_) => "mining.suggest_target",
            Self::ExtranonceSubscribe => "mining.extranonce.subscribe",
            Self::GetTransactions(_) => "mining.get_transactions",
            Self::Ping => "mining.ping",
            Self::Pong => "mining.pong",
        }
    }

    /// The line, its end included.
    pub fn to_line(&self, id: &Id) -> String {
        let params = match self {
            Self::Configure(message) => message.to_json(),
            Self::Subscribe(message) => message.to_json(),
            Self::Authorize(message) => match &message.password {
                Some(password) => json!([message.user, password]),
                None => json!([message.user]),
            },
            Self::Submit(message) => message.to_json(),
            Self::SuggestDifficulty(difficulty) => json!([difficulty.to_json()]),
            Self::SuggestTarget(target) => json!([target.to_string()]),
            Self::GetTransactions(Some(job_id)) => json!([job_id]),
            Self::ExtranonceSubscribe | Self::GetTransactions(None) | Self::Ping | Self::Pong => {
                json!([])
            }
        };
        request_line(id, self.method(), &params)
    }
}

impl Configure {
    /// Whether the extension was asked for.
    pub fn asks_for(&self, extension: &str) -> bool {
        self.extensions.iter().any(|name| name == extension)
    }

    fn parse(params: &Params<'_>) -> Result<Self, ParamError> {
        let names = params.value(0, "extensions")?;
        let names = names
            .as_array()
            .ok_or(Problem::WrongType.of("extensions"))?;
        if names.len() > MAX_EXTENSIONS {
            return Err(Problem::WrongLength.of("extensions"));
        }
        let name = |value: &Value| {
            let name = value.as_str().filter(|name| name.len() <= MAX_JOB_ID_BYTES);
            name.map(str::to_owned)
                .ok_or(Problem::WrongType.of("extensions"))
        };
        let extensions = names.iter().map(name).collect::<Result<_, _>>()?;
        let options = match params.optional(1) {
            Some(options) => Some(
                options
                    .as_object()
                    .ok_or(Problem::WrongType.of("extension parameters"))?,
            ),
            None => None,
        };
        let option = |name: &str| options?.get(name).filter(|value| !value.is_null());
        let mask = option("version-rolling.mask");
        let min_bits = option("version-rolling.min-bit-count");
        Ok(Self {
            extensions,
            version_rolling_mask: mask
                .map(|mask| u32_from_hex(mask.as_str(), "version-rolling.mask"))
                .transpose()?,
            min_bit_count: min_bits
                .and_then(Value::as_u64)
                .and_then(|count| count.try_into().ok()),
            minimum_difficulty: option("minimum-difficulty.value")
                .and_then(|value| difficulty(Some(value), value.as_str()).ok()),
            info: options.map(info).unwrap_or_default(),
        })
    }

    fn to_json(&self) -> Value {
        let mut options = Map::new();
        if let Some(mask) = self.version_rolling_mask {
            options.insert("version-rolling.mask".into(), json!(hex_u32(mask)));
        }
        if let Some(count) = self.min_bit_count {
            options.insert("version-rolling.min-bit-count".into(), json!(count));
        }
        if let Some(difficulty) = self.minimum_difficulty {
            options.insert("minimum-difficulty.value".into(), difficulty.to_json());
        }
        for (name, value) in &self.info {
            options.insert(format!("info.{name}"), json!(value));
        }
        json!([self.extensions, options])
    }
}

fn info(options: &Map<String, Value>) -> Vec<(String, String)> {
    let entries = options.iter().filter_map(|(name, value)| {
        let (name, value) = (name.strip_prefix("info.")?, value.as_str()?);
        let is_short = name.len() <= MAX_JOB_ID_BYTES && value.len() <= MAX_TEXT_BYTES;
        is_short.then(|| (name.to_owned(), value.to_owned()))
    });
    entries.take(MAX_EXTENSIONS).collect()
}

impl Subscribe {
    /// Nothing here can be wrong: what is not understood is not needed. Some miners add host and port.
    fn parse(params: &Params<'_>) -> Self {
        Self {
            user_agent: params.optional_text(0, MAX_TEXT_BYTES),
            session: params.optional_text(1, MAX_TEXT_BYTES),
        }
    }

    fn to_json(&self) -> Value {
        match (&self.user_agent, &self.session) {
            (None, None) => json!([]),
            (agent, None) => json!([agent]),
            (agent, session) => json!([agent, session]),
        }
    }
}

impl Authorize {
    fn parse(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            user: params.text(0, "user", MAX_TEXT_BYTES)?,
            password: params.optional_text(1, MAX_TEXT_BYTES),
        })
    }
}

impl Submit {
    fn parse(params: &Params<'_>) -> Result<Self, ParamError> {
        if params.len() < 5 {
            return Err(Problem::WrongLength.of("params"));
        }
        let version_bits = params.optional(5);
        let version_bits = version_bits.filter(|bits| bits.as_str() != Some(""));
        Ok(Self {
            worker: params.text(0, "worker", MAX_TEXT_BYTES)?,
            job_id: params.text(1, "job id", MAX_JOB_ID_BYTES)?,
            extranonce2: params.bytes(2, "extranonce2", MAX_EXTRANONCE_PART_BYTES)?,
            ntime: params.u32_hex(3, "ntime")?,
            nonce: params.u32_hex(4, "nonce")?,
            version_bits: version_bits
                .map(|bits| u32_from_hex(bits.as_str(), "version bits"))
                .transpose()?,
        })
    }

    fn to_json(&self) -> Value {
        let mut params = vec![
            json!(self.worker),
            json!(self.job_id),
            json!(hex::encode(&self.extranonce2)),
            json!(hex_u32(self.ntime)),
            json!(hex_u32(self.nonce)),
        ];
        params.extend(self.version_bits.map(|bits| json!(hex_u32(bits))));
        Value::Array(params)
    }
}

fn suggested_target(params: &Params<'_>) -> Result<Target, ParamError> {
    let mut bytes: [u8; 32] = params.array(0, "target")?;
    bytes.reverse();
    Ok(Target::from_le_bytes(bytes))
}

/// Always 8 digits: firmware exists that takes no others.
pub(crate) fn hex_u32(number: u32) -> String {
    format!("{number:08x}")
}
