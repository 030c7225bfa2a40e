//! What the documents promise.

use super::{Finding, Tree};

/// The two commands a newcomer needs.
const COMMANDS: &[&str] = &["cargo demo", "cargo xtask test"];

/// Every relative link of a document leads to a file or folder of the repository.
pub(super) fn links_resolve(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending_in(".md") {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (index, line) in text.lines().enumerate() {
            let broken = targets(line).filter(|target| !tree.contains(&resolve(folder, target)));
            findings.extend(broken.map(|target| {
                let what = format!("the link to {target} leads nowhere");
                Finding::new(
                    path,
                    index + 1,
                    what,
                    "correct the path, relative to the document",
                )
            }));
        }
    }
    findings
}

/// Paths of the inline links and images of a line of Markdown that point into the repository.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let links = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target);
    links
        .filter(|target| !target.contains(':') && !target.starts_with('#'))
        .map(|target| target.split(['#', ' ']).next().unwrap_or_default())
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
        assert_eq!(targets(line).collect::<Vec<_>>(), ["x.md", "y.svg"]);
    }
}
