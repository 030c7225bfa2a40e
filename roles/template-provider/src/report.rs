//! How the template provider stands, in a line of its log.

use stratum_runtime::{REPORT_INTERVAL, Reasons};

use crate::{Snapshot, Watcher};

/// Says how the template provider stands, every [`REPORT_INTERVAL`] in which something has changed. Never ends.
pub(crate) async fn repeat(watcher: &Watcher) {
    let mut last = told(&watcher.snapshot());
    loop {
        tokio::time::sleep(REPORT_INTERVAL).await;
        let snapshot = watcher.snapshot();
        let now = told(&snapshot);
        if now != last {
            log("how the template provider stands", &snapshot);
        }
        last = now;
    }
}

/// What is worth a line when it changes. Templates are not: a node has new ones all the time.
fn told(snapshot: &Snapshot) -> impl PartialEq + use<> {
    let hub = &snapshot.hub;
    (
        (snapshot.connections, snapshot.accepted, snapshot.panics),
        (hub.node_status.clone(), hub.tips, hub.blocks_stored),
        (hub.blocks_unanswered, hub.blocks_refused.clone()),
        (hub.solutions_refused.clone(), snapshot.refused.clone()),
        (snapshot.closed.clone(), snapshot.rejects.clone()),
    )
}

pub(crate) fn log(what: &'static str, snapshot: &Snapshot) {
    let hub = &snapshot.hub;
    let blocks_refused: u64 = hub.blocks_refused.values().sum();
    tracing::info!(
        connections = snapshot.connections,
        node = %hub.node_status,
        height = hub.template.as_ref().map(|template| template.height),
        templates = hub.templates,
        solutions = hub.solutions,
        solutions_refused = %Reasons(&hub.solutions_refused),
        blocks_stored = hub.blocks_stored,
        blocks_refused,
        blocks_unanswered = hub.blocks_unanswered,
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
    fn a_line_is_worth_it_when_something_happened_to_a_client_or_a_block() {
        let still = Snapshot::default();
        let changes: [fn(&mut Snapshot); 6] = [
            |snapshot| snapshot.connections = 1,
            |snapshot| snapshot.hub.node_status = bitcoin_node::NodeStatus::NoPeers,
            |snapshot| snapshot.hub.tips = 1,
            |snapshot| snapshot.hub.blocks_unanswered = 1,
            |snapshot| snapshot.closed = [("idle", 1)].into(),
            |snapshot| snapshot.rejects = [("out-of-order", 1)].into(),
        ];
        for change in changes {
            let mut moved = still.clone();
            change(&mut moved);
            assert!(told(&moved) != told(&still));
        }
        let mut moved = still.clone();
        moved.hub.templates = 1;
        assert!(told(&moved) == told(&still));
    }
}
