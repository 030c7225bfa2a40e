//! What Rust code must not hold.

use super::code::{code_only, lines_with_word};
use super::{Finding, Tree};

/// Where `unsafe` may stand: the pooled buffers, the SIMD hasher, the C interface, the allocator of the no_std test.
const UNSAFE_PLACES: &[&str] = &[
    "utils/buffer/",
    "roles/test-utils/mining-device/src/hasher/",
    "protocols/v2/sv2-ffi/",
    "test/no-std/",
];

/// `unsafe` stands only where it is audited.
pub(super) fn unsafe_places(tree: &Tree) -> Vec<Finding> {
    let fix = "write it in safe Rust, or take it to utils/buffer";
    let mut findings = lines_with(tree, &["unsafe"], "unsafe code outside its places", fix);
    findings.retain(|finding| {
        !UNSAFE_PLACES
            .iter()
            .any(|place| finding.path.starts_with(place))
    });
    findings
}

/// A name says what comes back; `get_` says nothing.
pub(super) fn no_get_prefix(tree: &Tree) -> Vec<Finding> {
    lines_with(
        tree,
        &["fn get_"],
        "a function name starts with get_",
        "name it after what it returns",
    )
}

/// A test runs or does not exist.
pub(super) fn no_ignored_tests(tree: &Tree) -> Vec<Finding> {
    lines_with(
        tree,
        &["#[ignore"],
        "an ignored test",
        "make it pass and fast, or delete it",
    )
}

/// Nothing is left to be done later, nothing of a debugging evening stays.
pub(super) fn nothing_left_to_do(tree: &Tree) -> Vec<Finding> {
    let words = ["todo!", "dbg!", "unimplemented!"];
    lines_with(
        tree,
        &words,
        "a placeholder or debugging macro",
        "finish it or take it out",
    )
}

/// Every queue has a limit: a channel without one turns a slow reader into lost memory.
pub(super) fn bounded_channels(tree: &Tree) -> Vec<Finding> {
    let words = [
        "unbounded_channel",
        "unbounded",
        "UnboundedSender",
        "mpsc::channel()",
        "mpsc::channel::<",
    ];
    let mut findings = lines_with(
        tree,
        &words,
        "a channel without a bound",
        "use a bounded one with a named limit",
    );
    // tokio's bounded channel has the same name with a capacity between the parentheses.
    findings.retain(|finding| {
        let line = tree
            .text(&finding.path)
            .and_then(|text| text.lines().nth(finding.line - 1))
            .unwrap_or_default();
        line.contains("nbounded") || line.contains("channel()") || line.contains(">()")
    });
    findings
}

fn lines_with(tree: &Tree, words: &[&str], what: &str, fix: &'static str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending_in(".rs") {
        let code = code_only(text);
        let mut lines: Vec<_> = words
            .iter()
            .flat_map(|word| lines_with_word(&code, word))
            .collect();
        lines.sort_unstable();
        lines.dedup();
        findings.extend(
            lines
                .into_iter()
                .map(|line| Finding::new(path, line, what, fix)),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_channel_is_fine() {
        let code = "fn f() {\n    tokio::sync::mpsc::channel::<u8>(LIMIT);\n    mpsc::channel(LIMIT);\n}\n";
        assert!(bounded_channels(&Tree::from_texts(&[("roles/a/src/lib.rs", code)])).is_empty());
    }

    #[test]
    fn a_comment_may_name_what_is_forbidden() {
        let code = "// unsafe, todo!() and dbg! are named here\nconst A: &str = \"#[ignore]\";\n";
        let tree = Tree::from_texts(&[("roles/a/src/lib.rs", code)]);
        for rule in [unsafe_places, nothing_left_to_do, no_ignored_tests] {
            assert!(rule(&tree).is_empty());
        }
    }

    #[test]
    fn a_lint_attribute_is_no_unsafe_code() {
        assert!(
            unsafe_places(&Tree::from_texts(&[(
                "a/src/lib.rs",
                "#![forbid(unsafe_code)]\n"
            )]))
            .is_empty()
        );
    }
}
