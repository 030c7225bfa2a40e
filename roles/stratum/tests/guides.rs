//! The guides explain every reason that the programs count by.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use network_helpers_sv2::CloseReason;
use roles_logic_sv2::share::RejectReason;
use stratum_runtime::Refusal;

fn explains(guide: &str, names: impl IntoIterator<Item = &'static str>) {
    let path = format!("{}/../../docs/{guide}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    for name in names {
        assert!(
            text.contains(&format!("`{name}`")),
            "docs/{guide} does not explain `{name}`"
        );
    }
}

#[test]
fn the_pools_guide_explains_all_ends_of_connections_and_shares() {
    explains(
        "pool.md",
        CloseReason::ALL.iter().map(|reason| reason.name()),
    );
    explains("pool.md", Refusal::ALL.map(Refusal::name));
    explains("pool.md", RejectReason::ALL.map(RejectReason::error_code));
}
