//! What every manifest and lint configuration has in common.

use toml::{Table, Value};

use super::{Finding, Tree};

const CORE_CLIPPY: &str = "protocols/clippy.toml";

/// Clippy reads only the nearest clippy.toml, so every core has one and all are copies of the same.
pub(super) fn equal_core_clippy(tree: &Tree) -> Vec<Finding> {
    let Some(original) = tree.text(CORE_CLIPPY) else {
        return Vec::new();
    };
    let copies = tree
        .ending_in("/core/Cargo.toml")
        .filter(|(path, _)| path.starts_with("roles/") || path.starts_with("experimental/"));
    copies
        .map(|(path, _)| path.replace("Cargo.toml", "clippy.toml"))
        .chain(
            tree.ending_in("/clippy.toml")
                .map(|(path, _)| path.to_owned()),
        )
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .filter(|path| tree.text(path) != Some(original))
        .map(|path| {
            Finding::new(
                &path,
                0,
                format!("is missing or differs from {CORE_CLIPPY}"),
                "copy that file over it",
            )
        })
        .collect()
}

/// Every member takes its lints from the workspace.
pub(super) fn lints_inherited(tree: &Tree) -> Vec<Finding> {
    let inherits = |table: &Table| table.get("lints")?.get("workspace")?.as_bool();
    packages(tree)
        .filter(|(_, table, _)| inherits(table) != Some(true) && !table.contains_key("workspace"))
        .map(|(path, ..)| {
            Finding::new(
                path,
                0,
                "does not inherit the workspace's lints",
                "add `[lints] workspace = true`",
            )
        })
        .collect()
}

/// Every member in the root manifest says in one line what it is for.
pub(super) fn members_commented(tree: &Tree) -> Vec<Finding> {
    let lines = tree
        .text("Cargo.toml")
        .into_iter()
        .flat_map(str::lines)
        .enumerate();
    let members = lines
        .skip_while(|(_, line)| !line.starts_with("members"))
        .skip(1)
        .take_while(|(_, line)| !line.starts_with(']'));
    members
        .filter(|(_, line)| line.trim_start().starts_with('"') && !line.contains(" # "))
        .map(|(index, line)| {
            let what = format!("member {} has no comment", line.trim());
            Finding::new(
                "Cargo.toml",
                index + 1,
                what,
                "say after a # what it is for",
            )
        })
        .collect()
}

/// Package names carry the project's prefix, because the plain names belong to others on the registry.
pub(super) fn package_names(tree: &Tree) -> Vec<Finding> {
    packages(tree)
        .filter(|(_, _, name)| !name.starts_with("stratum") && name != "xtask")
        .map(|(path, _, name)| {
            Finding::new(
                path,
                2,
                format!("package {name} lacks the prefix"),
                "call it `stratum-…` and keep `[lib] name`",
            )
        })
        .collect()
}

fn packages(tree: &Tree) -> impl Iterator<Item = (&str, Table, String)> {
    tree.ending_in("/Cargo.toml").filter_map(|(path, text)| {
        let table: Table = text.parse().ok()?;
        let name = table
            .get("package")?
            .get("name")
            .and_then(Value::as_str)?
            .to_owned();
        Some((path, table, name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_is_its_own_workspace_has_nothing_to_inherit() {
        let manifest = "[package]\nname = \"stratum-fuzz\"\n[workspace]\n";
        assert!(lints_inherited(&Tree::from_texts(&[("fuzz/Cargo.toml", manifest)])).is_empty());
    }
}
