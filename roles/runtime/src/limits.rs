//! Limits that the operating system sets on the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Raises the number of files and sockets the process may open to the hard limit, and logs what it is now.
///
/// Gives that number, `None` where there is no limit. A pool of 5000 miners needs 5000 of them; the usual soft limit
/// is 1024.
pub fn raise_open_files() -> Option<u64> {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        warn!(limit = before.current, %error, "cannot raise the limit of open files; raise it with ulimit -n");
        return before.current;
    }
    info!(
        from = before.current,
        to = before.maximum,
        "limit of open files"
    );
    before.maximum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise_open_files();
        let now = getrlimit(Resource::Nofile);
        assert_eq!((now.current, limit), (now.maximum, now.maximum));
    }
}
