//! What the pool can do wrong, as data.
//!
//! Each kind is one enum, carried out in one place: a [`Door`] in the shell, a [`Reception`], a [`Delivery`] and a
//! [`Lie`] each in the core's module of that name. One line of a table here makes variant, name, text form and help.

use std::fmt;
use std::time::Duration;

use binary_sv2::Str0255;
use thiserror::Error;

/// Something that the pool does wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// How new connections are met; lasts.
    Door(Door),
    /// What becomes of what clients ask for; lasts.
    Reception(Reception),
    /// What becomes of what the pool sends; lasts.
    Delivery(Delivery),
    /// Said out of the blue, once, on every connection.
    Lie(Lie),
}

/// A line of the table of misbehaviours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Name, as scripts write it.
    pub name: &'static str,
    /// What its argument is; empty when it takes none.
    pub argument: &'static str,
    /// What the pool does, in one line.
    pub line: &'static str,
    /// Whether it lasts until the pool behaves again, or is done once.
    pub lasts: bool,
}

/// Why a text is no misbehaviour.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// There is nothing of that name.
    #[error("there is no misbehaviour `{0}`; `test-pool --list` names all")]
    Unknown(String),
    /// It takes an argument.
    #[error("`{name}` needs an argument: {argument}")]
    NoArgument {
        /// The misbehaviour.
        name: &'static str,
        /// What is missing.
        argument: &'static str,
    },
    /// Its argument is none.
    #[error("`{text}` is not what `{name}` takes: {argument}")]
    Argument {
        /// The misbehaviour.
        name: &'static str,
        /// What it takes.
        argument: &'static str,
        /// What stands there.
        text: String,
    },
}

/// What stands behind a name.
trait Argument: Sized {
    const NAME: &'static str;

    fn parse(text: &str) -> Option<Self>;

    fn text(&self) -> String;
}

impl Argument for Duration {
    const NAME: &'static str = "DURATION, such as 500ms, 10s or 2m";

    fn parse(text: &str) -> Option<Self> {
        duration(text)
    }

    fn text(&self) -> String {
        duration_text(*self)
    }
}

impl Argument for ErrorCode {
    const NAME: &'static str = "CODE, such as unknown-user";

    fn parse(text: &str) -> Option<Self> {
        Some(text.into())
    }

    fn text(&self) -> String {
        self.0.clone()
    }
}

impl Argument for u16 {
    const NAME: &'static str = "EXTENSION, such as 0x4001";

    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("0x") {
            Some(digits) => Self::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        }
    }

    fn text(&self) -> String {
        format!("{self:#06x}")
    }
}

impl Argument for Place {
    const NAME: &'static str = "HOST:PORT";

    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self {
            host: host.to_owned(),
            port: port.parse().ok()?,
        })
    }

    fn text(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// The longest duration that a script may name: a day.
pub const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);

/// Reads `500ms`, `10s`, `2m`, or `10` for seconds, up to [`MAX_DURATION`].
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms: u64 = match text.get(digits.len()..)? {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    let count: u64 = digits.parse().ok()?;
    let duration = Duration::from_millis(count.checked_mul(unit_ms)?);
    (duration <= MAX_DURATION).then_some(duration)
}

/// As [`duration`] reads it.
pub(crate) fn duration_text(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis % 1_000 == 0 => format!("{}s", millis / 1_000),
        millis => format!("{millis}ms"),
    }
}

/// The words of a refusal, as `error_code` holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorCode(String);

impl ErrorCode {
    /// The field; what is beyond its 255 bytes is left out.
    pub(crate) fn field(&self) -> Str0255<'static> {
        let mut end = self.0.len().min(Str0255::MAX_LEN);
        while !self.0.is_char_boundary(end) {
            end -= 1;
        }
        let kept = self.0.get(..end).unwrap_or_default();
        kept.to_owned().try_into().unwrap_or_default()
    }
}

impl From<&str> for ErrorCode {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Where clients are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Host; empty for the same.
    pub host: String,
    /// Port; 0 for the same.
    pub port: u16,
}

macro_rules! behaviours {
    (
        $(#[$doc:meta])*
        $kind:ident, lasts: $lasts:literal;
        $($variant:ident $(($argument:ident: $type:ty))? $name:literal $line:literal;)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $kind {
            $(
                #[doc = concat!("`", $name, "`: ", $line, ".")]
                $variant $(($type))?,
            )*
        }

        impl $kind {
            /// All of this kind.
            pub const LIST: &'static [Listed] = &[$(Listed {
                name: $name,
                argument: concat_argument!($($type)?),
                line: $line,
                lasts: $lasts,
            }),*];

            /// The name, as scripts write it.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $name,)*
                }
            }

            /// The one of this name; takes what it needs from `words`. `None` when it is of another kind.
            #[allow(unused_variables, reason = "some kinds take no argument")]
            fn parse<'a>(
                name: &str,
                words: &mut impl Iterator<Item = &'a str>,
            ) -> Option<Result<Self, ParseError>> {
                match name {
                    $($name => {
                        $(
                            let $argument = match argument::<$type>($name, words.next()) {
                                Ok($argument) => $argument,
                                Err(error) => return Some(Err(error)),
                            };
                        )?
                        Some(Ok(Self::$variant $(($argument))?))
                    })*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())?;
                match self {
                    $(Self::$variant $(($argument))? => {
                        $(write!(f, " {}", $argument.text())?;)?
                    })*
                }
                Ok(())
            }
        }

        impl From<$kind> for Misbehaviour {
            fn from(misbehaviour: $kind) -> Self {
                Self::$kind(misbehaviour)
            }
        }
    };
}

macro_rules! concat_argument {
    () => {
        ""
    };
    ($type:ty) => {
        <$type as Argument>::NAME
    };
}

fn argument<T: Argument>(name: &'static str, text: Option<&str>) -> Result<T, ParseError> {
    let argument = T::NAME;
    let text = text.ok_or(ParseError::NoArgument { name, argument })?;
    T::parse(text).ok_or_else(|| ParseError::Argument {
        name,
        argument,
        text: text.to_owned(),
    })
}

behaviours! {
    /// How new connections are met, before a word of the protocol. Those that are open go on.
    Door, lasts: true;
    Refuse "refuse" "closes each new connection at once";
    Mute "mute" "takes new connections and says nothing, not even a handshake";
    Gibberish "gibberish" "answers the handshake with bytes that are none";
    WrongCertificate "wrong-certificate" "shows a certificate of another authority; in the clear it changes nothing";
}

behaviours! {
    /// What becomes of what clients ask for.
    Reception, lasts: true;
    RefuseSetup(code: ErrorCode) "refuse-setup" "answers SetupConnection with this error and hangs up";
    IgnoreSetup "ignore-setup" "says nothing to SetupConnection";
    RequireExtension(extension: u16) "require-extension" "refuses RequestExtensions that do not name this extension";
    IgnoreExtensions "ignore-extensions" "says nothing to RequestExtensions";
    RefuseOpens(code: ErrorCode) "refuse-opens" "answers each request for a channel with this error";
    IgnoreOpens "ignore-opens" "says nothing to requests for channels";
    RefuseUpdates(code: ErrorCode) "refuse-updates" "answers each UpdateChannel with this error";
}

behaviours! {
    /// What becomes of what the pool sends.
    Delivery, lasts: true;
    Silent "silent" "says nothing; what it has to say leaves when it behaves again";
    Slow(delay: Duration) "slow" "each message leaves so much later, in order";
    Reorder "reorder" "messages that would leave together leave the other way round";
    ReorderAnswers "reorder-answers" "of two answers to shares the second leaves first";
    Duplicate "duplicate" "sends each message twice";
    RefuseShares(code: ErrorCode) "refuse-shares" "answers shares that are good with this error";
    IgnoreShares "ignore-shares" "says nothing to shares";
    ShortGrant "short-grant" "opens extended channels with one byte of extranonce, whatever was asked for";
    EasyGrant "easy-grant" "opens channels with the easiest target there is, whatever was agreed";
    UsedId "used-id" "opens channels under the number of their group";
    WithholdWork "withhold-work" "gives no jobs";
    WithholdTips "withhold-tips" "gives jobs and never says on which block";
    WrongChannelBit "wrong-channel-bit" "sets the channel bit of each frame wrong";
}

behaviours! {
    /// Said out of the blue, once, on every connection; most are about its first open channel.
    Lie, lasts: false;
    UnknownChannel "unknown-channel" "gives a job to a channel that never was";
    UnsentAccepted "unsent-accepted" "acknowledges a share that was never sent";
    UnsentRejected "unsent-rejected" "rejects a share that was never sent";
    ShrinkExtranonce "shrink-extranonce" "lengthens the channel's extranonce prefix, which leaves less than was granted";
    EasyTarget "easy-target" "sets the easiest target there is; a lie where the client named a harder maximum";
    UnknownJob "unknown-job" "names a new block with a job that was never sent";
    StaleJob "stale-job" "goes back to work on the block before";
    OtherPayee "other-payee" "gives a job that pays somebody else";
    GroupAsChannel "group-as-channel" "moves the channel into a group that is called as the channel is";
    InvalidNbits "invalid-nbits" "names a new block whose difficulty is no number";
    WrongKind "wrong-kind" "gives a standard channel an extended job, or the other way round";
    BadCoinbase "bad-coinbase" "gives a job whose coinbase is no transaction";
    UnaskedOpen "unasked-open" "grants a channel that nobody asked for";
    UnaskedUpdate "unasked-update" "refuses an update that nobody asked for";
    CloseChannels "close-channels" "closes all channels; no lie, but unkind";
    Reconnect(place: Place) "reconnect" "asks to connect elsewhere; `:0` for the same place";
    SecondSetup "second-setup" "answers SetupConnection once more";
    ClientMessage "client-message" "sends a message that only clients send";
    UnknownMessage "unknown-message" "sends a message of no known type, which is to be ignored";
    UnknownExtension "unknown-extension" "sends a message of an extension that was not negotiated, which is to be ignored";
    Malformed "malformed" "sends a message whose fields end too early";
    Oversize "oversize" "announces a frame of 16 MiB and sends a part of it";
    Truncated "truncated" "sends half a frame and hangs up";
    Garbage "garbage" "sends bytes that are no frame";
    Disconnect "disconnect" "hangs up without a word";
}

impl Misbehaviour {
    /// All there are, in the order of a connection's life.
    pub fn list() -> impl Iterator<Item = &'static Listed> {
        let kinds = [Door::LIST, Reception::LIST, Delivery::LIST, Lie::LIST];
        kinds.into_iter().flatten()
    }

    /// The name, as scripts write it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Door(door) => door.name(),
            Self::Reception(reception) => reception.name(),
            Self::Delivery(delivery) => delivery.name(),
            Self::Lie(lie) => lie.name(),
        }
    }

    /// Whether it lasts until the pool behaves again, or is done once.
    pub const fn lasts(&self) -> bool {
        !matches!(self, Self::Lie(_))
    }

    /// Reads a name, and its argument from `words`.
    pub(crate) fn parse<'a>(
        name: &str,
        words: &mut impl Iterator<Item = &'a str>,
    ) -> Result<Self, ParseError> {
        if let Some(door) = Door::parse(name, words) {
            return door.map(Self::Door);
        }
        if let Some(reception) = Reception::parse(name, words) {
            return reception.map(Self::Reception);
        }
        if let Some(delivery) = Delivery::parse(name, words) {
            return delivery.map(Self::Delivery);
        }
        let lie = Lie::parse(name, words).map(|lie| lie.map(Self::Lie));
        lie.unwrap_or_else(|| Err(ParseError::Unknown(name.to_owned())))
    }
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Door(door) => door.fmt(f),
            Self::Reception(reception) => reception.fmt(f),
            Self::Delivery(delivery) => delivery.fmt(f),
            Self::Lie(lie) => lie.fmt(f),
        }
    }
}
