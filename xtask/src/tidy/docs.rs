//! What the documents promise.

use std::collections::BTreeSet;

use super::{Finding, Tree};

/// The two commands a newcomer needs.
const COMMANDS: &[&str] = &["cargo demo", "cargo xtask test"];

/// Every relative link of a document leads to a file or folder of the repository, and to a heading where it names one.
pub(super) fn links_resolve(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending_in(".md") {
        for (index, line) in text.lines().enumerate() {
            let broken = targets(line).filter(|target| !leads_somewhere(tree, path, target));
            findings.extend(broken.map(|target| {
                let what = format!("the link to {target} leads nowhere");
                Finding::new(
                    path,
                    index + 1,
                    what,
                    "correct the path, relative to the document, or the heading",
                )
            }));
        }
    }
    findings
}

/// The inline links and images of a line of Markdown that point into the repository.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let links = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target);
    links
        .filter(|target| !target.contains(':'))
        .map(|target| target.split(' ').next().unwrap_or_default())
}

fn leads_somewhere(tree: &Tree, document: &str, target: &str) -> bool {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let file = match file {
        "" => document.to_owned(),
        file => resolve(folder_of(document), file),
    };
    let has_heading = || {
        let headings = tree.text(&file).into_iter().flat_map(str::lines);
        let headings = headings.filter_map(|line| line.strip_prefix('#'));
        headings.map(anchor).any(|anchor| anchor == heading)
    };
    tree.contains(&file) && (heading.is_empty() || has_heading())
}

/// What a heading is linked by: its letters and digits, small, and hyphens for blanks.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A guide that links a role's commented configuration names each of its keys, and none that it does not have.
pub(super) fn guides_know_the_keys(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (guide, text) in tree.ending_in(".md") {
        let configurations = text.lines().flat_map(targets);
        let mut configurations = configurations.filter(|target| target.ends_with("-config.toml"));
        let Some(configuration) = configurations.next() else {
            continue;
        };
        let configuration = tree.text(&resolve(folder_of(guide), configuration));
        let keys = keys(configuration.unwrap_or_default());
        let named = named_keys(text);
        let missing = keys.iter().filter(|key| !named.contains(*key));
        findings.extend(missing.map(|key| {
            let what = format!("does not speak of the key `{key}`");
            Finding::new(guide, 0, what, "say when to change it")
        }));
        let sections: BTreeSet<_> = keys
            .iter()
            .filter_map(|key| key.split('.').next())
            .collect();
        let is_meant = |key: &str| {
            key.split('.')
                .next()
                .is_some_and(|name| sections.contains(name))
        };
        let unknown = named
            .iter()
            .filter(|key| is_meant(key) && !keys.contains(*key));
        findings.extend(unknown.map(|key| {
            let what = format!("speaks of `{key}`, which is no key of its configuration");
            Finding::new(guide, 0, what, "name a key that there is")
        }));
    }
    findings
}

/// The keys of a commented configuration with their sections, those without default included.
fn keys(configuration: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut keys = BTreeSet::new();
    for line in configuration.lines() {
        // A table of which there may be several has two brackets, and is commented out where there is none by default.
        let head = line.trim_start_matches('#').strip_prefix('[');
        if let Some(name) = head.and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim_start_matches('[').trim_end_matches(']');
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ")
            && is_name(key)
        {
            keys.insert(format!("{section}.{key}"));
        }
    }
    keys
}

/// What stands in a document as code and looks like a key with its section, up to a value.
fn named_keys(text: &str) -> BTreeSet<String> {
    let code = text.split('`').skip(1).step_by(2);
    let keys = code.filter_map(|code| code.split([' ', '=']).next());
    let keys = keys.filter(|key| key.contains('.') && key.split('.').all(is_name));
    keys.map(str::to_owned).collect()
}

fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !text.is_empty() && text.chars().all(is_part)
}

fn resolve(folder: &str, target: &str) -> String {
    let mut parts: Vec<_> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The README shows the command that mines and the command that tests.
pub(super) fn readme_commands(tree: &Tree) -> Vec<Finding> {
    let readme = tree.text("README.md");
    let missing = COMMANDS
        .iter()
        .filter(|command| readme.is_none_or(|text| !text.contains(**command)));
    missing
        .map(|command| {
            Finding::new(
                "README.md",
                0,
                format!("does not show `{command}`"),
                "show it near the top",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_taken_relative_to_their_document() {
        assert_eq!(resolve("docs/a", "../b.md"), "docs/b.md");
        assert_eq!(resolve("", "./c/"), "c");
        let line = "[a](x.md#part) ![b](y.svg \"title\") [c](https://docs.rs) [d](#here)";
        let found: Vec<_> = targets(line).collect();
        assert_eq!(found, ["x.md#part", "y.svg", "#here"]);
    }

    #[test]
    fn headings_are_found_by_what_they_are_linked_by() {
        let tree = Tree::from_texts(&[
            ("docs/a.md", "# What it says\n## `Bad` input, and why\n"),
            ("b.md", ""),
        ]);
        let leads = |target| leads_somewhere(&tree, "docs/a.md", target);
        assert!(leads("#what-it-says") && leads("a.md#bad-input-and-why") && leads("../b.md"));
        assert!(!leads("#what") && !leads("../b.md#what-it-says") && !leads("b.md"));
    }

    #[test]
    fn keys_are_read_from_configurations_and_documents() {
        let configuration = "# Prose = prose.\n#[[pools]]\n#url = \"\"\n[listen]\nport = 1\n#key = \"\"\n[listen.tls]\nkey = \"\"\n";
        let expected =
            ["listen.key", "listen.port", "listen.tls.key", "pools.url"].map(str::to_owned);
        assert_eq!(keys(configuration), expected.clone().into());
        let text = "see `listen.port`, `listen.key = 3`, `listen.tls.key`, `pools.url`, `docs`, `Cargo.toml` and listen.no";
        assert_eq!(named_keys(text), expected.into());
    }
}
