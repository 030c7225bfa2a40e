//! Imports point down: which crate may depend on which.

use std::sync::LazyLock;

use toml::{Table, Value};

use super::{Finding, Tree};

/// The layers from the bottom up, as path prefixes; the longest match counts. A crate may depend on lower layers.
const LAYERS: &[(&str, Layer)] = &[
    ("utils/buffer", Layer::Base),
    ("protocols/v2/const-sv2", Layer::Base),
    ("protocols/v2/binary-sv2/derive", Layer::Base),
    ("protocols/v2/binary-sv2", Layer::Data),
    ("protocols/v2/binary-sv2/serde-sv2", Layer::Framing),
    ("protocols/v2/framing-sv2", Layer::Framing),
    ("protocols/v2/noise-sv2", Layer::Bytes),
    ("protocols/v2/codec-sv2", Layer::Codec),
    ("protocols/v2/subprotocols", Layer::Meaning),
    ("protocols/v2/roles-logic-sv2", Layer::Logic),
    ("protocols/v1", Layer::Sv1),
    ("protocols/translation", Layer::Translation),
    ("protocols/v2/sv2-ffi", Layer::Core),
    ("utils/network-helpers", Layer::Shell),
    ("utils/bitcoin-node", Layer::Shell),
    ("utils/bitcoind", Layer::Shell),
    ("roles/runtime", Layer::Shell),
    ("roles/monitor", Layer::Shell),
    ("roles/ledger", Layer::Shell),
    ("roles", Layer::Role),
    ("experimental", Layer::Role),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Base,
    Data,
    Framing,
    Bytes,
    Meaning,
    Codec,
    Logic,
    /// Its sessions share clock, targets and headers with Sv2's.
    Sv1,
    Translation,
    Core,
    Shell,
    Role,
    /// Tests, examples, benches, fuzz targets, xtask: may import anything.
    Top,
}

impl Layer {
    fn of(folder: &str) -> Self {
        let has_core = folder.starts_with("roles/") || folder.starts_with("experimental/");
        if has_core && folder.ends_with("/core") {
            return Self::Core;
        }
        let matches = LAYERS
            .iter()
            .filter(|(prefix, _)| is_within(folder, prefix));
        matches
            .max_by_key(|(prefix, _)| prefix.len())
            .map_or(Self::Top, |(_, layer)| *layer)
    }

    fn is_below_the_wall(self) -> bool {
        self < Self::Shell
    }

    /// Whether crates of one layer may depend on each other; cargo itself refuses circles.
    fn is_sociable(self) -> bool {
        matches!(self, Self::Shell | Self::Role | Self::Top)
    }
}

/// Crates of others that bring sockets, files, clocks, OS randomness, threads or locks.
const IO_CRATES: &[&str] = &[
    "async-std",
    "axum",
    "clap",
    "crossbeam",
    "crossterm",
    "dashmap",
    "futures",
    "getrandom",
    "hyper",
    "hyper-util",
    "libc",
    "mio",
    "parking_lot",
    "rand",
    "rayon",
    "rcgen",
    "reqwest",
    "smol",
    "socket2",
    "tempfile",
    "tokio",
    "tokio-rustls",
    "tracing-subscriber",
    "zeromq",
];

/// No crate depends on one of its own layer or above.
pub(super) fn imports_point_down(tree: &Tree) -> Vec<Finding> {
    own_imports(
        tree,
        |own, other| other.layer > own || (other.layer == own && !own.is_sociable()),
        Kinds::Normal,
    )
    .map(|(path, import)| {
        let what = format!("depends on {}, which is not below it", import.name);
        Finding::new(
            path,
            import.line,
            what,
            "imports point down: see the layers in ARCHITECTURE.md",
        )
    })
    .collect()
}

/// No crate below the I/O wall depends on a crate that does I/O, not even in its tests.
pub(super) fn no_io_below_the_wall(tree: &Tree) -> Vec<Finding> {
    let manifests = manifests(tree).filter(|manifest| manifest.layer.is_below_the_wall());
    let imports = manifests.flat_map(|manifest| {
        let imports = manifest.imports(Kinds::All);
        imports
            .into_iter()
            .map(move |import| (manifest.path, import))
    });
    imports
        .filter(|(_, import)| IO_CRATES.contains(&&*import.name) || import.layer == Layer::Shell)
        .map(|(path, import)| {
            let what = format!("depends on {} below the I/O wall", import.name);
            Finding::new(
                path,
                import.line,
                what,
                "make time, randomness and effects arguments and values",
            )
        })
        .collect()
}

/// The crates that move bytes (noise, codec) and those that give them meaning (subprotocols, logic) are strangers.
pub(super) fn bytes_apart_from_meaning(tree: &Tree) -> Vec<Finding> {
    let is_bytes = |layer| matches!(layer, Layer::Bytes | Layer::Codec);
    let is_meaning = |layer| {
        matches!(
            layer,
            Layer::Meaning | Layer::Logic | Layer::Sv1 | Layer::Translation
        )
    };
    let strangers = move |own, other: &Import| {
        (is_bytes(own) && is_meaning(other.layer))
            || (is_meaning(own) && is_bytes(other.layer))
            || (own == Layer::Meaning && other.layer == Layer::Framing)
    };
    own_imports(tree, strangers, Kinds::Normal)
        .map(|(path, import)| {
            let what = format!(
                "depends on {}: bytes and meaning do not know each other",
                import.name
            );
            Finding::new(
                path,
                import.line,
                what,
                "join them above both, in network-helpers or a role",
            )
        })
        .collect()
}

/// No program or library depends on tests, examples or developer tools, except in its own tests.
pub(super) fn nobody_imports_tests(tree: &Tree) -> Vec<Finding> {
    own_imports(
        tree,
        |own, other| own != Layer::Top && other.layer == Layer::Top,
        Kinds::Normal,
    )
    .map(|(path, import)| {
        let what = format!("depends on {}, which exists for tests", import.name);
        Finding::new(
            path,
            import.line,
            what,
            "move it to dev-dependencies, or what is shared into a crate",
        )
    })
    .collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Kinds {
    /// Dependencies of the crate itself and of its build script.
    Normal,
    /// Those and the dependencies of its tests.
    All,
}

struct Manifest<'a> {
    path: &'a str,
    text: &'a str,
    table: Table,
    layer: Layer,
}

struct Import {
    name: String,
    layer: Layer,
    line: usize,
}

fn manifests(tree: &Tree) -> impl Iterator<Item = Manifest<'_>> {
    tree.ending_in("/Cargo.toml").filter_map(|(path, text)| {
        let folder = path.trim_end_matches("/Cargo.toml");
        Some(Manifest {
            path,
            text,
            table: text.parse().ok()?,
            layer: Layer::of(folder),
        })
    })
}

/// Imports of this workspace's crates that `is_wrong` for the importing layer, with the importing manifest's path.
fn own_imports<'a>(
    tree: &'a Tree,
    is_wrong: impl Fn(Layer, &Import) -> bool + Copy + 'a,
    kinds: Kinds,
) -> impl Iterator<Item = (&'a str, Import)> {
    manifests(tree).flat_map(move |manifest| {
        let wrong = manifest
            .imports(kinds)
            .into_iter()
            .filter(|import| folder_of(&import.name).is_some());
        wrong
            .filter(|import| is_wrong(manifest.layer, import))
            .map(|import| (manifest.path, import))
            .collect::<Vec<_>>()
    })
}

impl Manifest<'_> {
    fn imports(&self, kinds: Kinds) -> Vec<Import> {
        let targets = self.table.get("target").and_then(Value::as_table);
        let tables = targets
            .into_iter()
            .flat_map(Table::values)
            .filter_map(Value::as_table);
        std::iter::once(&self.table)
            .chain(tables)
            .flat_map(|table| self.imports_of(table, kinds))
            .collect()
    }

    fn imports_of(&self, table: &Table, kinds: Kinds) -> Vec<Import> {
        let wanted: &[&str] = match kinds {
            Kinds::Normal => &["dependencies", "build-dependencies"],
            Kinds::All => &["dependencies", "build-dependencies", "dev-dependencies"],
        };
        let tables = wanted
            .iter()
            .filter_map(|kind| table.get(*kind)?.as_table());
        tables
            .flat_map(Table::keys)
            .map(|name| self.import(name))
            .collect()
    }

    fn import(&self, name: &str) -> Import {
        let layer = folder_of(name).map_or(Layer::Base, Layer::of);
        let line = self
            .text
            .lines()
            .position(|line| line.trim_start().starts_with(name))
            .map_or(0, |at| at + 1);
        Import {
            name: name.to_owned(),
            layer,
            line,
        }
    }
}

/// Folder of one of this workspace's crates, by the name under which the workspace lists it.
fn folder_of(name: &str) -> Option<&'static str> {
    static ROOT: LazyLock<Option<Table>> =
        LazyLock::new(|| include_str!("../../../Cargo.toml").parse().ok());
    let dependencies = ROOT.as_ref()?.get("workspace")?.get("dependencies")?;
    dependencies.get(name)?.get("path")?.as_str()
}

fn is_within(folder: &str, prefix: &str) -> bool {
    folder
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_find_their_layer() {
        for (folder, layer) in [
            ("protocols/v2/binary-sv2/derive", Layer::Base),
            ("protocols/v2/binary-sv2", Layer::Data),
            ("protocols/v2/subprotocols/mining", Layer::Meaning),
            ("roles/pool/core", Layer::Core),
            ("roles/pool", Layer::Role),
            ("experimental/coinbase-negotiator/core", Layer::Core),
            ("experimental/coinbase-negotiator", Layer::Role),
            ("roles/runtime", Layer::Shell),
            ("test/e2e", Layer::Top),
        ] {
            assert_eq!(Layer::of(folder), layer, "{folder}");
        }
    }

    #[test]
    fn dependencies_by_target_count() {
        let manifest = "[target.'cfg(unix)'.dependencies]\ntokio.workspace = true\n";
        let tree = Tree::from_texts(&[("roles/pool/core/Cargo.toml", manifest)]);
        assert_eq!(no_io_below_the_wall(&tree).len(), 1);
    }

    #[test]
    fn vectors_may_be_read_by_tests() {
        let manifest = "[dev-dependencies]\nstratum_vectors.workspace = true\n";
        let tree = Tree::from_texts(&[("protocols/v2/binary-sv2/Cargo.toml", manifest)]);
        assert!(nobody_imports_tests(&tree).is_empty() && imports_point_down(&tree).is_empty());
    }
}
