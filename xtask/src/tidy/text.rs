//! What no text file may hold.

use super::{Finding, Tree};

/// Where one person's or machine's files live. In two parts, or this file would break its own rule.
const PRIVATE_FOLDERS: &[&str] = &[
    concat!("/ro", "ot"),
    concat!("/ho", "me"),
    concat!("/Us", "ers"),
    concat!("/wo", "rk"),
];

/// Hosts that anyone can reach and that are part of the subject.
const PUBLIC_HOSTS: &[&str] = &[
    "bitcoin.org",
    "bitcoincore.org",
    "crates.io",
    "doc.rust-lang.org",
    "docs.rs",
    "en.bitcoin.it",
    "github.com",
    "keepachangelog.com",
    "noiseprotocol.org",
    "rustup.rs",
    "semver.org",
    "sh.rustup.rs",
    "spdx.org",
    "static.crates.io",
    "stratumprotocol.org",
    "www.apache.org",
    "www.w3.org",
];

/// Endings of host names that are reserved for examples and local networks.
const EXAMPLE_HOSTS: &[&str] = &[
    ".example",
    ".test",
    ".invalid",
    ".localhost",
    ".local",
    "example.com",
    "example.org",
];

/// Files that are data, not prose: they may keep their spaces.
const DATA: &str = "test/vectors/";

/// No absolute path of somebody's machine.
pub(super) fn no_private_paths(tree: &Tree) -> Vec<Finding> {
    let in_line = |line: &str| {
        PRIVATE_FOLDERS
            .iter()
            .find(|folder| has_path(line, folder))
            .copied()
    };
    lines(tree)
        .filter_map(|(path, number, line)| Some((path, number, in_line(line)?)))
        .map(|(path, number, folder)| {
            Finding::new(
                path,
                number,
                format!("a path under {folder}"),
                "write it relative to the repository",
            )
        })
        .collect()
}

fn has_path(line: &str, folder: &str) -> bool {
    let inside_path = |c: char| c.is_alphanumeric() || "_-.~}>)/*".contains(c);
    line.match_indices(folder).any(|(at, _)| {
        let after = &line[at + folder.len()..];
        !line[..at].ends_with(inside_path) && after.starts_with('/')
    })
}

/// Every address points to a host that anyone can reach.
pub(super) fn public_hosts(tree: &Tree) -> Vec<Finding> {
    let private_host = |line: &str| hosts(line).find(|host| !is_public(host)).map(str::to_owned);
    lines(tree)
        .filter_map(|(path, number, line)| Some((path, number, private_host(line)?)))
        .map(|(path, number, host)| {
            let fix = "take it out, or add it to PUBLIC_HOSTS in xtask/src/tidy/text.rs if anyone can reach it";
            Finding::new(path, number, format!("the host {host} is not known to be public"), fix)
        })
        .collect()
}

fn hosts(line: &str) -> impl Iterator<Item = &str> {
    ["http://", "https://"]
        .into_iter()
        .flat_map(move |scheme| line.split(scheme).skip(1))
        .map(|rest| {
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && !"-._@{}$<".contains(c))
                .unwrap_or(rest.len());
            rest[..end]
                .rsplit('@')
                .next()
                .unwrap_or_default()
                .trim_end_matches('.')
        })
}

fn is_public(host: &str) -> bool {
    let is_number = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    let is_placeholder = host.contains(['{', '$', '<']);
    is_number
        || is_placeholder
        || !host.contains('.')
        || PUBLIC_HOSTS.contains(&host)
        || EXAMPLE_HOSTS.iter().any(|ending| host.ends_with(ending))
}

/// Lines end where their text ends, and the last line ends as well.
pub(super) fn no_trailing_whitespace(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<_> = lines(tree)
        .filter(|(path, _, line)| !path.starts_with(DATA) && line.ends_with([' ', '\t', '\r']))
        .map(|(path, number, _)| {
            Finding::new(
                path,
                number,
                "whitespace at the end of the line",
                "delete it",
            )
        })
        .collect();
    let open = tree.ending_in("").filter(|(path, text)| {
        !path.starts_with(DATA)
            && !path.contains("/corpus/")
            && !text.is_empty()
            && !text.ends_with('\n')
    });
    findings.extend(open.map(|(path, text)| {
        Finding::new(
            path,
            text.lines().count(),
            "the last line has no end",
            "add a newline",
        )
    }));
    findings
}

fn lines(tree: &Tree) -> impl Iterator<Item = (&str, usize, &str)> {
    let files = tree
        .ending_in("")
        .filter(|(path, _)| !path.contains("/corpus/"));
    files.flat_map(|(path, text)| {
        text.split('\n')
            .enumerate()
            .map(move |(index, line)| (path, index + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_the_same_name_inside_a_path_is_fine() {
        let home = PRIVATE_FOLDERS[1];
        assert!(has_path(&format!("see `{home}/alice`"), home));
        assert!(!has_path(&format!("https://example.org{home}/"), home));
        assert!(!has_path(&format!("\"{home}\""), home));
    }

    #[test]
    fn local_and_example_hosts_are_fine() {
        let line = "http://127.0.0.1:8332 http://user:pw@localhost/ https://pool.example/ http://{host}/ https://docs.rs.";
        assert!(
            hosts(line).all(is_public),
            "{:?}",
            hosts(line).collect::<Vec<_>>()
        );
    }
}
