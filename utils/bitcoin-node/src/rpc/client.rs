//! One JSON-RPC call after the other over HTTP, each with a deadline and a bound on the answer.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bitcoin::BlockHash;
use bitcoin::hashes::Hash as _;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::Value;

use super::config::{RpcAuth, RpcConfig};
use super::tip::HeaderInfo;

/// Largest answer that is read, in bytes: a template of 4 MB of transactions as hexadecimal with room for its JSON.
/// A larger one ends the call with [`RpcError::TooLarge`].
pub const RESPONSE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Longest text kept from a node's error, in characters.
const MESSAGE_CHARS_MAX: usize = 200;

/// bitcoind closes a connection that idles for 30 seconds; ours are given up before, so that no call meets a closing one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// bitcoind: it has no peers.
pub const CODE_NOT_CONNECTED: i64 = -9;
/// bitcoind: it downloads the chain.
pub const CODE_IN_INITIAL_DOWNLOAD: i64 = -10;
/// bitcoind: it starts.
pub const CODE_WARMING_UP: i64 = -28;
/// bitcoind: no such block.
pub const CODE_NOT_FOUND: i64 = -5;
/// bitcoind: the bytes are no block.
pub const CODE_DESERIALIZATION: i64 = -22;

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// No connection, or it broke.
    #[error("cannot reach the node: {0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("no answer to {method} within {after_ms} ms")]
    Timeout {
        /// The call.
        method: &'static str,
        /// The deadline, in milliseconds.
        after_ms: u64,
    },
    /// The node refuses user and password, or the cookie.
    #[error("the node refuses the credentials")]
    WrongCredentials,
    /// The cookie file cannot be read.
    #[error("cannot read the cookie file {path} (a running bitcoind writes it): {reason}")]
    Cookie {
        /// Where it was looked for.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// The node answers nobody at our address.
    #[error("the node does not admit this address (its rpcallowip)")]
    Forbidden,
    /// The answer is larger than [`RESPONSE_BYTES_MAX`].
    #[error("the answer to {method} is larger than {RESPONSE_BYTES_MAX} bytes")]
    TooLarge {
        /// The call.
        method: &'static str,
    },
    /// The answer is not what a node says.
    #[error("the answer to {method} is not a node's: {reason}")]
    Garbage {
        /// The call.
        method: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The node answered with an error.
    #[error("the node answers {method} with error {code}: {message}")]
    Node {
        /// The call.
        method: &'static str,
        /// bitcoind's number.
        code: i64,
        /// bitcoind's text, shortened.
        message: String,
    },
}

impl RpcError {
    pub(super) fn garbage(method: &'static str, reason: impl ToString) -> Self {
        Self::Garbage {
            method,
            reason: shorten(&reason.to_string()),
        }
    }

    /// bitcoind's number, where the node itself answered.
    pub fn code(&self) -> Option<i64> {
        if let Self::Node { code, .. } = self {
            Some(*code)
        } else {
            None
        }
    }
}

#[derive(Deserialize)]
struct Reply<T> {
    result: Option<T>,
    error: Option<ReplyError>,
}

#[derive(Deserialize)]
struct ReplyError {
    code: i64,
    #[serde(default)]
    message: String,
}

/// A node's RPC server.
pub struct RpcClient {
    http: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    auth: RpcAuth,
    /// The header for a cookie that worked; empty until the file was read.
    header: Mutex<Option<HeaderValue>>,
    call_timeout: Duration,
}

impl core::fmt::Debug for RpcClient {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RpcClient")
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

impl RpcClient {
    /// A client for the node of `config`; connects at the first call.
    ///
    /// # Errors
    /// When the host cannot stand in an address.
    pub fn new(config: &RpcConfig) -> Result<Self, RpcError> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(config.call_timeout));
        let address = config.display_name().replacen("rpc://", "http://", 1);
        let uri = address
            .parse()
            .map_err(|_| RpcError::Unreachable(format!("{address} is no address")))?;
        let http = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Ok(Self {
            http,
            uri,
            auth: config.auth.clone(),
            header: Mutex::new(None),
            call_timeout: config.call_timeout,
        })
    }

    /// Deadline of a call, unless it has one of its own.
    pub const fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// Calls `method` and reads its result; a result of `null` is `None`.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn call<T: serde::de::DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<Option<T>, RpcError> {
        parse_reply(
            method,
            &self.call_raw(method, params, self.call_timeout).await?,
        )
    }

    /// Calls `method`, whose result is never `null`.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn require<T: serde::de::DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<T, RpcError> {
        self.call(method, params)
            .await?
            .ok_or_else(|| RpcError::garbage(method, "null"))
    }

    /// What the node knows of the block with this hash (32 raw bytes).
    ///
    /// # Errors
    /// See [`RpcError`]; an unknown block is an error with [`CODE_NOT_FOUND`].
    pub async fn header(&self, hash: [u8; 32]) -> Result<HeaderInfo, RpcError> {
        self.require(
            "getblockheader",
            serde_json::json!([BlockHash::from_byte_array(hash).to_string()]),
        )
        .await
    }

    /// Calls `method` and answers with the bytes of the reply, whether it is a result or an error.
    pub(super) async fn call_raw(
        &self,
        method: &'static str,
        params: Value,
        timeout: Duration,
    ) -> Result<Bytes, RpcError> {
        let body = serde_json::json!({ "jsonrpc": "1.0", "id": "stratum", "method": method, "params": params }).to_string();
        let exchange = self.exchange_with_fresh_cookie(method, body.into());
        let after_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or(Err(RpcError::Timeout { method, after_ms }))
    }

    /// A node that restarted has a new cookie: what is refused is read again and tried once more.
    async fn exchange_with_fresh_cookie(
        &self,
        method: &'static str,
        body: Bytes,
    ) -> Result<Bytes, RpcError> {
        let known = self
            .header
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(header) = known {
            match self.exchange(method, body.clone(), header).await {
                Err(RpcError::WrongCredentials) if matches!(self.auth, RpcAuth::CookieFile(_)) => {}
                other => return other,
            }
        }
        let header = self.auth_header().await?;
        *self.header.lock().unwrap_or_else(PoisonError::into_inner) = Some(header.clone());
        self.exchange(method, body, header).await
    }

    async fn auth_header(&self) -> Result<HeaderValue, RpcError> {
        let credentials = match &self.auth {
            RpcAuth::UserPassword { user, password } => format!("{user}:{}", password.reveal()),
            RpcAuth::CookieFile(path) => {
                let unreadable = |reason: String| RpcError::Cookie {
                    path: path.display().to_string(),
                    reason,
                };
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
                let text = read
                    .map_err(|error| unreadable(error.to_string()))?
                    .map_err(|error| unreadable(error.to_string()))?;
                text.trim().to_owned()
            }
        };
        let value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(credentials)));
        let mut header = value.map_err(|_| RpcError::WrongCredentials)?;
        header.set_sensitive(true);
        Ok(header)
    }

    async fn exchange(
        &self,
        method: &'static str,
        body: Bytes,
        auth: HeaderValue,
    ) -> Result<Bytes, RpcError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(AUTHORIZATION, auth)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| RpcError::Unreachable(error.to_string()))?;
        let response = self
            .http
            .request(request)
            .await
            .map_err(|error| RpcError::Unreachable(innermost(&error)))?;
        let status = response.status();
        match status {
            StatusCode::UNAUTHORIZED => return Err(RpcError::WrongCredentials),
            StatusCode::FORBIDDEN => return Err(RpcError::Forbidden),
            _ => {}
        }
        let body = Limited::new(response.into_body(), RESPONSE_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    RpcError::TooLarge { method }
                } else {
                    RpcError::Unreachable(innermost(error.as_ref()))
                }
            })?;
        let bytes = body.to_bytes();
        // bitcoind sends its own errors as JSON with status 500 or 404; other bodies come from elsewhere or from a full queue.
        if !status.is_success() && bytes.first() != Some(&b'{') {
            return Err(RpcError::garbage(method, format!("HTTP status {status}")));
        }
        Ok(bytes)
    }
}

/// Reads a reply; a result of `null` is `None`.
pub(super) fn parse_reply<'a, T: Deserialize<'a>>(
    method: &'static str,
    bytes: &'a [u8],
) -> Result<Option<T>, RpcError> {
    let reply: Reply<T> =
        serde_json::from_slice(bytes).map_err(|error| RpcError::garbage(method, error))?;
    match reply.error {
        Some(error) => Err(RpcError::Node {
            method,
            code: error.code,
            message: shorten(&error.message),
        }),
        None => Ok(reply.result),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}

/// The cause at the bottom: "connection refused" says more than "client error".
fn innermost(error: &(dyn core::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    shorten(&cause.to_string())
}
