//! Every message of every table, built from JSON fields or from random bytes, and checked through one function each.

#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a broken vector must fail its test")]

use std::fmt::Debug;

use binary_sv2::{
    B016M, B032, B064K, B0255, Decodable, DecodeError, Encodable, IntoOwned, Message, Seq064K,
    Seq0255, Str0255, U256,
};
use const_sv2::MessageKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use stratum_vectors::{bytes, generated, text, uint, unhex};

/// One message of the tables and what the tests do with it.
pub(crate) struct Tested {
    /// Its line.
    pub(crate) kind: &'static MessageKind,
    /// Encodes the message with these fields.
    pub(crate) encode: fn(&Value) -> Vec<u8>,
    /// Decodes the bytes, panics when the value and its bytes disagree, and gives what was decoded.
    pub(crate) decode: fn(&[u8]) -> Result<Decoded, DecodeError>,
    /// Decodes the bytes and compares with the message of these fields.
    pub(crate) decodes_to: fn(&[u8], &Value) -> bool,
    /// A message of random fields, encoded.
    pub(crate) arbitrary: fn(&mut Entropy<'_>) -> Vec<u8>,
    /// Encodes the message with these fields through serde.
    pub(crate) serde_encode: fn(&Value) -> Vec<u8>,
    /// Decodes the bytes through serde and gives how many were read; panics when the message is not the one that our
    /// own codec reads.
    pub(crate) serde_decode: fn(&[u8]) -> Result<usize, serde_sv2::Error>,
    /// The message in JSON that our own codec reads from the bytes; panics when JSON does not give it back.
    pub(crate) to_json: fn(&[u8]) -> String,
}

/// What is known of a payload after decoding.
pub(crate) struct Decoded {
    /// Number of bytes that the message took; the rest are TLV fields.
    pub(crate) read: usize,
    /// The message encoded again.
    pub(crate) encoded: Vec<u8>,
    /// Its `BOOL` fields by name.
    pub(crate) bools: Vec<(&'static str, bool)>,
}

/// The messages of all tables.
pub(crate) fn messages() -> impl Iterator<Item = &'static Tested> {
    [
        common::ALL,
        mining::ALL,
        job_declaration::ALL,
        template_distribution::ALL,
        extension_negotiation::ALL,
    ]
    .into_iter()
    .flatten()
}

/// The message of this number; the channel bit of `extension_type` does not count (specification 3.2.1).
pub(crate) fn message(extension_type: u16, msg_type: u8) -> Option<&'static Tested> {
    let extension = extension_type & !const_sv2::CHANNEL_MSG_BIT;
    messages().find(|tested| (tested.kind.extension, tested.kind.msg_type) == (extension, msg_type))
}

/// Names are compared without case and underscores: `input_nSequence` is `input_n_sequence`.
pub(crate) fn same_name(left: &str, right: &str) -> bool {
    let plain = |name: &str| name.replace('_', "").to_lowercase();
    plain(left) == plain(right)
}

/// Whether `encoded` is `read` but for bits 1 to 7 of `BOOL` fields, which are written as 0.
pub(crate) fn same_but_for_bools(encoded: &[u8], read: &[u8]) -> bool {
    encoded.len() == read.len()
        && encoded
            .iter()
            .zip(read)
            .all(|(ours, theirs)| ours == theirs || *ours == theirs & 1)
}

/// The fields of a vector, its floats replaced by their authoritative bits.
pub(crate) fn fields(vector: &Value) -> Value {
    let mut fields = vector["fields"].clone();
    for (name, bits) in vector["f32_bits"].as_object().into_iter().flatten() {
        fields[name] = bits.clone();
    }
    fields
}

/// Random bytes that values are made of; zeroes when they run out, so that shrinking them shrinks the value.
pub(crate) struct Entropy<'e>(pub(crate) &'e [u8]);

impl Entropy<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| {
            let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
            self.0 = rest;
            *first
        })
    }

    /// A length up to `max`: mostly short, sometimes the limit itself.
    fn length(&mut self, max: usize) -> usize {
        let [choice, low, high] = self.take();
        match choice {
            0xff => max,
            0xf0.. => usize::from(u16::from_le_bytes([low, high])).min(max),
            _ => usize::from(low % 40).min(max),
        }
    }
}

/// A value that the tests can make.
pub(crate) trait Make: Sized {
    /// From a field of a vector.
    fn from_json(value: &Value) -> Self;
    /// From random bytes.
    fn arbitrary(entropy: &mut Entropy<'_>) -> Self;
    /// The value of a `BOOL`.
    fn as_bool(&self) -> Option<bool> {
        None
    }
    /// The `BOOL` fields of a message.
    fn bools(&self) -> Vec<(&'static str, bool)> {
        Vec::new()
    }
}

macro_rules! make_numbers {
    ($($number:ty),*) => {$(
        impl Make for $number {
            fn from_json(value: &Value) -> Self {
                let number = match value {
                    Value::String(decimal) => decimal.parse().ok(),
                    _ => value.as_u64().and_then(|number| number.try_into().ok()),
                };
                number.unwrap_or_else(|| panic!(concat!("{} is no ", stringify!($number)), value))
            }

            fn arbitrary(entropy: &mut Entropy<'_>) -> Self {
                Self::from_le_bytes(entropy.take())
            }
        }
    )*};
}

make_numbers!(u8, u16, u32, u64);

impl Make for f32 {
    fn from_json(value: &Value) -> Self {
        match value {
            Value::String(bits) => {
                let digits = bits.strip_prefix("0x").unwrap_or(bits);
                Self::from_bits(u32::from_str_radix(digits, 16).unwrap())
            }
            _ => value.as_f64().expect("a float") as Self,
        }
    }

    fn arbitrary(entropy: &mut Entropy<'_>) -> Self {
        Self::from_le_bytes(entropy.take())
    }
}

impl Make for bool {
    fn from_json(value: &Value) -> Self {
        value.as_bool().expect("a boolean")
    }

    fn arbitrary(entropy: &mut Entropy<'_>) -> Self {
        entropy.take::<1>() >= [0x80]
    }

    fn as_bool(&self) -> Option<bool> {
        Some(*self)
    }
}

impl Make for U256 {
    fn from_json(value: &Value) -> Self {
        Self(unhex(value.as_str().unwrap()).try_into().unwrap())
    }

    fn arbitrary(entropy: &mut Entropy<'_>) -> Self {
        Self(entropy.take())
    }
}

impl<T: Make> Make for Option<T> {
    fn from_json(value: &Value) -> Self {
        (!value.is_null()).then(|| T::from_json(value))
    }

    fn arbitrary(entropy: &mut Entropy<'_>) -> Self {
        bool::arbitrary(entropy).then(|| T::arbitrary(entropy))
    }
}

/// Hexadecimal, or a rule.
fn byte_string(value: &Value) -> Vec<u8> {
    match value {
        Value::String(hex) => unhex(hex),
        _ => generated(value).unwrap_or_else(|| panic!("{value} is no byte string")),
    }
}

macro_rules! make_byte_strings {
    ($($name:ident from $from_json:expr;)*) => {$(
        impl Make for $name<'_> {
            fn from_json(value: &Value) -> Self {
                let from_json: fn(&Value) -> Vec<u8> = $from_json;
                from_json(value).try_into().unwrap()
            }

            fn arbitrary(entropy: &mut Entropy<'_>) -> Self {
                // Long strings repeat their first bytes: their content matters less than their length.
                let len = entropy.length(Self::MAX_LEN.min(200_000));
                let pattern = entropy.take::<7>();
                let bytes: Vec<u8> = pattern.into_iter().cycle().take(len).collect();
                bytes.try_into().unwrap()
            }
        }
    )*};
}

make_byte_strings! {
    Str0255 from |value| match value {
        Value::String(text) => text.clone().into_bytes(),
        _ => byte_string(value),
    };
    B032 from byte_string;
    B0255 from byte_string;
    B064K from byte_string;
    B016M from byte_string;
}

/// The elements of a long sequence, by the rules of the vectors.
fn ruled(rule: &Value) -> Vec<Value> {
    let count = uint(rule, "count");
    match text(rule, "seq_rule") {
        "repeat" => vec![rule["value_hex"].clone(); count as usize],
        "sha256(seed||u32le(i))" => (0..count as u32)
            .map(|i| {
                let seed = bytes(rule, "seed_hex");
                let digest = Sha256::new()
                    .chain_update(seed)
                    .chain_update(i.to_le_bytes());
                stratum_vectors::to_hex(digest.finalize()).into()
            })
            .collect(),
        linear => {
            let bits = linear
                .strip_prefix("(start+step*i) mod 2^")
                .and_then(|bits| bits.parse::<u32>().ok())
                .unwrap_or_else(|| panic!("unknown rule {linear}"));
            let (start, step) = (uint(rule, "start"), uint(rule, "step"));
            (0..count)
                .map(|i| {
                    ((u128::from(start) + u128::from(step) * u128::from(i)) % (1 << bits)) as u64
                })
                .map(Value::from)
                .collect()
        }
    }
}

macro_rules! make_sequences {
    ($($name:ident),*) => {$(
        impl<'a, T: Make + Decodable<'a>> Make for $name<'a, T> {
            fn from_json(value: &Value) -> Self {
                let elements: Vec<T> = match value {
                    Value::Array(elements) => elements.iter().map(T::from_json).collect(),
                    rule => ruled(rule).iter().map(T::from_json).collect(),
                };
                elements.try_into().unwrap()
            }

            fn arbitrary(entropy: &mut Entropy<'_>) -> Self {
                let len = entropy.length(Self::MAX_COUNT.min(300));
                let elements: Vec<T> = (0..len).map(|_| T::arbitrary(entropy)).collect();
                elements.try_into().unwrap()
            }
        }
    )*};
}

make_sequences!(Seq0255, Seq064K);

/// The field of this name.
fn field<'v>(fields: &'v Value, name: &str) -> &'v Value {
    let object = fields.as_object().expect("fields are an object");
    object
        .iter()
        .find_map(|(key, value)| same_name(key, name).then_some(value))
        .unwrap_or_else(|| panic!("no field {name} in {fields}"))
}

fn decode<'a, T>(payload: &'a [u8]) -> Result<(T, usize, Vec<u8>), DecodeError>
where
    T: Message + Decodable<'a> + IntoOwned + Clone,
    T::Owned: Encodable,
{
    let (message, rest) = T::decode_prefix(payload)?;
    let read = payload.len() - rest.len();
    let encoded = message.to_vec();
    assert_eq!(encoded.len(), message.encoded_len());
    assert!(
        same_but_for_bools(&encoded, &payload[..read]),
        "{} is not written as it was read",
        T::KIND.name
    );
    assert_eq!(message.clone().into_owned().to_vec(), encoded);
    Ok((message, read, encoded))
}

/// Equality of messages; of their bytes where a float is NaN, which equals nothing.
fn same<T: PartialEq + Encodable + Debug>(decoded: &T, made: &T) -> bool {
    let is_nan = |message: &T| message.ne(message);
    decoded == made || (is_nan(made) && is_nan(decoded) && decoded.to_vec() == made.to_vec())
}

fn serde_decode<'a, T>(payload: &'a [u8]) -> Result<(T, &'a [u8]), serde_sv2::Error>
where
    T: Message + Decodable<'a> + Deserialize<'a> + Serialize + PartialEq + Debug,
{
    let (message, rest) = serde_sv2::from_bytes_prefix::<T>(payload)?;
    let (own, own_rest) = T::decode_prefix(payload).expect("our own codec reads it too");
    assert!(same(&message, &own), "{message:?} is not {own:?}");
    assert_eq!(rest, own_rest);
    // A decoded message holds packed sequences, one that came through serde does not.
    for message in [&message, &own] {
        let bytes = serde_sv2::to_vec(message).expect("every message has a form");
        assert_eq!(bytes, message.to_vec());
    }
    Ok((message, rest))
}

/// Checks that the message of these bytes is read from its JSON.
fn json_gives_back<'j, T: Encodable + Deserialize<'j>>(json: &'j str, bytes: &[u8]) {
    match serde_json::from_str::<T>(json) {
        Ok(read) => assert_eq!(read.to_vec(), bytes),
        // JSON has null for floats that are infinite or no number, and floats are not null.
        Err(error) => assert!(json.contains(":null"), "{error}: {json}"),
    }
}

/// Says how each message is built from its fields; the table says which messages there are, so none can be left out.
macro_rules! messages {
    (
        $krate:ident, $enum_name:ident, $protocol:ident, $table:ident;
        $($name:ident $(<$lifetime:lifetime>)? { $($field:ident),* $(,)? })*
    ) => {
        pub(crate) mod $protocol {
            use super::*;
            use $krate::*;

            $(impl Make for $name $(<$lifetime>)? {
                fn from_json(fields: &Value) -> Self {
                    Self { $($field: Make::from_json(field(fields, stringify!($field)))),* }
                }

                fn arbitrary(entropy: &mut Entropy<'_>) -> Self {
                    Self { $($field: Make::arbitrary(entropy)),* }
                }

                fn bools(&self) -> Vec<(&'static str, bool)> {
                    let bools = [$((stringify!($field), self.$field.as_bool())),*];
                    bools.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
                }
            })*

            const_sv2::$table!(tested, [$enum_name, $protocol;]);
        }
    };
}

macro_rules! tested {
    (
        $enum_name:ident, $protocol:ident;
        $($name:ident $(<$lifetime:lifetime>)?, $constant:ident, $text:literal, $extension:literal, $msg_type:literal, $channel:literal, $direction:ident;)*
    ) => {
        pub(crate) const ALL: &[Tested] = &[$(Tested {
            kind: &const_sv2::$protocol::$constant,
            encode: |fields| $name::from_json(fields).to_vec(),
            decode: |payload| {
                let (message, read, encoded) = decode::<$name>(payload)?;
                let (parsed, rest) = $enum_name::parse_prefix($msg_type, payload).expect("the enum parses too");
                assert_eq!(*parsed.kind(), const_sv2::$protocol::$constant);
                assert_eq!(rest.len(), payload.len() - read);
                assert_eq!(parsed.to_vec(), encoded);
                Ok(Decoded { read, encoded, bools: message.bools() })
            },
            decodes_to: |payload, fields| {
                let (message, ..) = decode::<$name>(payload).expect("the payload decodes");
                same(&message, &$name::from_json(fields))
            },
            arbitrary: |entropy| $name::arbitrary(entropy).to_vec(),
            serde_encode: |fields| {
                let message = $name::from_json(fields);
                let bytes = serde_sv2::to_vec(&message).expect("every message has a form");
                assert_eq!(serde_sv2::encoded_len(&message), Ok(bytes.len()));
                assert_eq!(serde_sv2::to_vec(&$enum_name::from(message)).as_ref(), Ok(&bytes));
                bytes
            },
            serde_decode: |payload| {
                let (message, rest) = serde_decode::<$name>(payload)?;
                let (any, any_rest) = serde_sv2::message_from_bytes::<$enum_name>($msg_type, payload)?;
                assert!(same(&any, &message.into()));
                assert_eq!(any_rest, rest);
                Ok(payload.len() - rest.len())
            },
            to_json: |payload| {
                let message = $name::from_bytes(payload).expect("the payload decodes");
                let json = serde_json::to_string(&message).expect("every message has a form");
                json_gives_back::<$name>(&json, &message.to_vec());
                let any = serde_json::to_string(&$enum_name::from(message.clone())).expect("so has the enum");
                assert_eq!(any, format!("{{\"{}\":{json}}}", $text));
                json_gives_back::<$enum_name>(&any, &message.to_vec());
                json
            },
        }),*];
    };
}

messages! {
    common_messages_sv2, CommonMessage, common, common_messages;
    SetupConnection<'_> {
        protocol, min_version, max_version, flags, endpoint_host, endpoint_port, vendor,
        hardware_version, firmware, device_id
    }
    SetupConnectionSuccess { used_version, flags }
    SetupConnectionError<'_> { flags, error_code }
    ChannelEndpointChanged { channel_id }
    Reconnect<'_> { new_host, new_port }
}

messages! {
    mining_sv2, MiningMessage, mining, mining_messages;
    OpenStandardMiningChannel<'_> { request_id, user_identity, nominal_hash_rate, max_target }
    OpenStandardMiningChannelSuccess<'_> { request_id, channel_id, target, extranonce_prefix, group_channel_id }
    OpenMiningChannelError<'_> { request_id, error_code }
    OpenExtendedMiningChannel<'_> { request_id, user_identity, nominal_hash_rate, max_target, min_extranonce_size }
    OpenExtendedMiningChannelSuccess<'_> {
        request_id, channel_id, target, extranonce_size, extranonce_prefix, group_channel_id
    }
    NewMiningJob { channel_id, job_id, min_ntime, version, merkle_root }
    UpdateChannel { channel_id, nominal_hash_rate, maximum_target }
    UpdateChannelError<'_> { channel_id, error_code }
    CloseChannel<'_> { channel_id, reason_code }
    SetExtranoncePrefix<'_> { channel_id, extranonce_prefix }
    SubmitSharesStandard { channel_id, sequence_number, job_id, nonce, ntime, version }
    SubmitSharesExtended<'_> { channel_id, sequence_number, job_id, nonce, ntime, version, extranonce }
    SubmitSharesSuccess { channel_id, last_sequence_number, new_submits_accepted_count, new_shares_sum }
    SubmitSharesError<'_> { channel_id, sequence_number, error_code }
    NewExtendedMiningJob<'_> {
        channel_id, job_id, min_ntime, version, version_rolling_allowed, merkle_path, coinbase_tx_prefix,
        coinbase_tx_suffix
    }
    SetNewPrevHash { channel_id, job_id, prev_hash, min_ntime, nbits }
    SetTarget { channel_id, maximum_target }
    SetCustomMiningJob<'_> {
        channel_id, request_id, mining_job_token, version, prev_hash, min_ntime, nbits,
        coinbase_tx_version, coinbase_prefix, coinbase_tx_input_n_sequence, coinbase_tx_outputs,
        coinbase_tx_locktime, merkle_path
    }
    SetCustomMiningJobSuccess { channel_id, request_id, job_id }
    SetCustomMiningJobError<'_> { channel_id, request_id, error_code }
    SetGroupChannel<'_> { group_channel_id, channel_ids }
}

messages! {
    job_declaration_sv2, JobDeclarationMessage, job_declaration, job_declaration_messages;
    AllocateMiningJobToken<'_> { user_identifier, request_id }
    AllocateMiningJobTokenSuccess<'_> { request_id, mining_job_token, coinbase_tx_outputs }
    ProvideMissingTransactions<'_> { request_id, unknown_tx_position_list }
    ProvideMissingTransactionsSuccess<'_> { request_id, transaction_list }
    DeclareMiningJob<'_> {
        request_id, mining_job_token, version, coinbase_tx_prefix, coinbase_tx_suffix, wtxid_list,
        excess_data
    }
    DeclareMiningJobSuccess<'_> { request_id, new_mining_job_token }
    DeclareMiningJobError<'_> { request_id, error_code, error_details }
    PushSolution<'_> { extranonce, prev_hash, nonce, ntime, nbits, version }
}

messages! {
    template_distribution_sv2, TemplateDistributionMessage, template_distribution, template_distribution_messages;
    CoinbaseOutputConstraints { coinbase_output_max_additional_size, coinbase_output_max_additional_sigops }
    NewTemplate<'_> {
        template_id, future_template, version, coinbase_tx_version, coinbase_prefix,
        coinbase_tx_input_sequence, coinbase_tx_value_remaining, coinbase_tx_outputs_count,
        coinbase_tx_outputs, coinbase_tx_locktime, merkle_path
    }
    SetNewPrevHash { template_id, prev_hash, header_timestamp, nbits, target }
    RequestTransactionData { template_id }
    RequestTransactionDataSuccess<'_> { template_id, excess_data, transaction_list }
    RequestTransactionDataError<'_> { template_id, error_code }
    SubmitSolution<'_> { template_id, version, header_timestamp, header_nonce, coinbase_tx }
}

messages! {
    extensions_sv2, ExtensionNegotiationMessage, extension_negotiation, extension_negotiation_messages;
    RequestExtensions<'_> { request_id, requested_extensions }
    RequestExtensionsSuccess<'_> { request_id, supported_extensions }
    RequestExtensionsError<'_> { request_id, unsupported_extensions, required_extensions }
}
