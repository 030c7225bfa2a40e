//! Every library builds alone, with each set of its features, and features only add.
//!
//! In a build of the whole workspace what one crate asks for another gets as well, and hides what the other forgot.

use anyhow::bail;

use crate::checks::api;
use crate::members::{self, Member};
use crate::steps::finish;
use crate::tools;

/// cargo-hack's version; `cargo hack --version` prints it.
const CARGO_HACK: &str = "0.6.46";

/// Aliases that name another type with the standard library than without, for which they are made: code that must not
/// change with them names a type itself.
const ALIASES: &[&str] = &[
    "pub type buffer_sv2::DefaultPool = ",
    "pub type noise_sv2::DefaultCipher = ",
];

/// Features of a library up to which all sets of them are built: 32 sets. Of a library with more, every pair is.
const FEATURES_MAX: usize = 5;

/// Checks each library with each set of its features, and that features only add.
///
/// `default` is not combined with others: it is a set of features itself, and among the sets.
/// cargo-hack's `--no-dev-deps` is not needed: since resolver 2 dependencies of tests switch on nothing while no
/// test is built, and it would rewrite manifests while other programs read them.
///
/// # Errors
/// When a set of features does not build (cargo says which), or a library has less with its features than without.
pub(crate) fn check() -> anyhow::Result<()> {
    let members = members::libraries()?;
    let (for_c, for_rust): (Vec<_>, Vec<_>) = members.iter().partition(|member| member.is_for_c());
    let (few, many): (Vec<_>, Vec<_>) = for_rust
        .into_iter()
        .partition(|member| member.features().count() <= FEATURES_MAX);
    // Without the standard library nothing unwinds, so there it must not be asked for.
    build_sets(&for_c, &["--profile", "firmware"])?;
    build_sets(&few, &[])?;
    build_sets(&many, &["--depth", "2"])?;
    let mut with_features = members
        .iter()
        .filter(|member| member.features().count() > 0);
    with_features.try_for_each(only_add)
}

fn build_sets(members: &[&Member], options: &[&str]) -> anyhow::Result<()> {
    if members.is_empty() {
        return Ok(());
    }
    let mut command = tools::cargo_tool("cargo-hack", CARGO_HACK)?;
    command
        .args(["check", "--quiet", "--lib", "--feature-powerset"])
        .args(["--exclude-features", "default"])
        .args(options);
    for member in members {
        command.args(["--package", &member.package]);
    }
    finish(command)
}

/// What a library makes public without features, it makes public with all of them.
fn only_add(member: &Member) -> anyhow::Result<()> {
    let Some(least) = api::lists(&[member], &["--no-default-features"])? else {
        return Ok(());
    };
    let Some(most) = api::lists(&[member], &["--all-features"])? else {
        return Ok(());
    };
    let lost = least.iter().flat_map(|(library, list)| {
        let most = most.get(library).map_or("", String::as_str);
        api::only_in_first(list, most)
    });
    let lost = lost.filter(|line| !ALIASES.iter().any(|alias| line.starts_with(alias)));
    let lost: Vec<_> = lost.collect();
    if !lost.is_empty() {
        bail!(
            "{} loses with features what it has without:\n  {}",
            member.package,
            lost.join("\n  ")
        );
    }
    Ok(())
}
