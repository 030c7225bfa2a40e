//! The workspace's members, as their manifests have them.

use std::path::PathBuf;

use anyhow::Context as _;
use toml::{Table, Value};

use crate::root;

/// One member of the workspace.
#[derive(Debug)]
pub(crate) struct Member {
    /// Folder from the root, with `/` between the parts.
    pub(crate) folder: String,
    /// Name of the package.
    pub(crate) package: String,
    /// Name of the library, if it has one.
    pub(crate) library: Option<String>,
    manifest: Table,
}

/// Reads the manifests of all members.
///
/// # Errors
/// When one is missing or is no manifest.
pub(crate) fn all() -> anyhow::Result<Vec<Member>> {
    let manifest = read("")?;
    let members = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("members"))
        .and_then(Value::as_array)
        .context("the root's manifest lists no members")?;
    let folders = members.iter().filter_map(Value::as_str);
    folders.map(Member::read).collect()
}

/// The members that others build programs of: those that this workspace publishes and that are no programs themselves.
///
/// # Errors
/// As [`all`].
pub(crate) fn libraries() -> anyhow::Result<Vec<Member>> {
    let mut members = all()?;
    members.retain(Member::is_library);
    Ok(members)
}

fn read(folder: &str) -> anyhow::Result<Table> {
    let path = root().join(folder).join("Cargo.toml");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    text.parse()
        .with_context(|| format!("parsing {}", path.display()))
}

impl Member {
    fn read(folder: &str) -> anyhow::Result<Self> {
        let manifest = read(folder)?;
        let package = manifest
            .get("package")
            .and_then(|package| package.get("name"))
            .and_then(Value::as_str)
            .with_context(|| format!("the package in {folder} has no name"))?
            .to_owned();
        let named = manifest.get("lib").and_then(|lib| lib.get("name"));
        let named = named
            .and_then(Value::as_str)
            .unwrap_or(&package)
            .replace('-', "_");
        let library = root()
            .join(folder)
            .join("src/lib.rs")
            .is_file()
            .then_some(named);
        Ok(Self {
            folder: folder.to_owned(),
            package,
            library,
            manifest,
        })
    }

    fn is_library(&self) -> bool {
        let published =
            |package: &Table| package.get("publish").and_then(Value::as_bool) != Some(false);
        let is_program = self.manifest.contains_key("bin") || self.path("src/main.rs").is_file();
        let package = self.manifest.get("package").and_then(Value::as_table);
        self.library.is_some() && !is_program && package.is_some_and(published)
    }

    /// The names of its features, `default` left out.
    pub(crate) fn features(&self) -> impl Iterator<Item = &str> {
        let features = self.manifest.get("features").and_then(Value::as_table);
        let names = features.into_iter().flat_map(Table::keys);
        names.map(String::as_str).filter(|name| *name != "default")
    }

    /// Whether it is linked into programs of other languages.
    pub(crate) fn is_for_c(&self) -> bool {
        let kinds = self
            .manifest
            .get("lib")
            .and_then(|lib| lib.get("crate-type"));
        let mut kinds = kinds.and_then(Value::as_array).into_iter().flatten();
        kinds.any(|kind| kind.as_str() == Some("staticlib"))
    }

    /// A path inside the member's folder.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        root().join(&self.folder).join(inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_tests_are_no_libraries() {
        let libraries = libraries().unwrap();
        let has = |folder| libraries.iter().any(|member| member.folder == folder);
        assert!(has("protocols/v2/codec-sv2") && has("roles/pool/core") && has("roles/runtime"));
        assert!(!has("roles/pool") && !has("test/vectors") && !has("xtask"));
    }

    #[test]
    fn libraries_know_the_name_they_are_imported_by() {
        let libraries = libraries().unwrap();
        let codec = libraries
            .iter()
            .find(|member| member.package == "stratum-codec-sv2");
        assert_eq!(
            codec.and_then(|member| member.library.as_deref()),
            Some("codec_sv2")
        );
        assert!(codec.is_some_and(|codec| codec.features().any(|feature| feature == "std")));
    }
}
