//! The commented configurations that `stratum config init` writes.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use toml::Table;

use super::{Invalid, de};

/// Checks a commented configuration against the raw struct, for a test: as it is it gives the defaults, every key it
/// names exists, and every field of the struct is named in it.
///
/// A key without default stands in the text as a comment without a blank, `#key = "value"`; prose has a blank, `# so`.
///
/// # Errors
/// What is wrong, for the test's message.
pub fn check_template<R>(text: &str) -> Result<(), String>
where
    R: DeserializeOwned + Default + PartialEq + std::fmt::Debug,
{
    let (given, _) = parse::<R>(text)?;
    let default = R::default();
    if given != default {
        return Err(format!(
            "gives {given:#?}\nbut the defaults are {default:#?}"
        ));
    }
    let (_, absent) = parse::<R>(&uncommented(text))?;
    match absent.as_slice() {
        [] => Ok(()),
        absent => Err(format!("does not explain {}", absent.join(", "))),
    }
}

fn parse<R: DeserializeOwned>(text: &str) -> Result<(R, Vec<String>), String> {
    let table: Table = text.parse().map_err(|e: toml::de::Error| e.to_string())?;
    let absent = RefCell::default();
    let raw = de::from_table(&table, &BTreeMap::new(), &absent)
        .map_err(|invalid: Invalid| invalid.to_string())?;
    Ok((raw, absent.into_inner()))
}

fn uncommented(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => key,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}
