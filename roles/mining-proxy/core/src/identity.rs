//! Under which name a miner's channel is opened.

use stratum_translation::mapping::shortened;
use sv1_api::worker::WorkerName;

/// Bytes of a `user_identity` (`STR0_255`).
const MAX_IDENTITY_LEN: usize = 255;

/// Bytes for a worker's name that are worth it: a digest, and a few of its own.
const MIN_WORKER_ROOM: usize = 16;

/// The identity of the channel of a miner that calls itself `user`.
///
/// With an identity of the operator's the worker's part of the name is put behind it, with the separator that the identity's
/// form has; without one the miner's name is taken as it is. Names too long are shortened and stay distinct.
///
/// ```
/// use mining_proxy_core::channel_identity;
/// assert_eq!(channel_identity(Some("farm"), "alice.rig1"), "farm.rig1");
/// assert_eq!(channel_identity(Some("sri/donate"), "alice.rig1"), "sri/donate/rig1");
/// assert_eq!(channel_identity(None, "alice.rig1"), "alice.rig1");
/// ```
pub fn channel_identity(configured: Option<&str>, user: &str) -> String {
    let Some(base) = configured else {
        return shortened(user, MAX_IDENTITY_LEN);
    };
    let name = WorkerName::parse(user);
    let worker = if name.worker.is_empty() {
        name.account
    } else {
        name.worker
    };
    let separator = if base.starts_with("sri/") { '/' } else { '.' };
    match MAX_IDENTITY_LEN.saturating_sub(base.len() + 1) {
        room if room >= MIN_WORKER_ROOM && !worker.is_empty() => {
            format!("{base}{separator}{}", shortened(&worker, room))
        }
        _ => shortened(base, MAX_IDENTITY_LEN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(configured: Option<&str>, user: &str, expected: &str) {
        assert_eq!(channel_identity(configured, user), expected);
    }

    #[test]
    fn workers_follow_the_form_of_the_identity() {
        check(Some("farm"), "bc1q_rig7", "farm.rig7");
        check(Some("farm"), ".rig7", "farm.rig7");
        check(Some("farm"), "rig7", "farm.rig7");
        check(Some("farm"), "", "farm");
        check(Some("sri/solo/bc1q"), "x.rig7", "sri/solo/bc1q/rig7");
        check(None, "bc1q_rig7", "bc1q_rig7");
    }

    #[test]
    fn long_names_fit_and_stay_distinct() {
        let long = |end: &str| format!("{}{end}", "w".repeat(300));
        let one = channel_identity(Some("farm"), &long("1"));
        let other = channel_identity(Some("farm"), &long("2"));
        assert_ne!(one, other);
        assert!(one.len() <= 255 && one.starts_with("farm.www"));
        let base = "b".repeat(250);
        check(Some(&base), "x.rig", &base);
        assert_eq!(channel_identity(Some(&long("")), "x").len(), 255);
        assert_ne!(
            channel_identity(None, &long("1")),
            channel_identity(None, &long("2"))
        );
    }
}
