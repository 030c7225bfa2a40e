//! How the pool stands, in a line of its log.

use std::time::Duration;

use bitcoin_node::hub::HubSnapshot;
use stratum_runtime::{REPORT_INTERVAL, Rate, Reasons};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{Snapshot, Watcher};

/// Looks at the pool, and at the node behind it when that is followed in this process.
pub(crate) struct Report {
    pub(crate) pool: Watcher,
    pub(crate) hub: Option<watch::Receiver<HubSnapshot>>,
    pub(crate) started: Instant,
}

impl Report {
    /// Says how the pool stands, every [`REPORT_INTERVAL`] in which something has changed. Never ends.
    pub(crate) async fn repeat(&self) {
        let mut last = self.pool.snapshot();
        let mut last_templates = self.templates(&last);
        loop {
            tokio::time::sleep(REPORT_INTERVAL).await;
            let now = self.pool.snapshot();
            let templates = self.templates(&now);
            if told(&now) != told(&last) || templates != last_templates {
                let hashrate = rate(&last, &now, REPORT_INTERVAL);
                log("how the pool stands", &now, hashrate, &templates);
            }
            (last, last_templates) = (now, templates);
        }
    }

    /// Says what came of it all.
    pub(crate) fn end(&self) {
        let now = self.pool.snapshot();
        let hashrate = rate(&Snapshot::default(), &now, self.started.elapsed());
        log("the pool has ended", &now, hashrate, &self.templates(&now));
    }

    /// How it stands with templates.
    fn templates(&self, snapshot: &Snapshot) -> String {
        let source = &snapshot.source;
        match &self.hub {
            Some(hub) => hub.borrow().node_status.to_string(),
            None if source.is_connected => "connected".to_owned(),
            None => format!("not connected: {}", source.last_failure),
        }
    }
}

/// Hashes per second between two looks.
fn rate(before: &Snapshot, now: &Snapshot, elapsed: Duration) -> Rate {
    let secs = elapsed.as_secs_f64();
    match secs > 0.0 {
        true => Rate((now.hashes - before.hashes).max(0.0) / secs),
        false => Rate(0.0),
    }
}

/// What is worth a line when it changes.
fn told(snapshot: &Snapshot) -> impl PartialEq + use<> {
    let source = &snapshot.source;
    (
        (snapshot.connections, snapshot.accepted, snapshot.panics),
        (snapshot.shares_accepted, snapshot.shares_rejected.clone()),
        (source.failures, source.blocks_submitted),
        (
            snapshot.refused.clone(),
            snapshot.closed.clone(),
            snapshot.rejects.clone(),
        ),
    )
}

fn log(what: &'static str, snapshot: &Snapshot, hashrate: Rate, templates: &str) {
    tracing::info!(
        connections = snapshot.connections,
        %hashrate,
        shares = snapshot.shares_accepted,
        rejected = %Reasons(&snapshot.shares_rejected),
        blocks = snapshot.source.blocks_submitted,
        templates,
        refused = %Reasons(&snapshot.refused),
        closed = %Reasons(&snapshot.closed),
        not_done = %Reasons(&snapshot.rejects),
        panics = snapshot.panics,
        "{what}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashrate_is_that_between_two_looks() {
        let at = |hashes| Snapshot {
            hashes,
            ..Snapshot::default()
        };
        let minute = Duration::from_secs(60);
        assert_eq!(rate(&at(1e9), &at(61e9), minute).to_string(), "1.00 GH/s");
        assert_eq!(
            rate(&at(0.0), &at(1.0), Duration::ZERO).to_string(),
            "0.00 H/s"
        );
    }

    #[test]
    fn a_line_is_worth_it_when_any_counter_moves() {
        let still = Snapshot::default();
        assert!(
            told(&still)
                == told(&Snapshot {
                    hashes: 1.0,
                    ..still.clone()
                })
        );
        let changes: [fn(&mut Snapshot); 6] = [
            |snapshot| snapshot.connections = 1,
            |snapshot| snapshot.shares_accepted = 1,
            |snapshot| snapshot.source.failures = 1,
            |snapshot| snapshot.shares_rejected = [("stale-share", 1)].into(),
            |snapshot| snapshot.closed = [("idle", 1)].into(),
            |snapshot| snapshot.rejects = [("open-refused", 1)].into(),
        ];
        for change in changes {
            let mut moved = still.clone();
            change(&mut moved);
            assert!(told(&moved) != told(&still));
        }
    }
}
