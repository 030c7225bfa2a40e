//! Between Stratum V1 and V2: jobs, shares, difficulties, and a miner's session on an extended channel.
//!
//! [`mapping`] and [`difficulty`] are pure functions: what one protocol says in the words of the other; [`layout`] divides
//! an extranonce between miners. [`bridge`] is one Sv1 miner on an extended channel's work, as a state machine without
//! I/O.
//!
//! ```
//! use stratum_translation::mapping::{ShareTerms, share};
//! use sv1_api::client_message::Submit;
//!
//! let submit = Submit {
//!     worker: "alice.rig1".into(),
//!     job_id: "7".into(),
//!     extranonce2: vec![1, 2, 3, 4],
//!     ntime: 1_700_000_000,
//!     nonce: 5,
//!     version_bits: Some(0x0000_2000),
//! };
//! let terms = ShareTerms {
//!     channel_id: 1,
//!     sequence_number: 1,
//!     job_id: 7,
//!     job_version: 0x2000_0000,
//!     version_mask: Some(0x1fff_e000),
//!     extranonce_part: &[9],
//! };
//! let upstream = share(&submit, &terms).unwrap();
//! assert_eq!(upstream.version, 0x2000_2000);
//! assert_eq!(upstream.extranonce.as_bytes(), [9, 1, 2, 3, 4]);
//! ```

pub mod bridge;
pub mod difficulty;
pub mod layout;
pub mod mapping;
