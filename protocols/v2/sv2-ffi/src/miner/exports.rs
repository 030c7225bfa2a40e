//! The miner as C callers see it.

use core::time::Duration;

use binary_sv2::Str0255;
use noise_sv2::{AuthorityPublicKey, EphemeralKey};
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::client::{ClientReject, OpenTerms};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::header::block_hash;
use roles_logic_sv2::setup::Endpoint;
use roles_logic_sv2::target::Target;
use roles_logic_sv2::upstream::DEFAULT_ANSWER_TIMEOUT;
use zeroize::Zeroizing;

use crate::boundary::boundary;
use crate::environment::{Environment, sv2_environment, sv2_time};
use crate::handle::{Kind, Object, borrow, create, free};
use crate::miner::client::{Client, Security, Terms};
use crate::miner::error::{End, refused};
use crate::miner::job::{Roll, Work};
use crate::miner::rules::Event;
use crate::platform::initialised;
use crate::pointer::{Out, addresses, apart, buffer, bytes, reference};
use crate::result::*;
use crate::view::sv2_bytes;

/// `sv2_miner_config.security`: by Noise, to a server that `authority` vouches for.
pub const SV2_SECURITY_NOISE: u32 = 0;
/// `sv2_miner_config.security`: by Noise, to whoever answers. Nobody can listen, but anybody in between can pretend to be the pool.
pub const SV2_SECURITY_NOISE_UNPINNED: u32 = 1;
/// `sv2_miner_config.security`: not at all.
pub const SV2_SECURITY_PLAIN: u32 = 2;

/// `sv2_miner_config.flags`: the device takes standard jobs only. Set it where only standard channels are opened: jobs then come
/// with their merkle root, and none for groups.
pub const SV2_REQUIRES_STANDARD_JOBS: u32 = 1;
/// `sv2_miner_config.flags`: the device must roll the version.
pub const SV2_REQUIRES_VERSION_ROLLING: u32 = 4;
/// Flag of `SV2_EVENT_READY`: the server wants the version of jobs left as it is.
pub const SV2_REQUIRES_FIXED_VERSION: u32 = 1;
/// Flag of `SV2_EVENT_READY`: the server opens no standard channels.
pub const SV2_REQUIRES_EXTENDED_CHANNELS: u32 = 2;

/// Longest payload of the server's, in bytes, where `sv2_miner_config.max_payload_len` is 0. Jobs with coinbases of many
/// outputs are the longest.
pub const SV2_DEFAULT_MAX_PAYLOAD_LEN: u32 = 8192;
/// Channels of a connection where `sv2_miner_config.max_channels` is 0.
pub const SV2_DEFAULT_MAX_CHANNELS: u32 = 4;
/// Most channels of a connection.
pub const SV2_MAX_CHANNELS: u32 = 256;
/// Jobs that a channel keeps for tips to come. One more pushes out the oldest.
pub const SV2_MAX_FUTURE_JOBS: usize = 4;
/// Most bytes that wait to be sent. Requests and shares beyond give `SV2_OUTGOING_FULL`.
pub const SV2_MAX_OUTGOING_LEN: usize = 4096;
/// Longest extranonce of a channel, in bytes, without the server's prefix.
pub const SV2_MAX_EXTRANONCE_LEN: usize = 32;

// Numbers stand here as such because the header is made from the text.
const _: () = {
    use const_sv2::mining;
    assert!(SV2_REQUIRES_STANDARD_JOBS == mining::REQUIRES_STANDARD_JOBS);
    assert!(SV2_REQUIRES_VERSION_ROLLING == mining::REQUIRES_VERSION_ROLLING);
    assert!(SV2_REQUIRES_FIXED_VERSION == mining::REQUIRES_FIXED_VERSION);
    assert!(SV2_REQUIRES_EXTENDED_CHANNELS == mining::REQUIRES_EXTENDED_CHANNELS);
    assert!(SV2_MAX_FUTURE_JOBS == crate::miner::channel::MAX_FUTURE_JOBS);
    assert!(SV2_MAX_OUTGOING_LEN == crate::miner::wire::MAX_OUTGOING_LEN);
    assert!(SV2_MAX_EXTRANONCE_LEN == binary_sv2::B032::MAX_LEN);
};

/// A miner's connection to a pool or proxy: several channels, one server. It knows no sockets; whoever owns it moves the bytes.
///
/// In a loop: hand what arrives to `sv2_miner_receive`, take events with `sv2_miner_next_event` until `SV2_END`, send what
/// `sv2_miner_outgoing` shows, and call `sv2_miner_handle_timeout` when `sv2_miner_timeout` says.
pub struct sv2_miner {
    pub(super) client: Client,
    pub(super) environment: Environment,
}

impl Object for sv2_miner {
    const KIND: Kind = Kind::Miner;
}

/// What a connection is to be. All zeros are the usual, but for `authority`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_miner_config {
    /// `SV2_SECURITY_NOISE`, `SV2_SECURITY_NOISE_UNPINNED` or `SV2_SECURITY_PLAIN`.
    pub security: u32,
    /// The pool's authority key, as `sv2_authority_key` reads it from text; only for `SV2_SECURITY_NOISE`.
    pub authority: [u8; 32],
    /// Flags `SV2_REQUIRES_STANDARD_JOBS` and `SV2_REQUIRES_VERSION_ROLLING`, added up.
    pub flags: u32,
    /// Host that the device connects to, up to 255 bytes, as are the next four.
    pub endpoint_host: sv2_bytes,
    /// Port that the device connects to.
    pub endpoint_port: u16,
    /// Manufacturer of the device.
    pub vendor: sv2_bytes,
    /// The device's hardware.
    pub hardware_version: sv2_bytes,
    /// The device's firmware.
    pub firmware: sv2_bytes,
    /// Number of the device, empty without telemetry.
    pub device_id: sv2_bytes,
    /// Longest payload taken, in bytes; 0 for `SV2_DEFAULT_MAX_PAYLOAD_LEN`. A longer one ends the connection with `SV2_PAYLOAD_TOO_LONG`.
    pub max_payload_len: u32,
    /// Channels open or asked for at a time, up to `SV2_MAX_CHANNELS`; 0 for `SV2_DEFAULT_MAX_CHANNELS`.
    pub max_channels: u32,
    /// Milliseconds that the server has for each answer to handshake, set-up and request for a channel; 0 for 5 000.
    pub answer_timeout_ms: u32,
}

/// What a channel is to be.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_channel_terms {
    /// Whom the pool pays, as it wants it, up to 255 bytes. Not used to update a channel.
    pub user_identity: sv2_bytes,
    /// Expected hashes a second. The server chooses a target that it gives shares at a pace it likes.
    pub nominal_hash_rate: f32,
    /// Easiest target taken, least significant byte first; all zeros for any.
    pub max_target: [u8; 32],
    /// Least number of extranonce bytes that the device rolls; only an extended channel has them.
    pub min_extranonce_size: u16,
}

/// A job on its tip with all that is hashed but what the miner chooses. It belongs to the caller, and stays as it is.
///
/// `sv2_miner_submit` takes it until the chain has a new tip, even when the channel has newer work.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_work {
    /// The channel.
    pub channel_id: u32,
    /// The job.
    pub job_id: u32,
    /// Version to start from.
    pub version: u32,
    /// Bits of the version that may be changed; 0 where none may.
    pub version_mask: u32,
    /// Earliest time of a header, in Unix seconds: start with it.
    pub min_ntime: u32,
    /// Latest time of a header when this was asked for, in Unix seconds: one more for each second since.
    pub max_ntime: u32,
    /// Compact form of the network's target, for the header.
    pub nbits: u32,
    /// Number of extranonce bytes that the miner chooses; 0 on a standard channel.
    pub extranonce_size: u32,
    /// Hash of the block before, as in the header.
    pub prev_hash: [u8; 32],
    /// Root of the merkle tree, as in the header, where `extranonce_size` is 0 on a standard channel; elsewhere it
    /// follows from the extranonce, and this is zeros.
    pub merkle_root: [u8; 32],
    /// A share's hash is at most this, least significant byte first.
    pub target: [u8; 32],
    /// 1 where `merkle_root` is the root.
    pub has_merkle_root: u8,
    /// The library's own: leave it as it is.
    pub tip_number: u32,
    /// The library's own: leave it as it is.
    pub work_number: u32,
}

/// What a miner chose to hash.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_found {
    /// The whole version, rolled bits included.
    pub version: u32,
    /// Time of the header, in Unix seconds.
    pub ntime: u32,
    /// Nonce of the header.
    pub nonce: u32,
    /// The miner's part of the extranonce: as many bytes as `sv2_work.extranonce_size` says.
    pub extranonce: sv2_bytes,
}

/// What became of a channel's shares.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_share_counts {
    /// Handed in.
    pub submitted: u64,
    /// Accepted, as the server counts.
    pub accepted: u64,
    /// Rejected.
    pub rejected: u64,
    /// Sum of the difficulties of the accepted ones, as the server counts.
    pub difficulty_sum: u64,
}

/// The server took the connection: channels may be opened. `flags` are the server's.
pub const SV2_EVENT_READY: u32 = 1;
/// A channel is open; work follows. `request_id` and `channel_id`.
pub const SV2_EVENT_OPENED: u32 = 2;
/// A channel was refused. `request_id`, and the server's words in `text`.
pub const SV2_EVENT_OPEN_REFUSED: u32 = 3;
/// There is other work on a channel, or none any more: ask `sv2_miner_work`. `channel_id`.
pub const SV2_EVENT_WORK: u32 = 4;
/// Shares were accepted. `channel_id`, `sequence_number` of the last, `accepted_count` and `difficulty_sum` of those that this tells of.
pub const SV2_EVENT_ACCEPTED: u32 = 5;
/// A share was rejected. `channel_id`, `sequence_number`, and the server's words in `text`.
pub const SV2_EVENT_REJECTED: u32 = 6;
/// `sv2_miner_update_channel` was refused. `channel_id`, and the server's words in `text`.
pub const SV2_EVENT_UPDATE_REFUSED: u32 = 7;
/// The server closed a channel. `channel_id`, and the server's words in `text`.
pub const SV2_EVENT_CLOSED: u32 = 8;
/// The server asks to connect anew: to the host in `text` unless it is empty, and `port` unless it is 0. The connection
/// lasts until its owner ends it. The host comes from the server: connect there only if the same authority vouches for it.
pub const SV2_EVENT_RECONNECT: u32 = 9;
/// A message of the server broke the rules and changed nothing, for the `reason`. If it was the answer to a request for a channel, `request_id`
/// says which, and none will come. `sv2_miner_refused` counts them.
pub const SV2_EVENT_REFUSED: u32 = 10;
/// The connection is over, for the `reason`: close the socket and free the miner. `SV2_SETUP_REFUSED` comes with the server's words
/// in `text` and in `flags` those that it does not support.
pub const SV2_EVENT_ENDED: u32 = 11;

/// Something that the server did. Fields that the kind of event does not name are 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_event {
    /// What happened, one of `SV2_EVENT_...`.
    pub kind: u32,
    /// Why, where it is bad.
    pub reason: sv2_result,
    /// The channel.
    pub channel_id: u32,
    /// The request for a channel, as `sv2_miner_open_standard` or `sv2_miner_open_extended` numbered it.
    pub request_id: u32,
    /// The share, as `sv2_miner_submit` numbered it.
    pub sequence_number: u32,
    /// Shares accepted.
    pub accepted_count: u32,
    /// Sum of the difficulties of the shares accepted, as the server counts.
    pub difficulty_sum: u64,
    /// Flags of the server.
    pub flags: u32,
    /// Port.
    pub port: u16,
    /// Words of the server, for a log: any bytes, escape them. They belong to the miner and are there until the next call with its handle.
    pub text: sv2_bytes,
}

const NO_EVENT: sv2_event = sv2_event {
    kind: 0,
    reason: SV2_OK,
    channel_id: 0,
    request_id: 0,
    sequence_number: 0,
    accepted_count: 0,
    difficulty_sum: 0,
    flags: 0,
    port: 0,
    text: sv2_bytes {
        data: core::ptr::null(),
        len: 0,
    },
};

/// Reads a pool's authority key from its text, base58 with a checksum, as pools publish it, and writes its 32 bytes to `key`.
///
/// `SV2_BAD_AUTHORITY_KEY` when the text is no such key.
///
/// # Safety
/// `text` leads to `len` bytes unless it is NULL or they are 0; `key` is NULL or leads to 32 bytes that can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_authority_key(
    text: *const u8,
    len: usize,
    key: *mut u8,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let (text, key) = unsafe { (bytes(text, len)?, buffer(key, 32)?) };
        let text = core::str::from_utf8(text).map_err(|_| Fault(SV2_BAD_AUTHORITY_KEY))?;
        let read: AuthorityPublicKey = text.parse().map_err(|_| Fault(SV2_BAD_AUTHORITY_KEY))?;
        key.copy_from_slice(&read.to_bytes());
        Ok(())
    })
}

/// Makes a connection's miner and writes its handle to `miner`. Its first bytes wait to be sent at once.
///
/// `config` is read during the call only; `environment` is copied, and its functions are called during calls with the handle, to the end of
/// `sv2_miner_free`. The caller frees the miner with `sv2_miner_free`, one for each connection.
///
/// `SV2_BAD_CONFIG` for a security that there is not or too many channels, `SV2_BAD_AUTHORITY_KEY`, `SV2_FIELD_TOO_LONG`,
/// `SV2_RANDOM_FAILED`, `SV2_CLOCK_FAILED`, `SV2_NO_MEMORY` and `SV2_TOO_MANY_HANDLES` leave nothing to free.
///
/// # Safety
/// `config` is NULL or leads to a config whose pointers lead to what they say; `environment` is NULL or leads to an environment
/// whose functions do what their documentation says until the miner is freed; `miner` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_miner_new(
    config: *const sv2_miner_config,
    environment: *const sv2_environment,
    miner: *mut *mut sv2_miner,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new(miner) }?;
        initialised()?;
        // SAFETY: the caller's promise.
        let (config, environment) = unsafe { (reference(config)?, Environment::new(environment)?) };
        let max_channels = or(config.max_channels, SV2_DEFAULT_MAX_CHANNELS);
        if max_channels > SV2_MAX_CHANNELS {
            return Err(Fault(SV2_BAD_CONFIG));
        }
        // SAFETY: the caller's promise.
        let endpoint = unsafe { endpoint(config) }?;
        let terms = Terms {
            security: security(config, &environment)?,
            endpoint,
            flags: config.flags,
            max_payload_len: or(config.max_payload_len, SV2_DEFAULT_MAX_PAYLOAD_LEN) as usize,
            max_channels: max_channels as usize,
            answer_timeout: match config.answer_timeout_ms {
                0 => DEFAULT_ANSWER_TIMEOUT,
                given => Duration::from_millis(u64::from(given)),
            },
        };
        let client = Client::new(terms, now(&environment)?)?;
        out.write(create(sv2_miner {
            client,
            environment,
        })?);
        Ok(())
    })
}

/// Frees a miner and the memory it holds. The server is told nothing: close channels before, where that matters.
///
/// A second time gives `SV2_FREED`; a call from within one on the same handle `SV2_BUSY`.
#[unsafe(no_mangle)]
pub extern "C" fn sv2_miner_free(miner: *mut sv2_miner) -> sv2_result {
    boundary(|| free(miner))
}

/// Takes bytes that arrived, until there is an event or all are taken, and writes how many it took to `taken`.
///
/// Take all events after each call and hand in the rest. The bytes are copied. `SV2_EVENTS_WAITING` takes none. `SV2_NO_MEMORY`
/// writes `taken` too: what was taken is not lost, and the next call, with the rest or with no bytes, goes on from there.
/// `SV2_ENDED` after `SV2_EVENT_ENDED`.
///
/// # Safety
/// `data` leads to `len` bytes unless it is NULL or they are 0; `taken` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_miner_receive(
    miner: *mut sv2_miner,
    data: *const u8,
    len: usize,
    taken: *mut usize,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new(taken) }?;
        apart(&out.addresses(), &addresses(data, len))?;
        // SAFETY: the caller's promise.
        let bytes = unsafe { bytes(data, len) }?;
        let mut miner = borrow(miner)?;
        let now = now(&miner.environment)?;
        let mut count = 0;
        let received = miner.client.receive(bytes, now, &mut count);
        out.write(count);
        Ok(received?)
    })
}

/// Writes the next event to `event`, in order. `SV2_END` when there is none.
///
/// # Safety
/// `event` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_miner_next_event(
    miner: *mut sv2_miner,
    event: *mut sv2_event,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new(event) }?;
        let mut miner = borrow(miner)?;
        let event = miner.client.next_event().ok_or(Fault(SV2_END))?;
        out.write(event_of(event));
        Ok(())
    })
}

/// Writes what waits to be sent to `data` and `len`; `len` is 0 when nothing does.
///
/// The bytes belong to the miner and are there until the next call with its handle. Say what was sent with `sv2_miner_sent`.
///
/// # Safety
/// `data` and `len` are NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_miner_outgoing(
    miner: *mut sv2_miner,
    data: *mut *const u8,
    len: *mut usize,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let (data, len) = unsafe { (Out::new(data)?, Out::new(len)?) };
        let miner = borrow(miner)?;
        let waiting = miner.client.outgoing();
        data.write(waiting.as_ptr());
        len.write(waiting.len());
        Ok(())
    })
}

/// Says that the first `len` bytes of what waited were sent.
#[unsafe(no_mangle)]
pub extern "C" fn sv2_miner_sent(miner: *mut sv2_miner, len: usize) -> sv2_result {
    boundary(|| {
        borrow(miner)?.client.sent(len);
        Ok(())
    })
}

/// Asks for a standard channel and writes the number of the request to `request_id`; an event answers it.
///
/// `terms` is read during the call only. `SV2_NOT_READY` before `SV2_EVENT_READY`, `SV2_TOO_MANY_CHANNELS`, `SV2_OUTGOING_FULL`,
/// `SV2_ENDED`, `SV2_NO_MEMORY`.
///
/// # Safety
/// `terms` is NULL or leads to terms whose pointers lead to what they say; `request_id` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_miner_open_standard(
    miner: *mut sv2_miner,
    terms: *const sv2_channel_terms,
    request_id: *mut u32,
) -> sv2_result {
    // SAFETY: the caller's promise.
    boundary(|| unsafe { open(miner, ChannelKind::Standard, terms, request_id) })
}

/// Asks for an extended channel, as `sv2_miner_open_standard` does for a standard one.
///
/// # Safety
/// As for `sv2_miner_open_standard`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_miner_open_extended(
    miner: *mut sv2_miner,
    terms: *const sv2_channel_terms,
    request_id: *mut u32,
) -> sv2_result {
    // SAFETY: the caller's promise.
    boundary(|| unsafe { open(miner, ChannelKind::Extended, terms, request_id) })
}

/// Tells the server of another hash rate or easiest target of a channel. What changes, if anything, comes with later work.
///
/// `SV2_CHANNEL_NOT_OPEN`, and as for `sv2_miner_open_standard`.
///
/// # Safety
/// `terms` is NULL or leads to terms.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_miner_update_channel(
    miner: *mut sv2_miner,
    channel_id: u32,
    terms: *const sv2_channel_terms,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let terms = open_terms(unsafe { reference(terms) }?);
        Ok(borrow(miner)?.client.update(channel_id, &terms)?)
    })
}

/// Ends a channel, for the `reason` of `len` bytes, at most 255, which may be empty. No event tells of it.
///
/// `SV2_CHANNEL_NOT_OPEN`, and as for `sv2_miner_open_standard`.
///
/// # Safety
/// `reason` leads to `len` bytes unless it is NULL or they are 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_miner_close_channel(
    miner: *mut sv2_miner,
    channel_id: u32,
    reason: *const u8,
    len: usize,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let reason = text(unsafe { bytes(reason, len) }?)?;
        Ok(borrow(miner)?.client.close(channel_id, reason)?)
    })
}

/// Writes what there is to hash on a channel to `work`, which then belongs to the caller and needs no freeing.
///
/// `SV2_NO_WORK` when the channel has no job, `SV2_CHANNEL_NOT_OPEN`, `SV2_CLOCK_FAILED`.
///
/// # Safety
/// `work` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_miner_work(
    miner: *mut sv2_miner,
    channel_id: u32,
    work: *mut sv2_work,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new(work) }?;
        let miner = borrow(miner)?;
        let work = miner.client.work(channel_id, now(&miner.environment)?)?;
        out.write(work_of(&work));
        Ok(())
    })
}

/// Writes the 80 bytes to hash for what the miner chose to `header`.
///
/// Where the root comes with the work this works as long as the work is kept. Elsewhere the miner's newest work of the channel is
/// needed, and `SV2_STALE_WORK` says that this is not it. `SV2_BAD_EXTRANONCE_SIZE`, `SV2_VERSION_NOT_ALLOWED` and
/// `SV2_NTIME_TOO_EARLY` are headers that no server would take; `SV2_CHANNEL_NOT_OPEN`.
///
/// # Safety
/// `work` is NULL or leads to work; `found` is NULL or leads to a choice whose pointer leads to what it says; `header` is NULL or leads to 80
/// bytes that can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_work_header(
    miner: *mut sv2_miner,
    work: *const sv2_work,
    found: *const sv2_found,
    header: *mut u8,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let (work, roll) = unsafe { (work_from(reference(work)?), roll_from(reference(found)?)?) };
        let target = addresses(header, 80);
        apart(
            &target,
            &addresses(roll.extranonce.as_ptr(), roll.extranonce.len()),
        )?;
        let bytes = borrow(miner)?.client.header(&work, &roll)?;
        // SAFETY: the caller's promise.
        unsafe { buffer(header, 80) }?.copy_from_slice(&bytes);
        Ok(())
    })
}

/// Hands in a share and writes its number within the channel to `sequence_number`; an event answers it.
///
/// Whether it meets the target is not checked: `sv2_hash_meets_target` says. `SV2_STALE_WORK` when the chain has a new tip,
/// `SV2_BAD_EXTRANONCE_SIZE`, `SV2_VERSION_NOT_ALLOWED`, `SV2_NTIME_TOO_EARLY`, `SV2_CHANNEL_NOT_OPEN`,
/// `SV2_OUTGOING_FULL`, `SV2_ENDED` and `SV2_NO_MEMORY` hand in nothing.
///
/// # Safety
/// `work` is NULL or leads to work; `found` is NULL or leads to a choice whose pointer leads to what it says; `sequence_number` is
/// NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_miner_submit(
    miner: *mut sv2_miner,
    work: *const sv2_work,
    found: *const sv2_found,
    sequence_number: *mut u32,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new(sequence_number) }?;
        // SAFETY: the caller's promise.
        let (work, roll) = unsafe { (work_from(reference(work)?), roll_from(reference(found)?)?) };
        let mut miner = borrow(miner)?;
        let now = now(&miner.environment)?;
        out.write(miner.client.submit(&work, &roll, now)?);
        Ok(())
    })
}

/// Writes the time of the monotonic clock, in microseconds, at which `sv2_miner_handle_timeout` is due to `due_us`. `SV2_END` when
/// nothing is waited for. It may change with every other call.
///
/// # Safety
/// `due_us` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_miner_timeout(miner: *mut sv2_miner, due_us: *mut u64) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new(due_us) }?;
        let due = borrow(miner)?.client.poll_timeout();
        out.write(due.ok_or(Fault(SV2_END))?.as_micros());
        Ok(())
    })
}

/// Looks at the clock: a server that did not answer in time ends the connection, as an event tells. Harmless when nothing is due.
#[unsafe(no_mangle)]
pub extern "C" fn sv2_miner_handle_timeout(miner: *mut sv2_miner) -> sv2_result {
    boundary(|| {
        let mut miner = borrow(miner)?;
        let now = now(&miner.environment)?;
        miner.client.handle_timeout(now);
        Ok(())
    })
}

/// Writes how many messages of the server were refused for the `reason` to `count`: one of `SV2_REFUSED_...`.
///
/// `SV2_END` for any other number.
///
/// # Safety
/// `count` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_miner_refused(
    miner: *mut sv2_miner,
    reason: sv2_result,
    count: *mut u64,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new(count) }?;
        let miner = borrow(miner)?;
        let mut reasons = ClientReject::ALL.into_iter();
        let found = match reasons.find(|reject| refused(*reject) == reason) {
            Some(reject) => miner.client.rejected(reject),
            None if reason == SV2_REFUSED_UNKNOWN_FRAME => miner.client.ignored_frames(),
            None => return Err(Fault(SV2_END)),
        };
        out.write(found);
        Ok(())
    })
}

/// Writes what became of the shares of an open channel to `counts`. `SV2_CHANNEL_NOT_OPEN`.
///
/// # Safety
/// `counts` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_miner_share_counts(
    miner: *mut sv2_miner,
    channel_id: u32,
    counts: *mut sv2_share_counts,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new(counts) }?;
        let counts = borrow(miner)?.client.counts(channel_id)?;
        out.write(sv2_share_counts {
            submitted: counts.submitted,
            accepted: counts.acknowledged,
            rejected: counts.rejected,
            difficulty_sum: counts.difficulty_sum,
        });
        Ok(())
    })
}

/// Writes the hash of the 80 bytes of a `header` to the 32 bytes of `hash`, least significant first. Works before `sv2_init`.
///
/// # Safety
/// `header` is NULL or leads to 80 bytes; `hash` is NULL or leads to 32 bytes that can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_header_hash(header: *const u8, hash: *mut u8) -> sv2_result {
    boundary(|| {
        apart(&addresses(hash, 32), &addresses(header, 80))?;
        // SAFETY: the caller's promise.
        let (header, hash) = unsafe { (bytes(header, 80)?, buffer(hash, 32)?) };
        let header = header.first_chunk().ok_or(Fault(SV2_BAD_LENGTH))?;
        hash.copy_from_slice(&block_hash(header));
        Ok(())
    })
}

/// Writes 1 to `meets` when the 32 bytes of `hash` are at or below the 32 bytes of `target`, otherwise 0. Works before `sv2_init`.
///
/// # Safety
/// `hash` and `target` are NULL or lead to 32 bytes each; `meets` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_hash_meets_target(
    hash: *const u8,
    target: *const u8,
    meets: *mut u8,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let (hash, target) = unsafe { (bytes(hash, 32)?, bytes(target, 32)?) };
        // SAFETY: the caller's promise.
        let meets = unsafe { Out::new(meets) }?;
        let (Some(hash), Some(target)) = (hash.first_chunk(), target.first_chunk()) else {
            return Err(Fault(SV2_BAD_LENGTH));
        };
        meets.write(u8::from(Target::from_le_bytes(*target).is_met_by(hash)));
        Ok(())
    })
}

/// # Safety
/// As for `sv2_miner_open_standard`.
unsafe fn open(
    miner: *mut sv2_miner,
    kind: ChannelKind,
    terms: *const sv2_channel_terms,
    request_id: *mut u32,
) -> Result<(), Fault> {
    // SAFETY: the caller's promise.
    let (out, terms) = unsafe { (Out::new(request_id)?, reference(terms)?) };
    // SAFETY: the caller's promise.
    let user_identity = unsafe { text_of(&terms.user_identity) }?;
    let mut miner = borrow(miner)?;
    let now = now(&miner.environment)?;
    out.write(
        miner
            .client
            .open(kind, user_identity, &open_terms(terms), now)?,
    );
    Ok(())
}

fn open_terms(terms: &sv2_channel_terms) -> OpenTerms {
    OpenTerms {
        nominal_hash_rate: terms.nominal_hash_rate,
        max_target: match terms.max_target {
            [0, .., 0] if terms.max_target == [0; 32] => Target::MAX,
            bytes => Target::from_le_bytes(bytes),
        },
        min_extranonce_size: terms.min_extranonce_size,
    }
}

/// # Safety
/// The pointers of `config` lead to what they say for `'a`.
unsafe fn endpoint<'a>(config: &sv2_miner_config) -> Result<Endpoint<'a>, Fault> {
    // SAFETY: the caller's promise, for each.
    unsafe {
        Ok(Endpoint {
            host: text_of(&config.endpoint_host)?,
            port: config.endpoint_port,
            vendor: text_of(&config.vendor)?,
            hardware_version: text_of(&config.hardware_version)?,
            firmware: text_of(&config.firmware)?,
            device_id: text_of(&config.device_id)?,
        })
    }
}

fn security(config: &sv2_miner_config, environment: &Environment) -> Result<Security, Fault> {
    let authority = match config.security {
        SV2_SECURITY_PLAIN => return Ok(Security::Plain),
        SV2_SECURITY_NOISE_UNPINNED => None,
        SV2_SECURITY_NOISE => {
            let key = AuthorityPublicKey::from_bytes(&config.authority);
            Some(key.map_err(|_| Fault(SV2_BAD_AUTHORITY_KEY))?)
        }
        _ => return Err(Fault(SV2_BAD_CONFIG)),
    };
    let (mut secret, mut aux) = (Zeroizing::new([0; 32]), [0; 32]);
    environment.random(&mut *secret)?;
    environment.random(&mut aux)?;
    // About once in 2^127 draws the bytes are no key.
    let key = EphemeralKey::new(&secret, &aux).map_err(|_| Fault(SV2_RANDOM_FAILED))?;
    Ok(Security::Noise { authority, key })
}

/// Text of the caller's.
///
/// # Safety
/// The view leads to its bytes for `'a`.
unsafe fn text_of<'a>(view: &sv2_bytes) -> Result<Str0255<'a>, Fault> {
    // SAFETY: the caller's promise.
    text(unsafe { bytes(view.data, view.len) }?)
}

fn text(bytes: &[u8]) -> Result<Str0255<'_>, Fault> {
    bytes.try_into().map_err(|_| Fault(SV2_FIELD_TOO_LONG))
}

fn now(environment: &Environment) -> Result<Now, Fault> {
    let sv2_time {
        monotonic_us,
        unix_secs,
    } = environment.now()?;
    Ok(Now {
        instant: Instant::from_micros(monotonic_us),
        unix_secs,
    })
}

const fn or(given: u32, default: u32) -> u32 {
    if given == 0 { default } else { given }
}

fn work_of(work: &Work) -> sv2_work {
    sv2_work {
        channel_id: work.channel_id,
        job_id: work.job_id,
        version: work.version,
        version_mask: work.version_mask,
        min_ntime: work.min_ntime,
        max_ntime: work.max_ntime,
        nbits: work.nbits,
        // At most 32.
        extranonce_size: work.extranonce_size as u32,
        prev_hash: work.prev_hash,
        merkle_root: work.merkle_root.unwrap_or_default(),
        target: work.target.to_le_bytes(),
        has_merkle_root: u8::from(work.merkle_root.is_some()),
        tip_number: work.tip_number,
        work_number: work.work_number,
    }
}

fn work_from(work: &sv2_work) -> Work {
    Work {
        channel_id: work.channel_id,
        job_id: work.job_id,
        tip_number: work.tip_number,
        work_number: work.work_number,
        version: work.version,
        version_mask: work.version_mask,
        min_ntime: work.min_ntime,
        max_ntime: work.max_ntime,
        nbits: work.nbits,
        prev_hash: work.prev_hash,
        target: Target::from_le_bytes(work.target),
        extranonce_size: work.extranonce_size as usize,
        merkle_root: (work.has_merkle_root != 0).then_some(work.merkle_root),
    }
}

/// # Safety
/// The pointer of `found` leads to what it says for `'a`.
unsafe fn roll_from<'a>(found: &sv2_found) -> Result<Roll<'a>, Fault> {
    Ok(Roll {
        version: found.version,
        ntime: found.ntime,
        nonce: found.nonce,
        // SAFETY: the caller's promise.
        extranonce: unsafe { bytes(found.extranonce.data, found.extranonce.len) }?,
    })
}

fn event_of(event: Event<&[u8]>) -> sv2_event {
    let of = |kind| sv2_event { kind, ..NO_EVENT };
    let with = |kind, text: &[u8]| sv2_event {
        text: sv2_bytes::of(text),
        ..of(kind)
    };
    match event {
        Event::Ready { server_flags } => sv2_event {
            flags: server_flags,
            ..of(SV2_EVENT_READY)
        },
        Event::Opened {
            request_id,
            channel_id,
        } => sv2_event {
            request_id,
            channel_id,
            ..of(SV2_EVENT_OPENED)
        },
        Event::OpenRefused { request_id, text } => sv2_event {
            request_id,
            ..with(SV2_EVENT_OPEN_REFUSED, text)
        },
        Event::Work { channel_id } => sv2_event {
            channel_id,
            ..of(SV2_EVENT_WORK)
        },
        Event::Accepted(message) => sv2_event {
            channel_id: message.channel_id,
            sequence_number: message.last_sequence_number,
            accepted_count: message.new_submits_accepted_count,
            difficulty_sum: message.new_shares_sum,
            ..of(SV2_EVENT_ACCEPTED)
        },
        Event::Rejected {
            channel_id,
            sequence_number,
            text,
        } => sv2_event {
            channel_id,
            sequence_number,
            ..with(SV2_EVENT_REJECTED, text)
        },
        Event::UpdateRefused { channel_id, text } => sv2_event {
            channel_id,
            ..with(SV2_EVENT_UPDATE_REFUSED, text)
        },
        Event::Closed { channel_id, text } => sv2_event {
            channel_id,
            ..with(SV2_EVENT_CLOSED, text)
        },
        Event::Reconnect { host, port } => sv2_event {
            port,
            ..with(SV2_EVENT_RECONNECT, host)
        },
        Event::Refused { reason, request_id } => sv2_event {
            reason: refused(reason),
            request_id,
            ..of(SV2_EVENT_REFUSED)
        },
        Event::Ended { end, text } => sv2_event {
            reason: end.result(),
            flags: match end {
                End::SetupRefused { flags } => flags,
                _ => 0,
            },
            ..with(SV2_EVENT_ENDED, text)
        },
    }
}
