//! What stands beside the crates: a page of the book, an example in the documentation, a list of the public API, a
//! README with each example, and workflows that do what a developer can do.

use toml::{Table, Value};

use super::{Finding, Tree};

/// What workflows may run beside `cargo xtask`.
const SCRIPTS: &[&str] = &[
    "protocols/v2/sv2-ffi/build_header.sh",
    "./sv2-header-check.sh",
];

/// Folders of the crates that others build programs of.
const LIBRARIES: &[&str] = &["protocols/", "utils/"];

struct Library<'a> {
    manifest: &'a str,
    folder: &'a str,
    package: String,
    name: String,
    is_proc_macro: bool,
}

/// Crates under `folders` with a library that is published.
fn libraries<'a>(tree: &'a Tree, folders: &'a [&str]) -> impl Iterator<Item = Library<'a>> {
    tree.ending_in("/Cargo.toml").filter_map(|(path, text)| {
        let folder = path.trim_end_matches("/Cargo.toml");
        let table: Table = text.parse().ok()?;
        let package = table.get("package")?;
        let is_published = package.get("publish").and_then(Value::as_bool) != Some(false);
        let is_library = tree.contains(&format!("{folder}/src/lib.rs"));
        let is_here = folders.iter().any(|start| path.starts_with(start));
        let lib = table.get("lib");
        let is_proc_macro = lib.and_then(|lib| lib.get("proc-macro")).is_some();
        let package = package.get("name")?.as_str()?.to_owned();
        let name = lib.and_then(|lib| lib.get("name")).and_then(Value::as_str);
        let name = name.map_or_else(|| package.replace('-', "_"), str::to_owned);
        (is_published && is_library && is_here).then_some(Library {
            manifest: path,
            folder,
            package,
            name,
            is_proc_macro,
        })
    })
}

/// Each library has a page of the book, which names its package; the first page lists it and the tests run it.
pub(super) fn book_pages(tree: &Tree) -> Vec<Finding> {
    let wanted = libraries(tree, LIBRARIES).filter(|library| {
        // Macros are explained where they are re-exported.
        !library.is_proc_macro
    });
    let missing = wanted.filter_map(|library| {
        let name = library.package.trim_start_matches("stratum-");
        let page = format!("docs/book/{name}.md");
        let shows =
            |path: &str, what: &str| tree.text(path).is_some_and(|text| text.contains(what));
        let what = if !shows(&page, &format!("\"{}\"", library.package)) {
            format!(
                "has no {page} that says how to depend on {}",
                library.package
            )
        } else if !shows("docs/book/README.md", &format!("({name}.md)")) {
            format!("is not listed in docs/book/README.md as {name}.md")
        } else if !shows("docs/book/lib.rs", &format!("\"{name}.md\"")) {
            format!("has {page}, whose examples docs/book/lib.rs does not run")
        } else {
            return None;
        };
        Some(Finding::new(
            library.manifest,
            0,
            what,
            "write the page, with whole programs, and put it into both lists",
        ))
    });
    missing.collect()
}

/// The documentation of each library, and of each core, begins with an example, written there or in a file beside it.
pub(super) fn crates_open_with_example(tree: &Tree) -> Vec<Finding> {
    let folders = [LIBRARIES, &["roles/runtime/"]].concat();
    let is_core = |library: &Library<'_>| library.folder.ends_with("/core");
    let cores = libraries(tree, &["roles/"]).filter(is_core);
    let all = libraries(tree, &folders).chain(cores);
    let paths = all.map(|library| format!("{}/src/lib.rs", library.folder));
    let without = paths.filter(|path| {
        let text = tree.text(path).unwrap_or_default();
        let shows =
            |line: &str| line.starts_with("//! ```") || line.contains("doc = include_str!(");
        !text.lines().any(shows)
    });
    without
        .map(|path| {
            let what = "the crate's documentation shows no example";
            Finding::new(
                &path,
                1,
                what,
                "show its main use in a few lines that compile",
            )
        })
        .collect()
}

/// Each folder of an example has a README.
pub(super) fn examples_have_readmes(tree: &Tree) -> Vec<Finding> {
    let files = tree
        .ending_in("")
        .filter_map(|(path, _)| path.strip_prefix("examples/"));
    let mut folders: Vec<_> = files
        .filter_map(|path| path.split_once('/'))
        .map(|(folder, _)| folder)
        .collect();
    folders.dedup();
    let readmes = folders
        .into_iter()
        .map(|folder| format!("examples/{folder}/README.md"));
    readmes
        .filter(|readme| !tree.contains(readme))
        .map(|readme| {
            Finding::new(
                &readme,
                0,
                "is missing",
                "say what the example shows and how to run it",
            )
        })
        .collect()
}

/// Workflows run `cargo xtask` and the scripts of the repository, one in a line, on nobody else's actions: what CI does
/// can be done and tested at home.
pub(super) fn workflows_call_xtask(tree: &Tree) -> Vec<Finding> {
    let files = [".yml", ".yaml"]
        .into_iter()
        .flat_map(|ending| tree.ending_in(ending));
    let workflows = files.filter(|(path, _)| path.starts_with(".github/"));
    let mut findings = Vec::new();
    for (path, text) in workflows {
        let wrong = text.lines().enumerate().filter(|(_, line)| !is_ours(line));
        findings.extend(wrong.map(|(index, line)| {
            Finding::new(
                path,
                index + 1,
                format!("`{}` is more than a call", line.trim()),
                "move it into xtask, and call `cargo xtask …`",
            )
        }));
    }
    findings
}

fn is_ours(line: &str) -> bool {
    let line = line.trim_start().trim_start_matches("- ");
    if let Some(action) = line.strip_prefix("uses:") {
        return action.trim().starts_with("actions/");
    }
    let Some(command) = line.strip_prefix("run:") else {
        return true;
    };
    let command = command.trim();
    let is_single = !command.contains([';', '&', '|', '>', '`', '$']);
    is_single && (command.starts_with("cargo xtask ") || SCRIPTS.contains(&command))
}

/// Each library has a list of its public API, and each list a library.
pub(super) fn api_lists_have_crates(tree: &Tree) -> Vec<Finding> {
    let lists = libraries(tree, LIBRARIES);
    let expected: Vec<_> = lists
        .map(|library| format!("docs/api/{}.txt", library.name))
        .collect();
    let missing = expected
        .iter()
        .filter(|path| !tree.contains(path))
        .map(|path| {
            Finding::new(
                path,
                0,
                "is missing",
                "write it with `cargo xtask api --bless`",
            )
        });
    let lists = tree
        .ending_in(".txt")
        .filter(|(path, _)| path.starts_with("docs/api/"));
    let orphans = lists
        .filter(|(path, _)| !expected.iter().any(|expected| expected == path))
        .map(|(path, _)| Finding::new(path, 0, "belongs to no library", "delete it"));
    missing.chain(orphans).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workflows_may_call_and_no_more() {
        for line in [
            "      - run: cargo xtask test",
            "        run: protocols/v2/sv2-ffi/build_header.sh",
            "      - uses: actions/checkout@v4",
            "    runs-on: ubuntu-latest",
        ] {
            assert!(is_ours(line), "{line}");
        }
        for line in [
            "      - run: |",
            "      - run: cargo test",
            "      - run: cargo xtask test && rm -rf target",
            "      - uses: somebody/action@v1",
            "      - run: scripts/other.sh",
        ] {
            assert!(!is_ours(line), "{line}");
        }
    }

    #[test]
    fn programs_and_private_crates_need_no_page() {
        let tree = Tree::from_texts(&[
            (
                "utils/a/Cargo.toml",
                "[package]\nname = \"stratum-a\"\npublish = false\n",
            ),
            ("utils/a/src/lib.rs", ""),
            ("utils/b/Cargo.toml", "[package]\nname = \"stratum-b\"\n"),
            ("utils/b/src/main.rs", ""),
        ]);
        assert!(book_pages(&tree).is_empty());
    }

    #[test]
    fn an_api_list_without_its_crate_is_found() {
        let tree = Tree::from_texts(&[("docs/api/stratum-gone.txt", "")]);
        assert_eq!(api_lists_have_crates(&tree).len(), 1);
    }
}
