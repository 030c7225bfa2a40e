/*
 * Stratum V2 for C and C++: messages, frames, and a miner's connection.
 *
 * Made by `cargo xtask header`; changes belong into the Rust sources of sv2-ffi. C89 and C++98, with the standard header stdint.h.
 *
 * RESULTS. A function that returns sv2_result did what it says if that is SV2_OK; sv2_result_text has words for every other number.
 * Unless a function says otherwise nothing was written through its pointers then.
 *
 * POINTERS. A pointer leads to memory of the type and length given, aligned as its type asks, and nobody else writes to that memory
 * during the call. What may be NULL is said; anything else gives SV2_NULL, or SV2_MISALIGNED, SV2_BAD_LENGTH, SV2_OVERLAP.
 *
 * WHO FREES WHAT. Handles (pointers to a type without members, such as sv2_decoder) are made by a function `..._new` and freed by the
 * caller with `..._free`. Nothing else is ever freed: a decoded message is a struct of the caller's that points into the payload it
 * was decoded from, and lives as long as that; what is encoded is copied into the caller's buffer, and its struct may go afterwards.
 *
 * MESSAGES. `sv2_..._decode` reads the payload of a frame, without the header; bytes behind the last field are left alone, as the
 * specification asks for. `sv2_..._encode` writes a whole frame, header included; to learn its length, pass a NULL buffer of
 * capacity 0 and read `len` when the result is SV2_BUFFER_TOO_SHORT. Each field of a message to encode must be set. Neither
 * allocates, and both work before sv2_init. A yes-or-no field is 0 or 1 when decoded, and anything but 0 is yes when encoded.
 *
 * HANDLES are numbers in the form of pointers. Never read through one. A NULL handle gives SV2_NULL, one of another kind (or any other
 * pointer) SV2_WRONG_HANDLE, a freed one SV2_FREED, one in use by another thread or an outer call SV2_BUSY. A freed handle is known
 * as such until its slot in the table has been used 2^19 times more on 32-bit targets, 2^51 times on 64-bit ones; then it is taken for
 * the handle that has its number.
 *
 * THREADS. Any function may be called on any thread. A handle serves one call at a time.
 *
 * NUMBERS. The wire's byte order is the library's business: integers are the machine's. 32-byte values (targets, hashes) are in the
 * order of the wire, least significant byte first.
 */

#ifndef SV2_H
#define SV2_H

#include <stddef.h>
#include <stdint.h>

/* Of a library with one set of features, define its macro before this header. With neither everything is declared. */
#if !defined(SV2_TEMPLATE_PROVIDER) && !defined(SV2_MINER)
#define SV2_TEMPLATE_PROVIDER
#define SV2_MINER
#endif

/** Handles that can be in use at once, of all kinds together. One more gives `SV2_TOO_MANY_HANDLES`. */
#define SV2_MAX_HANDLES 256

/** `sv2_setup_connection.protocol`: the mining protocol. */
#define SV2_PROTOCOL_MINING 0

/** `sv2_setup_connection.protocol`: the job declaration protocol. */
#define SV2_PROTOCOL_JOB_DECLARATION 1

/** `sv2_setup_connection.protocol`: the template distribution protocol. */
#define SV2_PROTOCOL_TEMPLATE_DISTRIBUTION 2

/** Version of the protocol that this library speaks. */
#define SV2_PROTOCOL_VERSION 2

/** Length of a frame's header in bytes. */
#define SV2_FRAME_HEADER_LEN 6

/** Longest payload of a frame in bytes. */
#define SV2_MAX_PAYLOAD_LEN 16777215

/** Number of `SetupConnection`, sent by the client. */
#define SV2_MSG_SETUP_CONNECTION 0

/** Number of `SetupConnection.Success`, sent by the server. */
#define SV2_MSG_SETUP_CONNECTION_SUCCESS 1

/** Number of `SetupConnection.Error`, sent by the server. */
#define SV2_MSG_SETUP_CONNECTION_ERROR 2

/** Number of `ChannelEndpointChanged`, sent by the server. */
#define SV2_MSG_CHANNEL_ENDPOINT_CHANGED 3

/** Number of `Reconnect`, sent by the server. */
#define SV2_MSG_RECONNECT 4

#if defined(SV2_MINER)
/** Number of `OpenStandardMiningChannel`, sent by the client. */
#define SV2_MSG_OPEN_STANDARD_MINING_CHANNEL 16

/** Number of `OpenStandardMiningChannel.Success`, sent by the server. */
#define SV2_MSG_OPEN_STANDARD_MINING_CHANNEL_SUCCESS 17

/** Number of `OpenMiningChannel.Error`, sent by the server. */
#define SV2_MSG_OPEN_MINING_CHANNEL_ERROR 18

/** Number of `OpenExtendedMiningChannel`, sent by the client. */
#define SV2_MSG_OPEN_EXTENDED_MINING_CHANNEL 19

/** Number of `OpenExtendedMiningChannel.Success`, sent by the server. */
#define SV2_MSG_OPEN_EXTENDED_MINING_CHANNEL_SUCCESS 20

/** Number of `NewMiningJob`, sent by the server. */
#define SV2_MSG_NEW_MINING_JOB 21

/** Number of `UpdateChannel`, sent by the client. */
#define SV2_MSG_UPDATE_CHANNEL 22

/** Number of `UpdateChannel.Error`, sent by the server. */
#define SV2_MSG_UPDATE_CHANNEL_ERROR 23

/** Number of `CloseChannel`, sent by either side. */
#define SV2_MSG_CLOSE_CHANNEL 24

/** Number of `SetExtranoncePrefix`, sent by the server. */
#define SV2_MSG_SET_EXTRANONCE_PREFIX 25

/** Number of `SubmitSharesStandard`, sent by the client. */
#define SV2_MSG_SUBMIT_SHARES_STANDARD 26

/** Number of `SubmitSharesExtended`, sent by the client. */
#define SV2_MSG_SUBMIT_SHARES_EXTENDED 27

/** Number of `SubmitShares.Success`, sent by the server. */
#define SV2_MSG_SUBMIT_SHARES_SUCCESS 28

/** Number of `SubmitShares.Error`, sent by the server. */
#define SV2_MSG_SUBMIT_SHARES_ERROR 29

/** Number of `NewExtendedMiningJob`, sent by the server. */
#define SV2_MSG_NEW_EXTENDED_MINING_JOB 31

/** Number of `SetNewPrevHash`, sent by the server. */
#define SV2_MSG_MINING_SET_NEW_PREV_HASH 32

/** Number of `SetTarget`, sent by the server. */
#define SV2_MSG_SET_TARGET 33

/** Number of `SetCustomMiningJob`, sent by the client. */
#define SV2_MSG_SET_CUSTOM_MINING_JOB 34

/** Number of `SetCustomMiningJob.Success`, sent by the server. */
#define SV2_MSG_SET_CUSTOM_MINING_JOB_SUCCESS 35

/** Number of `SetCustomMiningJob.Error`, sent by the server. */
#define SV2_MSG_SET_CUSTOM_MINING_JOB_ERROR 36

/** Number of `SetGroupChannel`, sent by the server. */
#define SV2_MSG_SET_GROUP_CHANNEL 37
#endif

#if defined(SV2_TEMPLATE_PROVIDER)
/** Number of `CoinbaseOutputConstraints`, sent by the client. */
#define SV2_MSG_COINBASE_OUTPUT_CONSTRAINTS 112

/** Number of `NewTemplate`, sent by the server. */
#define SV2_MSG_NEW_TEMPLATE 113

/** Number of `SetNewPrevHash`, sent by the server. */
#define SV2_MSG_TEMPLATE_SET_NEW_PREV_HASH 114

/** Number of `RequestTransactionData`, sent by the client. */
#define SV2_MSG_REQUEST_TRANSACTION_DATA 115

/** Number of `RequestTransactionData.Success`, sent by the server. */
#define SV2_MSG_REQUEST_TRANSACTION_DATA_SUCCESS 116

/** Number of `RequestTransactionData.Error`, sent by the server. */
#define SV2_MSG_REQUEST_TRANSACTION_DATA_ERROR 117

/** Number of `SubmitSolution`, sent by the client. */
#define SV2_MSG_SUBMIT_SOLUTION 118
#endif

#if defined(SV2_MINER)
/** `sv2_miner_config.security`: by Noise, to a server that `authority` vouches for. */
#define SV2_SECURITY_NOISE 0

/** `sv2_miner_config.security`: by Noise, to whoever answers. Nobody can listen, but anybody in between can pretend to be the pool. */
#define SV2_SECURITY_NOISE_UNPINNED 1

/** `sv2_miner_config.security`: not at all. */
#define SV2_SECURITY_PLAIN 2

/**
 * `sv2_miner_config.flags`: the device takes standard jobs only. Set it where only standard channels are opened: jobs then come
 * with their merkle root, and none for groups.
 */
#define SV2_REQUIRES_STANDARD_JOBS 1

/** `sv2_miner_config.flags`: the device must roll the version. */
#define SV2_REQUIRES_VERSION_ROLLING 4

/** Flag of `SV2_EVENT_READY`: the server wants the version of jobs left as it is. */
#define SV2_REQUIRES_FIXED_VERSION 1

/** Flag of `SV2_EVENT_READY`: the server opens no standard channels. */
#define SV2_REQUIRES_EXTENDED_CHANNELS 2

/**
 * Longest payload of the server's, in bytes, where `sv2_miner_config.max_payload_len` is 0. Jobs with coinbases of many
 * outputs are the longest.
 */
#define SV2_DEFAULT_MAX_PAYLOAD_LEN 8192

/** Channels of a connection where `sv2_miner_config.max_channels` is 0. */
#define SV2_DEFAULT_MAX_CHANNELS 4

/** Most channels of a connection. */
#define SV2_MAX_CHANNELS 256

/** Jobs that a channel keeps for tips to come. One more pushes out the oldest. */
#define SV2_MAX_FUTURE_JOBS 4

/** Most bytes that wait to be sent. Requests and shares beyond give `SV2_OUTGOING_FULL`. */
#define SV2_MAX_OUTGOING_LEN 4096

/** Longest extranonce of a channel, in bytes, without the server's prefix. */
#define SV2_MAX_EXTRANONCE_LEN 32

/** The server took the connection: channels may be opened. `flags` are the server's. */
#define SV2_EVENT_READY 1

/** A channel is open; work follows. `request_id` and `channel_id`. */
#define SV2_EVENT_OPENED 2

/** A channel was refused. `request_id`, and the server's words in `text`. */
#define SV2_EVENT_OPEN_REFUSED 3

/** There is other work on a channel, or none any more: ask `sv2_miner_work`. `channel_id`. */
#define SV2_EVENT_WORK 4

/** Shares were accepted. `channel_id`, `sequence_number` of the last, `accepted_count` and `difficulty_sum` of those that this tells of. */
#define SV2_EVENT_ACCEPTED 5

/** A share was rejected. `channel_id`, `sequence_number`, and the server's words in `text`. */
#define SV2_EVENT_REJECTED 6

/** `sv2_miner_update_channel` was refused. `channel_id`, and the server's words in `text`. */
#define SV2_EVENT_UPDATE_REFUSED 7

/** The server closed a channel. `channel_id`, and the server's words in `text`. */
#define SV2_EVENT_CLOSED 8

/**
 * The server asks to connect anew: to the host in `text` unless it is empty, and `port` unless it is 0. The connection
 * lasts until its owner ends it. The host comes from the server: connect there only if the same authority vouches for it.
 */
#define SV2_EVENT_RECONNECT 9

/**
 * A message of the server broke the rules and changed nothing, for the `reason`. If it was the answer to a request for a channel, `request_id`
 * says which, and none will come. `sv2_miner_refused` counts them.
 */
#define SV2_EVENT_REFUSED 10

/**
 * The connection is over, for the `reason`: close the socket and free the miner. `SV2_SETUP_REFUSED` comes with the server's words
 * in `text` and in `flags` those that it does not support.
 */
#define SV2_EVENT_ENDED 11
#endif

/**
 * Turns the bytes of a connection without encryption, cut in any way, into frames.
 *
 * It holds no memory while no byte waits, and never more than twice what has arrived or 8 KiB, whichever is more. What a frame merely
 * announces takes none.
 */
typedef struct sv2_decoder sv2_decoder;

#if defined(SV2_MINER)
/**
 * A miner's connection to a pool or proxy: several channels, one server. It knows no sockets; whoever owns it moves the bytes.
 *
 * In a loop: hand what arrives to `sv2_miner_receive`, take events with `sv2_miner_next_event` until `SV2_END`, send what
 * `sv2_miner_outgoing` shows, and call `sv2_miner_handle_timeout` when `sv2_miner_timeout` says.
 */
typedef struct sv2_miner sv2_miner;
#endif

/** What a function returns: `SV2_OK` or the number of what went wrong. */
typedef int32_t sv2_result;

/**
 * Bytes that belong to somebody else: in a decoded message to the payload it was decoded from, in a message to encode to the caller.
 *
 * No zero byte stands at the end, not even behind text. Where `len` is 0, `data` may be NULL.
 */
typedef struct sv2_bytes {
  /** The first byte. */
  const uint8_t *data;
  /** Number of bytes. */
  size_t len;
} sv2_bytes;

/** A frame: what its header says, and its payload. */
typedef struct sv2_frame {
  /** Number of the extension, without the channel bit; 0 for the messages of this header. */
  uint16_t extension;
  /** Number of the message within its extension, such as `SV2_MSG_SETUP_CONNECTION`. */
  uint8_t msg_type;
  /** 1 when the channel bit is set, which says that the payload begins with a channel's number, otherwise 0. */
  uint8_t is_channel_message;
  /** The message's fields and what follows them. */
  struct sv2_bytes payload;
} sv2_frame;

/** What two clocks say at one moment. */
typedef struct sv2_time {
  /** A clock that never goes back, in microseconds since any origin. */
  uint64_t monotonic_us;
  /** The time of day in seconds since 1970-01-01 UTC. */
  uint64_t unix_secs;
} sv2_time;

/**
 * Randomness and time for an object of the library, which calls these functions during calls on that object only.
 *
 * The functions return 0 when they did what they are for; anything else is a failure, which the library's function
 * returns as `SV2_RANDOM_FAILED` or `SV2_CLOCK_FAILED`. They may call the library, but not with the handle of the call
 * that they belong to: that one is `SV2_BUSY`.
 */
typedef struct sv2_environment {
  /** For the caller's own use, handed to each function as it is; may be NULL. */
  void *context;
  /** Fills `len` bytes with randomness fit for keys: of the operating system, or of a hardware generator. */
  int32_t (*random)(void *context, uint8_t *bytes, size_t len);
  /** Writes what the clocks say. */
  int32_t (*clock)(void *context, struct sv2_time *now);
} sv2_environment;

/** `SetupConnection`: first message of a client on a new connection (specification 3.6.1). */
typedef struct sv2_setup_connection {
  /** Number of the sub-protocol, such as `SV2_PROTOCOL_MINING`. */
  uint8_t protocol;
  /** Lowest protocol version that the client speaks, currently 2. */
  uint16_t min_version;
  /** Highest protocol version that the client speaks, currently 2. */
  uint16_t max_version;
  /** Features that the client requires; their meaning depends on `protocol`. */
  uint32_t flags;
  /** Host name or address that the client connected to. */
  struct sv2_bytes endpoint_host;
  /** Port that the client connected to. */
  uint16_t endpoint_port;
  /** Manufacturer or developer and firmware version. */
  struct sv2_bytes vendor;
  /** Hardware or software package. */
  struct sv2_bytes hardware_version;
  /** Firmware on the device. */
  struct sv2_bytes firmware;
  /** Identifier of the device, empty without telemetry. */
  struct sv2_bytes device_id;
} sv2_setup_connection;

/** `SetupConnection.Success`: the server takes the connection (specification 3.6.2). */
typedef struct sv2_setup_connection_success {
  /** Protocol version of this connection, between the client's bounds. */
  uint16_t used_version;
  /** Features that the server requires; their meaning depends on the sub-protocol. */
  uint32_t flags;
} sv2_setup_connection_success;

/** `SetupConnection.Error`: the server refuses the connection and closes it (specification 3.6.3). */
typedef struct sv2_setup_connection_error {
  /** Every flag that the server does not support; 0 when flags are not the cause. */
  uint32_t flags;
  /** Printable reason, such as "stale-share"; unknown codes are logged and otherwise ignored. */
  struct sv2_bytes error_code;
} sv2_setup_connection_error;

/** `ChannelEndpointChanged`: an endpoint of the channel changed: extension state of the channel starts anew (specification 3.6.4). */
typedef struct sv2_channel_endpoint_changed {
  /** Channel within the connection. */
  uint32_t channel_id;
} sv2_channel_endpoint_changed;

/** `Reconnect`: the client should connect to another host or port (specification 3.6.5). */
typedef struct sv2_reconnect {
  /** Host to connect to, empty for the present one. */
  struct sv2_bytes new_host;
  /** Port to connect to, 0 for the present one. */
  uint16_t new_port;
} sv2_reconnect;

#if defined(SV2_MINER)
/** `OpenStandardMiningChannel`: asks for a standard channel (specification 5.3.2). */
typedef struct sv2_open_standard_mining_channel {
  /** Chosen by the client, echoed in the answer. */
  uint32_t request_id;
  /** Who is mining; UTF-8 is recommended, not required. */
  struct sv2_bytes user_identity;
  /** Expected hash rate in hashes per second. */
  float nominal_hash_rate;
  /** Largest target that the client accepts, little-endian integer. */
  uint8_t max_target[32];
} sv2_open_standard_mining_channel;

/** `OpenStandardMiningChannel.Success`: grants a standard channel (specification 5.3.3). */
typedef struct sv2_open_standard_mining_channel_success {
  /** Chosen by the client, echoed in the answer. */
  uint32_t request_id;
  /** Channel within the connection. */
  uint32_t channel_id;
  /** Target of the channel, little-endian integer. */
  uint8_t target[32];
  /** First bytes of the extranonce, fixed by the server. */
  struct sv2_bytes extranonce_prefix;
  /** Group channel that the channel belongs to. */
  uint32_t group_channel_id;
} sv2_open_standard_mining_channel_success;

/** `OpenMiningChannel.Error`: refuses a channel (specification 5.3.6). */
typedef struct sv2_open_mining_channel_error {
  /** Chosen by the client, echoed in the answer. */
  uint32_t request_id;
  /** Printable reason, such as "stale-share"; unknown codes are logged and otherwise ignored. */
  struct sv2_bytes error_code;
} sv2_open_mining_channel_error;

/** `OpenExtendedMiningChannel`: asks for an extended channel (specification 5.3.4). */
typedef struct sv2_open_extended_mining_channel {
  /** Chosen by the client, echoed in the answer. */
  uint32_t request_id;
  /** Who is mining; UTF-8 is recommended, not required. */
  struct sv2_bytes user_identity;
  /** Expected hash rate in hashes per second. */
  float nominal_hash_rate;
  /** Largest target that the client accepts, little-endian integer. */
  uint8_t max_target[32];
  /** Least number of extranonce bytes that the client needs for itself. */
  uint16_t min_extranonce_size;
} sv2_open_extended_mining_channel;

/** `OpenExtendedMiningChannel.Success`: grants an extended channel (specification 5.3.5). */
typedef struct sv2_open_extended_mining_channel_success {
  /** Chosen by the client, echoed in the answer. */
  uint32_t request_id;
  /** Channel within the connection. */
  uint32_t channel_id;
  /** Target of the channel, little-endian integer. */
  uint8_t target[32];
  /** Number of extranonce bytes that the client rolls, the prefix not counted. */
  uint16_t extranonce_size;
  /** First bytes of the extranonce, fixed by the server. */
  struct sv2_bytes extranonce_prefix;
  /** Group channel that the channel belongs to. */
  uint32_t group_channel_id;
} sv2_open_extended_mining_channel_success;
#endif

/** A number that may be absent. */
typedef struct sv2_option_u32 {
  /** 0 when the number is absent. */
  uint8_t is_present;
  /** The number; 0 in a decoded message and unused in one to encode where it is absent. */
  uint32_t value;
} sv2_option_u32;

#if defined(SV2_MINER)
/** `NewMiningJob`: work for a standard channel (specification 5.3.15). */
typedef struct sv2_new_mining_job {
  /** Channel within the connection. */
  uint32_t channel_id;
  /** Job within the channel. */
  uint32_t job_id;
  /** Earliest block time in Unix seconds; absent for a future job. */
  struct sv2_option_u32 min_ntime;
  /** Block version; BIP323 bits may be rolled. */
  uint32_t version;
  /** Merkle root of the header, raw bytes. */
  uint8_t merkle_root[32];
} sv2_new_mining_job;

/** `UpdateChannel`: the client's hash rate or wanted target changed (specification 5.3.7). */
typedef struct sv2_update_channel {
  /** Channel within the connection. */
  uint32_t channel_id;
  /** Expected hash rate in hashes per second. */
  float nominal_hash_rate;
  /** Largest target that the client accepts from now on, little-endian integer. */
  uint8_t maximum_target[32];
} sv2_update_channel;

/** `UpdateChannel.Error`: refuses an `UpdateChannel` (specification 5.3.8). */
typedef struct sv2_update_channel_error {
  /** Channel within the connection. */
  uint32_t channel_id;
  /** Printable reason, such as "stale-share"; unknown codes are logged and otherwise ignored. */
  struct sv2_bytes error_code;
} sv2_update_channel_error;

/** `CloseChannel`: ends a channel, or all channels of a group (specification 5.3.9). */
typedef struct sv2_close_channel {
  /** Channel within the connection. */
  uint32_t channel_id;
  /** Printable reason for closing the channel. */
  struct sv2_bytes reason_code;
} sv2_close_channel;

/** `SetExtranoncePrefix`: a new extranonce prefix for jobs sent after it (specification 5.3.10). */
typedef struct sv2_set_extranonce_prefix {
  /** Channel within the connection. */
  uint32_t channel_id;
  /** First bytes of the extranonce, fixed by the server. */
  struct sv2_bytes extranonce_prefix;
} sv2_set_extranonce_prefix;

/** `SubmitSharesStandard`: a share of a standard channel (specification 5.3.11). */
typedef struct sv2_submit_shares_standard {
  /** Channel within the connection. */
  uint32_t channel_id;
  /** Chosen by the client to tell its submissions apart. */
  uint32_t sequence_number;
  /** Job within the channel. */
  uint32_t job_id;
  /** Nonce of the header. */
  uint32_t nonce;
  /** Block time in Unix seconds. */
  uint32_t ntime;
  /** Full block version, rolled bits included. */
  uint32_t version;
} sv2_submit_shares_standard;

/** `SubmitSharesExtended`: a share of an extended channel (specification 5.3.12). */
typedef struct sv2_submit_shares_extended {
  /** Channel within the connection. */
  uint32_t channel_id;
  /** Chosen by the client to tell its submissions apart. */
  uint32_t sequence_number;
  /** Job within the channel. */
  uint32_t job_id;
  /** Nonce of the header. */
  uint32_t nonce;
  /** Block time in Unix seconds. */
  uint32_t ntime;
  /** Full block version, rolled bits included. */
  uint32_t version;
  /** Extranonce bytes that the client rolled, the prefix not included. */
  struct sv2_bytes extranonce;
} sv2_submit_shares_extended;

/** `SubmitShares.Success`: acknowledges a batch of shares (specification 5.3.13). */
typedef struct sv2_submit_shares_success {
  /** Channel within the connection. */
  uint32_t channel_id;
  /** Sequence number of the last accepted submission. */
  uint32_t last_sequence_number;
  /** Number of submissions that this message acknowledges. */
  uint32_t new_submits_accepted_count;
  /** Sum of the difficulties of these submissions. */
  uint64_t new_shares_sum;
} sv2_submit_shares_success;

/** `SubmitShares.Error`: rejects one share (specification 5.3.14). */
typedef struct sv2_submit_shares_error {
  /** Channel within the connection. */
  uint32_t channel_id;
  /** Chosen by the client to tell its submissions apart. */
  uint32_t sequence_number;
  /** Printable reason, such as "stale-share"; unknown codes are logged and otherwise ignored. */
  struct sv2_bytes error_code;
} sv2_submit_shares_error;
#endif

/** A sequence of 32-byte values, one behind the other. */
typedef struct sv2_u256_seq {
  /** The first byte of the first value; may be NULL where `count` is 0. */
  const uint8_t *data;
  /** Number of values, each of 32 bytes. */
  size_t count;
} sv2_u256_seq;

#if defined(SV2_MINER)
/** `NewExtendedMiningJob`: work for an extended or group channel (specification 5.3.16). */
typedef struct sv2_new_extended_mining_job {
  /** Channel within the connection. */
  uint32_t channel_id;
  /** Job within the channel. */
  uint32_t job_id;
  /** Earliest block time in Unix seconds; absent for a future job. */
  struct sv2_option_u32 min_ntime;
  /** Block version; BIP323 bits may be rolled. */
  uint32_t version;
  /** Whether the BIP323 bits of the version may be rolled. */
  uint8_t version_rolling_allowed;
  /** Hashes from the coinbase to the root, deepest first, raw bytes. */
  struct sv2_u256_seq merkle_path;
  /** Coinbase up to the extranonce, without BIP141 fields. */
  struct sv2_bytes coinbase_tx_prefix;
  /** Coinbase behind the extranonce, without BIP141 fields. */
  struct sv2_bytes coinbase_tx_suffix;
} sv2_new_extended_mining_job;

/** `SetNewPrevHash`: the block to build on, and the job to start with (specification 5.3.17). */
typedef struct sv2_mining_set_new_prev_hash {
  /** Channel within the connection. */
  uint32_t channel_id;
  /** Job within the channel. */
  uint32_t job_id;
  /** Hash of the block to build on, raw bytes. */
  uint8_t prev_hash[32];
  /** Earliest block time in Unix seconds. */
  uint32_t min_ntime;
  /** Network target in compact form. */
  uint32_t nbits;
} sv2_mining_set_new_prev_hash;

/** `SetTarget`: a new target for future jobs; active jobs keep theirs (specification 5.3.21). */
typedef struct sv2_set_target {
  /** Channel within the connection. */
  uint32_t channel_id;
  /** Largest target that shares may have, little-endian integer. */
  uint8_t maximum_target[32];
} sv2_set_target;

/** `SetCustomMiningJob`: a job that the client made (specification 5.3.18). */
typedef struct sv2_set_custom_mining_job {
  /** Channel within the connection. */
  uint32_t channel_id;
  /** Chosen by the client, echoed in the answer. */
  uint32_t request_id;
  /** Token that the job declaration server allocated. */
  struct sv2_bytes mining_job_token;
  /** Block version; BIP323 bits may be rolled. */
  uint32_t version;
  /** Hash of the block to build on, raw bytes. */
  uint8_t prev_hash[32];
  /** Earliest block time in Unix seconds. */
  uint32_t min_ntime;
  /** Network target in compact form. */
  uint32_t nbits;
  /** Version of the coinbase transaction. */
  uint32_t coinbase_tx_version;
  /** Everything of the scriptSig that precedes the extranonce. */
  struct sv2_bytes coinbase_prefix;
  /** nSequence of the coinbase input. */
  uint32_t coinbase_tx_input_n_sequence;
  /** Outputs of the coinbase, consensus serialisation behind a CompactSize count. */
  struct sv2_bytes coinbase_tx_outputs;
  /** Lock time of the coinbase. */
  uint32_t coinbase_tx_locktime;
  /** Hashes from the coinbase to the root, deepest first, raw bytes. */
  struct sv2_u256_seq merkle_path;
} sv2_set_custom_mining_job;

/** `SetCustomMiningJob.Success`: the pool commits to reward the job (specification 5.3.19). */
typedef struct sv2_set_custom_mining_job_success {
  /** Channel within the connection. */
  uint32_t channel_id;
  /** Chosen by the client, echoed in the answer. */
  uint32_t request_id;
  /** Job within the channel. */
  uint32_t job_id;
} sv2_set_custom_mining_job_success;

/** `SetCustomMiningJob.Error`: the pool refuses the job (specification 5.3.20). */
typedef struct sv2_set_custom_mining_job_error {
  /** Channel within the connection. */
  uint32_t channel_id;
  /** Chosen by the client, echoed in the answer. */
  uint32_t request_id;
  /** Printable reason, such as "stale-share"; unknown codes are logged and otherwise ignored. */
  struct sv2_bytes error_code;
} sv2_set_custom_mining_job_error;
#endif

/**
 * A sequence of numbers.
 *
 * A decoded one has `encoded`, its bytes in the payload, and `items` NULL. To encode, fill `items` and `count`; or leave `items` NULL to pass
 * on a decoded sequence. Read either with `sv2_u32_seq_at`.
 */
typedef struct sv2_u32_seq {
  /** The numbers as on the wire, four bytes each, little-endian, unaligned. */
  const uint8_t *encoded;
  /** The numbers as an array, or NULL. */
  const uint32_t *items;
  /** Number of elements. */
  size_t count;
} sv2_u32_seq;

#if defined(SV2_MINER)
/** `SetGroupChannel`: puts channels into a group (specification 5.3.22). */
typedef struct sv2_set_group_channel {
  /** Group channel that the channel belongs to. */
  uint32_t group_channel_id;
  /** Channels of the group. */
  struct sv2_u32_seq channel_ids;
} sv2_set_group_channel;
#endif

#if defined(SV2_TEMPLATE_PROVIDER)
/** `CoinbaseOutputConstraints`: what the client will add to the coinbase (specification 7.1). */
typedef struct sv2_coinbase_output_constraints {
  /** Bytes that the client's outputs will take in the coinbase. */
  uint32_t coinbase_output_max_additional_size;
  /** Signature operations that the client's outputs will add. */
  uint16_t coinbase_output_max_additional_sigops;
} sv2_coinbase_output_constraints;

/** `NewTemplate`: a block template (specification 7.2). */
typedef struct sv2_new_template {
  /** Number of the template, strictly increasing. */
  uint64_t template_id;
  /** Whether the template waits for a `SetNewPrevHash` that names it. */
  uint8_t future_template;
  /** Block version; BIP323 bits may be rolled. */
  uint32_t version;
  /** Version of the coinbase transaction. */
  uint32_t coinbase_tx_version;
  /** Start of the scriptSig, at most 8 bytes. */
  struct sv2_bytes coinbase_prefix;
  /** nSequence of the coinbase input. */
  uint32_t coinbase_tx_input_sequence;
  /** Satoshis that the client may spend in its outputs. */
  uint64_t coinbase_tx_value_remaining;
  /** Number of outputs in `coinbase_tx_outputs`. */
  uint32_t coinbase_tx_outputs_count;
  /** Outputs to append last, consensus serialisation without a count. */
  struct sv2_bytes coinbase_tx_outputs;
  /** Lock time of the coinbase. */
  uint32_t coinbase_tx_locktime;
  /** Hashes from the coinbase to the root, deepest first, raw bytes. */
  struct sv2_u256_seq merkle_path;
} sv2_new_template;

/** `SetNewPrevHash`: a new chain tip, and the template to start with (specification 7.3). */
typedef struct sv2_template_set_new_prev_hash {
  /** Number of the template, strictly increasing. */
  uint64_t template_id;
  /** Hash of the block to build on, raw bytes. */
  uint8_t prev_hash[32];
  /** Block time to start from, in Unix seconds. */
  uint32_t header_timestamp;
  /** Network target in compact form. */
  uint32_t nbits;
  /** Largest hash of a solution, little-endian integer; may lie below what `nbits` means. */
  uint8_t target[32];
} sv2_template_set_new_prev_hash;

/** `RequestTransactionData`: asks for the transactions of a template (specification 7.4). */
typedef struct sv2_request_transaction_data {
  /** Number of the template, strictly increasing. */
  uint64_t template_id;
} sv2_request_transaction_data;
#endif

/**
 * A sequence of byte strings of up to 16 777 215 bytes each, such as transactions.
 *
 * A decoded one has `encoded`, its bytes in the payload, and `items` NULL: take its elements with `sv2_b016m_seq_next`. To encode, fill
 * `items` and `count`; or leave `items` NULL to pass on a decoded sequence.
 */
typedef struct sv2_b016m_seq {
  /** The elements as on the wire, each behind its length of three bytes, little-endian. */
  const uint8_t *encoded;
  /** Number of bytes at `encoded`. */
  size_t encoded_len;
  /** The elements as an array, or NULL. */
  const struct sv2_bytes *items;
  /** Number of elements. */
  size_t count;
} sv2_b016m_seq;

#if defined(SV2_TEMPLATE_PROVIDER)
/** `RequestTransactionData.Success`: the transactions of a template (specification 7.5). */
typedef struct sv2_request_transaction_data_success {
  /** Number of the template, strictly increasing. */
  uint64_t template_id;
  /** Extra data that some chains need, not interpreted. */
  struct sv2_bytes excess_data;
  /** All transactions of the template in block order, without the coinbase. */
  struct sv2_b016m_seq transaction_list;
} sv2_request_transaction_data_success;

/** `RequestTransactionData.Error`: refuses the transactions of a template (specification 7.6). */
typedef struct sv2_request_transaction_data_error {
  /** Number of the template, strictly increasing. */
  uint64_t template_id;
  /** Printable reason, such as "stale-share"; unknown codes are logged and otherwise ignored. */
  struct sv2_bytes error_code;
} sv2_request_transaction_data_error;

/** `SubmitSolution`: a block was found on a template (specification 7.7). */
typedef struct sv2_submit_solution {
  /** Number of the template, strictly increasing. */
  uint64_t template_id;
  /** Full block version, rolled bits included. */
  uint32_t version;
  /** Block time in Unix seconds. */
  uint32_t header_timestamp;
  /** Nonce of the header. */
  uint32_t header_nonce;
  /** The coinbase, BIP141 fields included. */
  struct sv2_bytes coinbase_tx;
} sv2_submit_solution;
#endif

#if defined(SV2_MINER)
/** What a connection is to be. All zeros are the usual, but for `authority`. */
typedef struct sv2_miner_config {
  /** `SV2_SECURITY_NOISE`, `SV2_SECURITY_NOISE_UNPINNED` or `SV2_SECURITY_PLAIN`. */
  uint32_t security;
  /** The pool's authority key, as `sv2_authority_key` reads it from text; only for `SV2_SECURITY_NOISE`. */
  uint8_t authority[32];
  /** Flags `SV2_REQUIRES_STANDARD_JOBS` and `SV2_REQUIRES_VERSION_ROLLING`, added up. */
  uint32_t flags;
  /** Host that the device connects to, up to 255 bytes, as are the next four. */
  struct sv2_bytes endpoint_host;
  /** Port that the device connects to. */
  uint16_t endpoint_port;
  /** Manufacturer of the device. */
  struct sv2_bytes vendor;
  /** The device's hardware. */
  struct sv2_bytes hardware_version;
  /** The device's firmware. */
  struct sv2_bytes firmware;
  /** Number of the device, empty without telemetry. */
  struct sv2_bytes device_id;
  /** Longest payload taken, in bytes; 0 for `SV2_DEFAULT_MAX_PAYLOAD_LEN`. A longer one ends the connection with `SV2_PAYLOAD_TOO_LONG`. */
  uint32_t max_payload_len;
  /** Channels open or asked for at a time, up to `SV2_MAX_CHANNELS`; 0 for `SV2_DEFAULT_MAX_CHANNELS`. */
  uint32_t max_channels;
  /** Milliseconds that the server has for each answer to handshake, set-up and request for a channel; 0 for 5 000. */
  uint32_t answer_timeout_ms;
} sv2_miner_config;

/** Something that the server did. Fields that the kind of event does not name are 0. */
typedef struct sv2_event {
  /** What happened, one of `SV2_EVENT_...`. */
  uint32_t kind;
  /** Why, where it is bad. */
  sv2_result reason;
  /** The channel. */
  uint32_t channel_id;
  /** The request for a channel, as `sv2_miner_open_standard` or `sv2_miner_open_extended` numbered it. */
  uint32_t request_id;
  /** The share, as `sv2_miner_submit` numbered it. */
  uint32_t sequence_number;
  /** Shares accepted. */
  uint32_t accepted_count;
  /** Sum of the difficulties of the shares accepted, as the server counts. */
  uint64_t difficulty_sum;
  /** Flags of the server. */
  uint32_t flags;
  /** Port. */
  uint16_t port;
  /** Words of the server, for a log: any bytes, escape them. They belong to the miner and are there until the next call with its handle. */
  struct sv2_bytes text;
} sv2_event;

/** What a channel is to be. */
typedef struct sv2_channel_terms {
  /** Whom the pool pays, as it wants it, up to 255 bytes. Not used to update a channel. */
  struct sv2_bytes user_identity;
  /** Expected hashes a second. The server chooses a target that it gives shares at a pace it likes. */
  float nominal_hash_rate;
  /** Easiest target taken, least significant byte first; all zeros for any. */
  uint8_t max_target[32];
  /** Least number of extranonce bytes that the device rolls; only an extended channel has them. */
  uint16_t min_extranonce_size;
} sv2_channel_terms;

/**
 * A job on its tip with all that is hashed but what the miner chooses. It belongs to the caller, and stays as it is.
 *
 * `sv2_miner_submit` takes it until the chain has a new tip, even when the channel has newer work.
 */
typedef struct sv2_work {
  /** The channel. */
  uint32_t channel_id;
  /** The job. */
  uint32_t job_id;
  /** Version to start from. */
  uint32_t version;
  /** Bits of the version that may be changed; 0 where none may. */
  uint32_t version_mask;
  /** Earliest time of a header, in Unix seconds: start with it. */
  uint32_t min_ntime;
  /** Latest time of a header when this was asked for, in Unix seconds: one more for each second since. */
  uint32_t max_ntime;
  /** Compact form of the network's target, for the header. */
  uint32_t nbits;
  /** Number of extranonce bytes that the miner chooses; 0 on a standard channel. */
  uint32_t extranonce_size;
  /** Hash of the block before, as in the header. */
  uint8_t prev_hash[32];
  /**
   * Root of the merkle tree, as in the header, where `extranonce_size` is 0 on a standard channel; elsewhere it
   * follows from the extranonce, and this is zeros.
   */
  uint8_t merkle_root[32];
  /** A share's hash is at most this, least significant byte first. */
  uint8_t target[32];
  /** 1 where `merkle_root` is the root. */
  uint8_t has_merkle_root;
  /** The library's own: leave it as it is. */
  uint32_t tip_number;
  /** The library's own: leave it as it is. */
  uint32_t work_number;
} sv2_work;

/** What a miner chose to hash. */
typedef struct sv2_found {
  /** The whole version, rolled bits included. */
  uint32_t version;
  /** Time of the header, in Unix seconds. */
  uint32_t ntime;
  /** Nonce of the header. */
  uint32_t nonce;
  /** The miner's part of the extranonce: as many bytes as `sv2_work.extranonce_size` says. */
  struct sv2_bytes extranonce;
} sv2_found;

/** What became of a channel's shares. */
typedef struct sv2_share_counts {
  /** Handed in. */
  uint64_t submitted;
  /** Accepted, as the server counts. */
  uint64_t accepted;
  /** Rejected. */
  uint64_t rejected;
  /** Sum of the difficulties of the accepted ones, as the server counts. */
  uint64_t difficulty_sum;
} sv2_share_counts;
#endif

/**
 * What a library built without Rust's standard library needs of its platform.
 *
 * The functions may be called from any thread that calls the library, and must not call the library themselves. `context` is handed to
 * each of them as it is.
 */
typedef struct sv2_platform {
  /** For the caller's own use; may be NULL. */
  void *context;
  /** Gives `len` bytes (never 0) whose address is a multiple of `alignment` (a power of two), or NULL when there are none. */
  void *(*allocate)(void *context, size_t len, size_t alignment);
  /** Takes back what `allocate` gave for this `len` and `alignment`. */
  void (*free)(void *context, void *memory, size_t len, size_t alignment);
  /**
   * Called when the library has found a bug of its own and cannot go on. It must not return: restart the device, or end the
   * process. If it returns, the calling thread stops for ever.
   */
  void (*abort)(void *context);
} sv2_platform;

/** Done. */
#define SV2_OK 0

/** A pointer that must not be is NULL. */
#define SV2_NULL 1

/** A pointer is not aligned for what it points to. */
#define SV2_MISALIGNED 2

/** A length is longer than memory can be: more than half of the address space. */
#define SV2_BAD_LENGTH 3

/** Memory to write to overlaps memory to read from. */
#define SV2_OVERLAP 4

/** The pointer is no handle, or a handle of another kind. */
#define SV2_WRONG_HANDLE 5

/** The handle was freed. */
#define SV2_FREED 6

/** The handle is in use: by another thread, or by the call that this callback belongs to. */
#define SV2_BUSY 7

/** An earlier call on the handle failed half way, by a panic or for want of memory. Free it. */
#define SV2_FAILED 8

/** `SV2_MAX_HANDLES` handles are in use. */
#define SV2_TOO_MANY_HANDLES 9

/** No memory is left. Where the function does not say otherwise, nothing was changed. */
#define SV2_NO_MEMORY 10

/** A bug of the library: it panicked. The handle of the call, if any, can only be freed. */
#define SV2_PANIC 11

/** `sv2_init` has not been called. */
#define SV2_NOT_INITIALISED 12

/** `sv2_init` has been called before. */
#define SV2_ALREADY_INITIALISED 13

/** The buffer to write to is too short. */
#define SV2_BUFFER_TOO_SHORT 14

/** The callback for random bytes failed, or gave bytes that are not random. */
#define SV2_RANDOM_FAILED 15

/** The callback for the time failed. */
#define SV2_CLOCK_FAILED 16

/** The payload ends before the message does. */
#define SV2_MISSING_BYTES 30

/** A length prefix in the payload is above what the field's type allows. */
#define SV2_LENGTH_ABOVE_MAX 31

/** A field to encode is longer than its type allows. */
#define SV2_FIELD_TOO_LONG 32

/** An encoded sequence does not hold the elements that it is said to. */
#define SV2_BAD_SEQUENCE 33

/** The message is longer than a frame can be, 16 777 215 bytes. */
#define SV2_MESSAGE_TOO_LONG 34

/** A frame announces a longer payload than the decoder accepts. Close the connection. */
#define SV2_PAYLOAD_TOO_LONG 35

/** No whole frame is there yet: more bytes are needed. No error. */
#define SV2_NEED_BYTES 36

/** The sequence has no further element, or none at this position. No error. */
#define SV2_END 37

/** Events wait: take them with `sv2_miner_next_event` first. */
#define SV2_EVENTS_WAITING 60

/** The connection has ended. */
#define SV2_ENDED 61

/** The server has not taken the connection yet: wait for `SV2_EVENT_READY`. */
#define SV2_NOT_READY 62

/** No such channel is open. */
#define SV2_CHANNEL_NOT_OPEN 63

/** The channel has nothing to hash at the moment. */
#define SV2_NO_WORK 64

/** The chain has a newer tip than the work, or the channel a newer job. */
#define SV2_STALE_WORK 65

/** The extranonce has not the number of bytes that the work says. */
#define SV2_BAD_EXTRANONCE_SIZE 66

/** Bits of the version were changed that may not be. */
#define SV2_VERSION_NOT_ALLOWED 67

/** The header's time is before the earliest of the work. */
#define SV2_NTIME_TOO_EARLY 68

/** As many channels as were agreed to are open or asked for. */
#define SV2_TOO_MANY_CHANNELS 69

/** The server does not read: `SV2_MAX_OUTGOING_LEN` bytes wait to be sent. */
#define SV2_OUTGOING_FULL 70

/** No authority key: a character is wrong or missing. */
#define SV2_BAD_AUTHORITY_KEY 71

/** The config asks for what there is not. */
#define SV2_BAD_CONFIG 72

/** The server does not speak Noise as agreed, or its part of the handshake was changed on the way. */
#define SV2_HANDSHAKE_FAILED 80

/** The server's certificate is not signed by the authority: another pool, or somebody in between. */
#define SV2_CERTIFICATE_REFUSED 81

/** The server's certificate is not valid yet: check the clocks. */
#define SV2_CERTIFICATE_NOT_YET_VALID 82

/** The server's certificate is not valid any more: check the clocks. */
#define SV2_CERTIFICATE_EXPIRED 83

/** A frame cannot be decrypted: bytes were changed, lost, or out of order. */
#define SV2_CIPHER_FAILED 84

/** A frame does not hold the message that its header names. */
#define SV2_MALFORMED_MESSAGE 85

/** A message that has no place there. */
#define SV2_OUT_OF_ORDER 86

/** The server refused the connection. */
#define SV2_SETUP_REFUSED 87

/** The server chose a version of the protocol that was not offered. */
#define SV2_VERSION_NOT_OFFERED 88

/** The server wants versions left as they are, and the device must roll them. */
#define SV2_VERSION_ROLLING_REFUSED 89

/** The server opens extended channels only, and the device takes standard jobs only. */
#define SV2_STANDARD_CHANNELS_REFUSED 90

/** The server did not answer in time. */
#define SV2_NO_ANSWER 91

/** The server takes shares and says nothing. */
#define SV2_SERVER_SILENT 92

/** The message is not one for a miner. */
#define SV2_REFUSED_UNEXPECTED 100

/** An answer to a request that is not open. */
#define SV2_REFUSED_UNKNOWN_REQUEST 101

/** No channel or group of the connection ever had this id. */
#define SV2_REFUSED_UNKNOWN_CHANNEL 102

/** The channel is closed, or the group another one by now: the message was on its way. No error. */
#define SV2_REFUSED_FORMER_CHANNEL 103

/** The id of a new channel or group is taken. */
#define SV2_REFUSED_ID_IN_USE 104

/** A new tip names a job that was never sent, or pushed out. The channel has no work now. */
#define SV2_REFUSED_UNKNOWN_JOB 105

/** A job to start at once on a channel that knows of no tip. */
#define SV2_REFUSED_NO_PREV_HASH 106

/** The tip's nbits are no target. */
#define SV2_REFUSED_INVALID_NBITS 107

/** A job for channels of the other kind. */
#define SV2_REFUSED_WRONG_KIND 108

/** The parts of the coinbase do not go together with the channel's extranonce. */
#define SV2_REFUSED_BAD_COINBASE 109

/** The extranonce has not the size that was asked for or granted. Ends the connection. */
#define SV2_REFUSED_BAD_EXTRANONCE_SIZE 110

/** The target is easier than the easiest that was agreed to. Ends the connection. */
#define SV2_REFUSED_TARGET_TOO_EASY 111

/** An answer to a share that was never sent. Ends the connection. */
#define SV2_REFUSED_UNSENT_SHARE 112

/** A message of an unknown kind, which is skipped as the specification asks for. */
#define SV2_REFUSED_UNKNOWN_FRAME 113

#ifdef __cplusplus
extern "C" {
#endif /* __cplusplus */

/**
 * Makes a decoder that accepts payloads of up to `max_payload_len` bytes, and writes its handle to `decoder`.
 *
 * The caller frees it with `sv2_decoder_free`. `SV2_NO_MEMORY` and `SV2_TOO_MANY_HANDLES` leave nothing to free.
 *
 * `decoder` is NULL or can be written to.
 */
sv2_result sv2_decoder_new(uint32_t max_payload_len,
                           struct sv2_decoder **decoder);

/**
 * Copies bytes that arrived into the decoder, and writes how many it took to `taken`: all, or fewer when a whole frame waits.
 *
 * Call it until all are taken, and after each call `sv2_decoder_next` until it gives `SV2_NEED_BYTES`. The payload of the frame given last
 * is gone afterwards. `SV2_NO_MEMORY` takes none and changes nothing: the call may be repeated when there is memory again.
 * `SV2_PAYLOAD_TOO_LONG` when the stream was given up before.
 *
 * `data` leads to `len` bytes unless it is NULL or they are 0; `taken` is NULL or can be written to.
 */
sv2_result sv2_decoder_feed(struct sv2_decoder *decoder,
                            const uint8_t *data,
                            size_t len,
                            size_t *taken);

/**
 * Writes the next frame to `frame`. Its payload belongs to the decoder and is there until the next call with this handle.
 *
 * `SV2_NEED_BYTES` when no whole frame is there: `missing`, which may be NULL, is then the least number of bytes to feed before there is
 * more to say. `SV2_PAYLOAD_TOO_LONG` at a frame that announces too much: the stream has lost its frames, so the
 * decoder says the same for ever.
 *
 * `frame` and `missing` are NULL or can be written to.
 */
sv2_result sv2_decoder_next(struct sv2_decoder *decoder,
                            struct sv2_frame *frame,
                            size_t *missing);

/**
 * Writes 1 to `is_between` when the stream may end here, 0 when a part of a frame or a frame that was not taken is left in the decoder.
 *
 * Like every call with this handle it ends the life of the payload that `sv2_decoder_next` gave last.
 *
 * `is_between` is NULL or can be written to.
 */
sv2_result sv2_decoder_is_between_frames(struct sv2_decoder *decoder,
                                         uint8_t *is_between);

/**
 * Frees a decoder and the memory it holds. The handle and the payload it gave last are gone afterwards.
 *
 * A second time gives `SV2_FREED`; a call from within one on the same handle `SV2_BUSY`.
 */
sv2_result sv2_decoder_free(struct sv2_decoder *decoder);

/**
 * Calls each function of an environment and says whether it works: worth a call when a device starts.
 *
 * `SV2_RANDOM_FAILED` when the random function fails, gives bytes that are all the same, or gives the same bytes twice.
 * `SV2_CLOCK_FAILED` when the clock fails or goes back. `SV2_NULL` when one is missing.
 *
 * `environment` is NULL or leads to an environment whose functions do what their documentation says.
 */
sv2_result sv2_environment_check(const struct sv2_environment *environment);

/**
 * Reads a `SetupConnection` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_setup_connection_decode(const uint8_t *payload,
                                       size_t payload_len,
                                       struct sv2_setup_connection *out);

/**
 * Writes the frame of a `SetupConnection` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_setup_connection_encode(const struct sv2_setup_connection *message,
                                       uint8_t *buffer,
                                       size_t capacity,
                                       size_t *len);

/**
 * Reads a `SetupConnection.Success` from the payload of its frame into `out`, which points nowhere.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_setup_connection_success_decode(const uint8_t *payload,
                                               size_t payload_len,
                                               struct sv2_setup_connection_success *out);

/**
 * Writes the frame of a `SetupConnection.Success` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_setup_connection_success_encode(const struct sv2_setup_connection_success *message,
                                               uint8_t *buffer,
                                               size_t capacity,
                                               size_t *len);

/**
 * Reads a `SetupConnection.Error` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_setup_connection_error_decode(const uint8_t *payload,
                                             size_t payload_len,
                                             struct sv2_setup_connection_error *out);

/**
 * Writes the frame of a `SetupConnection.Error` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_setup_connection_error_encode(const struct sv2_setup_connection_error *message,
                                             uint8_t *buffer,
                                             size_t capacity,
                                             size_t *len);

/**
 * Reads a `ChannelEndpointChanged` from the payload of its frame into `out`, which points nowhere.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_channel_endpoint_changed_decode(const uint8_t *payload,
                                               size_t payload_len,
                                               struct sv2_channel_endpoint_changed *out);

/**
 * Writes the frame of a `ChannelEndpointChanged` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_channel_endpoint_changed_encode(const struct sv2_channel_endpoint_changed *message,
                                               uint8_t *buffer,
                                               size_t capacity,
                                               size_t *len);

/**
 * Reads a `Reconnect` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_reconnect_decode(const uint8_t *payload,
                                size_t payload_len,
                                struct sv2_reconnect *out);

/**
 * Writes the frame of a `Reconnect` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_reconnect_encode(const struct sv2_reconnect *message,
                                uint8_t *buffer,
                                size_t capacity,
                                size_t *len);

#if defined(SV2_MINER)
/**
 * Reads a `OpenStandardMiningChannel` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_open_standard_mining_channel_decode(const uint8_t *payload,
                                                   size_t payload_len,
                                                   struct sv2_open_standard_mining_channel *out);

/**
 * Writes the frame of a `OpenStandardMiningChannel` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_open_standard_mining_channel_encode(const struct sv2_open_standard_mining_channel *message,
                                                   uint8_t *buffer,
                                                   size_t capacity,
                                                   size_t *len);

/**
 * Reads a `OpenStandardMiningChannel.Success` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_open_standard_mining_channel_success_decode(const uint8_t *payload,
                                                           size_t payload_len,
                                                           struct sv2_open_standard_mining_channel_success *out);

/**
 * Writes the frame of a `OpenStandardMiningChannel.Success` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_open_standard_mining_channel_success_encode(const struct sv2_open_standard_mining_channel_success *message,
                                                           uint8_t *buffer,
                                                           size_t capacity,
                                                           size_t *len);

/**
 * Reads a `OpenMiningChannel.Error` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_open_mining_channel_error_decode(const uint8_t *payload,
                                                size_t payload_len,
                                                struct sv2_open_mining_channel_error *out);

/**
 * Writes the frame of a `OpenMiningChannel.Error` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_open_mining_channel_error_encode(const struct sv2_open_mining_channel_error *message,
                                                uint8_t *buffer,
                                                size_t capacity,
                                                size_t *len);

/**
 * Reads a `OpenExtendedMiningChannel` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_open_extended_mining_channel_decode(const uint8_t *payload,
                                                   size_t payload_len,
                                                   struct sv2_open_extended_mining_channel *out);

/**
 * Writes the frame of a `OpenExtendedMiningChannel` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_open_extended_mining_channel_encode(const struct sv2_open_extended_mining_channel *message,
                                                   uint8_t *buffer,
                                                   size_t capacity,
                                                   size_t *len);

/**
 * Reads a `OpenExtendedMiningChannel.Success` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_open_extended_mining_channel_success_decode(const uint8_t *payload,
                                                           size_t payload_len,
                                                           struct sv2_open_extended_mining_channel_success *out);

/**
 * Writes the frame of a `OpenExtendedMiningChannel.Success` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_open_extended_mining_channel_success_encode(const struct sv2_open_extended_mining_channel_success *message,
                                                           uint8_t *buffer,
                                                           size_t capacity,
                                                           size_t *len);

/**
 * Reads a `NewMiningJob` from the payload of its frame into `out`, which points nowhere.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_new_mining_job_decode(const uint8_t *payload,
                                     size_t payload_len,
                                     struct sv2_new_mining_job *out);

/**
 * Writes the frame of a `NewMiningJob` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_new_mining_job_encode(const struct sv2_new_mining_job *message,
                                     uint8_t *buffer,
                                     size_t capacity,
                                     size_t *len);

/**
 * Reads a `UpdateChannel` from the payload of its frame into `out`, which points nowhere.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_update_channel_decode(const uint8_t *payload,
                                     size_t payload_len,
                                     struct sv2_update_channel *out);

/**
 * Writes the frame of a `UpdateChannel` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_update_channel_encode(const struct sv2_update_channel *message,
                                     uint8_t *buffer,
                                     size_t capacity,
                                     size_t *len);

/**
 * Reads a `UpdateChannel.Error` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_update_channel_error_decode(const uint8_t *payload,
                                           size_t payload_len,
                                           struct sv2_update_channel_error *out);

/**
 * Writes the frame of a `UpdateChannel.Error` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_update_channel_error_encode(const struct sv2_update_channel_error *message,
                                           uint8_t *buffer,
                                           size_t capacity,
                                           size_t *len);

/**
 * Reads a `CloseChannel` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_close_channel_decode(const uint8_t *payload,
                                    size_t payload_len,
                                    struct sv2_close_channel *out);

/**
 * Writes the frame of a `CloseChannel` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_close_channel_encode(const struct sv2_close_channel *message,
                                    uint8_t *buffer,
                                    size_t capacity,
                                    size_t *len);

/**
 * Reads a `SetExtranoncePrefix` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_set_extranonce_prefix_decode(const uint8_t *payload,
                                            size_t payload_len,
                                            struct sv2_set_extranonce_prefix *out);

/**
 * Writes the frame of a `SetExtranoncePrefix` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_set_extranonce_prefix_encode(const struct sv2_set_extranonce_prefix *message,
                                            uint8_t *buffer,
                                            size_t capacity,
                                            size_t *len);

/**
 * Reads a `SubmitSharesStandard` from the payload of its frame into `out`, which points nowhere.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_submit_shares_standard_decode(const uint8_t *payload,
                                             size_t payload_len,
                                             struct sv2_submit_shares_standard *out);

/**
 * Writes the frame of a `SubmitSharesStandard` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_submit_shares_standard_encode(const struct sv2_submit_shares_standard *message,
                                             uint8_t *buffer,
                                             size_t capacity,
                                             size_t *len);

/**
 * Reads a `SubmitSharesExtended` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_submit_shares_extended_decode(const uint8_t *payload,
                                             size_t payload_len,
                                             struct sv2_submit_shares_extended *out);

/**
 * Writes the frame of a `SubmitSharesExtended` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_submit_shares_extended_encode(const struct sv2_submit_shares_extended *message,
                                             uint8_t *buffer,
                                             size_t capacity,
                                             size_t *len);

/**
 * Reads a `SubmitShares.Success` from the payload of its frame into `out`, which points nowhere.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_submit_shares_success_decode(const uint8_t *payload,
                                            size_t payload_len,
                                            struct sv2_submit_shares_success *out);

/**
 * Writes the frame of a `SubmitShares.Success` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_submit_shares_success_encode(const struct sv2_submit_shares_success *message,
                                            uint8_t *buffer,
                                            size_t capacity,
                                            size_t *len);

/**
 * Reads a `SubmitShares.Error` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_submit_shares_error_decode(const uint8_t *payload,
                                          size_t payload_len,
                                          struct sv2_submit_shares_error *out);

/**
 * Writes the frame of a `SubmitShares.Error` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_submit_shares_error_encode(const struct sv2_submit_shares_error *message,
                                          uint8_t *buffer,
                                          size_t capacity,
                                          size_t *len);

/**
 * Reads a `NewExtendedMiningJob` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_new_extended_mining_job_decode(const uint8_t *payload,
                                              size_t payload_len,
                                              struct sv2_new_extended_mining_job *out);

/**
 * Writes the frame of a `NewExtendedMiningJob` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_new_extended_mining_job_encode(const struct sv2_new_extended_mining_job *message,
                                              uint8_t *buffer,
                                              size_t capacity,
                                              size_t *len);

/**
 * Reads a `SetNewPrevHash` from the payload of its frame into `out`, which points nowhere.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_mining_set_new_prev_hash_decode(const uint8_t *payload,
                                               size_t payload_len,
                                               struct sv2_mining_set_new_prev_hash *out);

/**
 * Writes the frame of a `SetNewPrevHash` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_mining_set_new_prev_hash_encode(const struct sv2_mining_set_new_prev_hash *message,
                                               uint8_t *buffer,
                                               size_t capacity,
                                               size_t *len);

/**
 * Reads a `SetTarget` from the payload of its frame into `out`, which points nowhere.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_set_target_decode(const uint8_t *payload, size_t payload_len, struct sv2_set_target *out);

/**
 * Writes the frame of a `SetTarget` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_set_target_encode(const struct sv2_set_target *message,
                                 uint8_t *buffer,
                                 size_t capacity,
                                 size_t *len);

/**
 * Reads a `SetCustomMiningJob` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_set_custom_mining_job_decode(const uint8_t *payload,
                                            size_t payload_len,
                                            struct sv2_set_custom_mining_job *out);

/**
 * Writes the frame of a `SetCustomMiningJob` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_set_custom_mining_job_encode(const struct sv2_set_custom_mining_job *message,
                                            uint8_t *buffer,
                                            size_t capacity,
                                            size_t *len);

/**
 * Reads a `SetCustomMiningJob.Success` from the payload of its frame into `out`, which points nowhere.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_set_custom_mining_job_success_decode(const uint8_t *payload,
                                                    size_t payload_len,
                                                    struct sv2_set_custom_mining_job_success *out);

/**
 * Writes the frame of a `SetCustomMiningJob.Success` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_set_custom_mining_job_success_encode(const struct sv2_set_custom_mining_job_success *message,
                                                    uint8_t *buffer,
                                                    size_t capacity,
                                                    size_t *len);

/**
 * Reads a `SetCustomMiningJob.Error` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_set_custom_mining_job_error_decode(const uint8_t *payload,
                                                  size_t payload_len,
                                                  struct sv2_set_custom_mining_job_error *out);

/**
 * Writes the frame of a `SetCustomMiningJob.Error` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_set_custom_mining_job_error_encode(const struct sv2_set_custom_mining_job_error *message,
                                                  uint8_t *buffer,
                                                  size_t capacity,
                                                  size_t *len);

/**
 * Reads a `SetGroupChannel` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_set_group_channel_decode(const uint8_t *payload,
                                        size_t payload_len,
                                        struct sv2_set_group_channel *out);

/**
 * Writes the frame of a `SetGroupChannel` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_set_group_channel_encode(const struct sv2_set_group_channel *message,
                                        uint8_t *buffer,
                                        size_t capacity,
                                        size_t *len);
#endif

#if defined(SV2_TEMPLATE_PROVIDER)
/**
 * Reads a `CoinbaseOutputConstraints` from the payload of its frame into `out`, which points nowhere.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_coinbase_output_constraints_decode(const uint8_t *payload,
                                                  size_t payload_len,
                                                  struct sv2_coinbase_output_constraints *out);

/**
 * Writes the frame of a `CoinbaseOutputConstraints` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_coinbase_output_constraints_encode(const struct sv2_coinbase_output_constraints *message,
                                                  uint8_t *buffer,
                                                  size_t capacity,
                                                  size_t *len);

/**
 * Reads a `NewTemplate` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_new_template_decode(const uint8_t *payload,
                                   size_t payload_len,
                                   struct sv2_new_template *out);

/**
 * Writes the frame of a `NewTemplate` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_new_template_encode(const struct sv2_new_template *message,
                                   uint8_t *buffer,
                                   size_t capacity,
                                   size_t *len);

/**
 * Reads a `SetNewPrevHash` from the payload of its frame into `out`, which points nowhere.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_template_set_new_prev_hash_decode(const uint8_t *payload,
                                                 size_t payload_len,
                                                 struct sv2_template_set_new_prev_hash *out);

/**
 * Writes the frame of a `SetNewPrevHash` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_template_set_new_prev_hash_encode(const struct sv2_template_set_new_prev_hash *message,
                                                 uint8_t *buffer,
                                                 size_t capacity,
                                                 size_t *len);

/**
 * Reads a `RequestTransactionData` from the payload of its frame into `out`, which points nowhere.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_request_transaction_data_decode(const uint8_t *payload,
                                               size_t payload_len,
                                               struct sv2_request_transaction_data *out);

/**
 * Writes the frame of a `RequestTransactionData` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_request_transaction_data_encode(const struct sv2_request_transaction_data *message,
                                               uint8_t *buffer,
                                               size_t capacity,
                                               size_t *len);

/**
 * Reads a `RequestTransactionData.Success` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_request_transaction_data_success_decode(const uint8_t *payload,
                                                       size_t payload_len,
                                                       struct sv2_request_transaction_data_success *out);

/**
 * Writes the frame of a `RequestTransactionData.Success` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_request_transaction_data_success_encode(const struct sv2_request_transaction_data_success *message,
                                                       uint8_t *buffer,
                                                       size_t capacity,
                                                       size_t *len);

/**
 * Reads a `RequestTransactionData.Error` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_request_transaction_data_error_decode(const uint8_t *payload,
                                                     size_t payload_len,
                                                     struct sv2_request_transaction_data_error *out);

/**
 * Writes the frame of a `RequestTransactionData.Error` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_request_transaction_data_error_encode(const struct sv2_request_transaction_data_error *message,
                                                     uint8_t *buffer,
                                                     size_t capacity,
                                                     size_t *len);

/**
 * Reads a `SubmitSolution` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
 *
 * `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_submit_solution_decode(const uint8_t *payload,
                                      size_t payload_len,
                                      struct sv2_submit_solution *out);

/**
 * Writes the frame of a `SubmitSolution` to `buffer`, and its length to `len`; keeps nothing of `message`.
 *
 * `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
 * when no frame can hold the message. Nothing is to be freed.
 *
 * The pointers lead to what the head of `sv2.h` says, or are NULL.
 */
sv2_result sv2_submit_solution_encode(const struct sv2_submit_solution *message,
                                      uint8_t *buffer,
                                      size_t capacity,
                                      size_t *len);
#endif

#if defined(SV2_MINER)
/**
 * Reads a pool's authority key from its text, base58 with a checksum, as pools publish it, and writes its 32 bytes to `key`.
 *
 * `SV2_BAD_AUTHORITY_KEY` when the text is no such key.
 *
 * `text` leads to `len` bytes unless it is NULL or they are 0; `key` is NULL or leads to 32 bytes that can be written to.
 */
sv2_result sv2_authority_key(const uint8_t *text,
                             size_t len,
                             uint8_t *key);

/**
 * Makes a connection's miner and writes its handle to `miner`. Its first bytes wait to be sent at once.
 *
 * `config` is read during the call only; `environment` is copied, and its functions are called during calls with the handle, to the end of
 * `sv2_miner_free`. The caller frees the miner with `sv2_miner_free`, one for each connection.
 *
 * `SV2_BAD_CONFIG` for a security that there is not or too many channels, `SV2_BAD_AUTHORITY_KEY`, `SV2_FIELD_TOO_LONG`,
 * `SV2_RANDOM_FAILED`, `SV2_CLOCK_FAILED`, `SV2_NO_MEMORY` and `SV2_TOO_MANY_HANDLES` leave nothing to free.
 *
 * `config` is NULL or leads to a config whose pointers lead to what they say; `environment` is NULL or leads to an environment
 * whose functions do what their documentation says until the miner is freed; `miner` is NULL or can be written to.
 */
sv2_result sv2_miner_new(const struct sv2_miner_config *config,
                         const struct sv2_environment *environment,
                         struct sv2_miner **miner);

/**
 * Frees a miner and the memory it holds. The server is told nothing: close channels before, where that matters.
 *
 * A second time gives `SV2_FREED`; a call from within one on the same handle `SV2_BUSY`.
 */
sv2_result sv2_miner_free(struct sv2_miner *miner);

/**
 * Takes bytes that arrived, until there is an event or all are taken, and writes how many it took to `taken`.
 *
 * Take all events after each call and hand in the rest. The bytes are copied. `SV2_EVENTS_WAITING` takes none. `SV2_NO_MEMORY`
 * writes `taken` too: what was taken is not lost, and the next call, with the rest or with no bytes, goes on from there.
 * `SV2_ENDED` after `SV2_EVENT_ENDED`.
 *
 * `data` leads to `len` bytes unless it is NULL or they are 0; `taken` is NULL or can be written to.
 */
sv2_result sv2_miner_receive(struct sv2_miner *miner,
                             const uint8_t *data,
                             size_t len,
                             size_t *taken);

/**
 * Writes the next event to `event`, in order. `SV2_END` when there is none.
 *
 * `event` is NULL or can be written to.
 */
sv2_result sv2_miner_next_event(struct sv2_miner *miner, struct sv2_event *event);

/**
 * Writes what waits to be sent to `data` and `len`; `len` is 0 when nothing does.
 *
 * The bytes belong to the miner and are there until the next call with its handle. Say what was sent with `sv2_miner_sent`.
 *
 * `data` and `len` are NULL or can be written to.
 */
sv2_result sv2_miner_outgoing(struct sv2_miner *miner,
                              const uint8_t **data,
                              size_t *len);

/** Says that the first `len` bytes of what waited were sent. */
sv2_result sv2_miner_sent(struct sv2_miner *miner, size_t len);

/**
 * Asks for a standard channel and writes the number of the request to `request_id`; an event answers it.
 *
 * `terms` is read during the call only. `SV2_NOT_READY` before `SV2_EVENT_READY`, `SV2_TOO_MANY_CHANNELS`, `SV2_OUTGOING_FULL`,
 * `SV2_ENDED`, `SV2_NO_MEMORY`.
 *
 * `terms` is NULL or leads to terms whose pointers lead to what they say; `request_id` is NULL or can be written to.
 */
sv2_result sv2_miner_open_standard(struct sv2_miner *miner,
                                   const struct sv2_channel_terms *terms,
                                   uint32_t *request_id);

/**
 * Asks for an extended channel, as `sv2_miner_open_standard` does for a standard one.
 *
 * As for `sv2_miner_open_standard`.
 */
sv2_result sv2_miner_open_extended(struct sv2_miner *miner,
                                   const struct sv2_channel_terms *terms,
                                   uint32_t *request_id);

/**
 * Tells the server of another hash rate or easiest target of a channel. What changes, if anything, comes with later work.
 *
 * `SV2_CHANNEL_NOT_OPEN`, and as for `sv2_miner_open_standard`.
 *
 * `terms` is NULL or leads to terms.
 */
sv2_result sv2_miner_update_channel(struct sv2_miner *miner,
                                    uint32_t channel_id,
                                    const struct sv2_channel_terms *terms);

/**
 * Ends a channel, for the `reason` of `len` bytes, at most 255, which may be empty. No event tells of it.
 *
 * `SV2_CHANNEL_NOT_OPEN`, and as for `sv2_miner_open_standard`.
 *
 * `reason` leads to `len` bytes unless it is NULL or they are 0.
 */
sv2_result sv2_miner_close_channel(struct sv2_miner *miner,
                                   uint32_t channel_id,
                                   const uint8_t *reason,
                                   size_t len);

/**
 * Writes what there is to hash on a channel to `work`, which then belongs to the caller and needs no freeing.
 *
 * `SV2_NO_WORK` when the channel has no job, `SV2_CHANNEL_NOT_OPEN`, `SV2_CLOCK_FAILED`.
 *
 * `work` is NULL or can be written to.
 */
sv2_result sv2_miner_work(struct sv2_miner *miner, uint32_t channel_id, struct sv2_work *work);

/**
 * Writes the 80 bytes to hash for what the miner chose to `header`.
 *
 * Where the root comes with the work this works as long as the work is kept. Elsewhere the miner's newest work of the channel is
 * needed, and `SV2_STALE_WORK` says that this is not it. `SV2_BAD_EXTRANONCE_SIZE`, `SV2_VERSION_NOT_ALLOWED` and
 * `SV2_NTIME_TOO_EARLY` are headers that no server would take; `SV2_CHANNEL_NOT_OPEN`.
 *
 * `work` is NULL or leads to work; `found` is NULL or leads to a choice whose pointer leads to what it says; `header` is NULL or leads to 80
 * bytes that can be written to.
 */
sv2_result sv2_work_header(struct sv2_miner *miner,
                           const struct sv2_work *work,
                           const struct sv2_found *found,
                           uint8_t *header);

/**
 * Hands in a share and writes its number within the channel to `sequence_number`; an event answers it.
 *
 * Whether it meets the target is not checked: `sv2_hash_meets_target` says. `SV2_STALE_WORK` when the chain has a new tip,
 * `SV2_BAD_EXTRANONCE_SIZE`, `SV2_VERSION_NOT_ALLOWED`, `SV2_NTIME_TOO_EARLY`, `SV2_CHANNEL_NOT_OPEN`,
 * `SV2_OUTGOING_FULL`, `SV2_ENDED` and `SV2_NO_MEMORY` hand in nothing.
 *
 * `work` is NULL or leads to work; `found` is NULL or leads to a choice whose pointer leads to what it says; `sequence_number` is
 * NULL or can be written to.
 */
sv2_result sv2_miner_submit(struct sv2_miner *miner,
                            const struct sv2_work *work,
                            const struct sv2_found *found,
                            uint32_t *sequence_number);

/**
 * Writes the time of the monotonic clock, in microseconds, at which `sv2_miner_handle_timeout` is due to `due_us`. `SV2_END` when
 * nothing is waited for. It may change with every other call.
 *
 * `due_us` is NULL or can be written to.
 */
sv2_result sv2_miner_timeout(struct sv2_miner *miner,
                             uint64_t *due_us);

/** Looks at the clock: a server that did not answer in time ends the connection, as an event tells. Harmless when nothing is due. */
sv2_result sv2_miner_handle_timeout(struct sv2_miner *miner);

/**
 * Writes how many messages of the server were refused for the `reason` to `count`: one of `SV2_REFUSED_...`.
 *
 * `SV2_END` for any other number.
 *
 * `count` is NULL or can be written to.
 */
sv2_result sv2_miner_refused(struct sv2_miner *miner, sv2_result reason, uint64_t *count);

/**
 * Writes what became of the shares of an open channel to `counts`. `SV2_CHANNEL_NOT_OPEN`.
 *
 * `counts` is NULL or can be written to.
 */
sv2_result sv2_miner_share_counts(struct sv2_miner *miner,
                                  uint32_t channel_id,
                                  struct sv2_share_counts *counts);

/**
 * Writes the hash of the 80 bytes of a `header` to the 32 bytes of `hash`, least significant first. Works before `sv2_init`.
 *
 * `header` is NULL or leads to 80 bytes; `hash` is NULL or leads to 32 bytes that can be written to.
 */
sv2_result sv2_header_hash(const uint8_t *header,
                           uint8_t *hash);

/**
 * Writes 1 to `meets` when the 32 bytes of `hash` are at or below the 32 bytes of `target`, otherwise 0. Works before `sv2_init`.
 *
 * `hash` and `target` are NULL or lead to 32 bytes each; `meets` is NULL or can be written to.
 */
sv2_result sv2_hash_meets_target(const uint8_t *hash,
                                 const uint8_t *target,
                                 uint8_t *meets);
#endif

/**
 * Tells the library about its platform: once, before any handle is made.
 *
 * `platform` is read during the call only. A library built without the standard library needs all three functions; one built with it
 * has its own, for which `platform` may be NULL and is otherwise left alone, so that the same program runs on both.
 *
 * `SV2_NULL` when `platform` or one of its functions is missing; `SV2_ALREADY_INITIALISED` at a second call.
 *
 * `platform` is NULL or leads to a platform whose functions do what their documentation says.
 */
sv2_result sv2_init(const struct sv2_platform *platform);

/** Number of handles in use, of all kinds together; at most `SV2_MAX_HANDLES`. 0 after a program has freed all of its handles. */
size_t sv2_handles_in_use(void);

/** Version of the library, such as "0.1.0", as static text that ends with a zero byte. Works before `sv2_init`. */
const char *sv2_version(void);

/**
 * What `result` means, as English text that ends with a zero byte.
 *
 * The text is static: it is never freed and never changes. Numbers that are no result have one too. Works before `sv2_init`.
 */
const char *sv2_result_text(sv2_result result);

/**
 * Writes the number at `index`, counted from 0, to `out`.
 *
 * `SV2_END` when the sequence ends before.
 *
 * `seq` is NULL or leads to a sequence whose pointers lead to its elements; `out` is NULL or can be written to.
 */
sv2_result sv2_u32_seq_at(const struct sv2_u32_seq *seq,
                          size_t index,
                          uint32_t *out);

/**
 * Takes the first element off `rest`, a copy of a decoded message's sequence, and writes it to `item`, which borrows from the same
 * payload.
 *
 * `SV2_END` when no element is left. `SV2_BAD_SEQUENCE` when the bytes do not hold one, which no decoded sequence gives.
 *
 * `rest` is NULL or leads to a sequence whose pointers lead to its elements; `item` is NULL or can be written to.
 */
sv2_result sv2_b016m_seq_next(struct sv2_b016m_seq *rest,
                              struct sv2_bytes *item);

#ifdef __cplusplus
}  // extern "C"
#endif /* __cplusplus */

#endif  /* SV2_H */
