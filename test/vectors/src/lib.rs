//! Golden data and the helpers that read it.
//!
//! The runners under `tests/` read the folder named by the environment variable `STRATUM_VECTORS`
//! when it is set, so that anyone can run another set of the same form; otherwise the data beside
//! this crate. Nothing here or there may rely on a property of one particular set.
//!
//! ```
//! let noise = stratum_vectors::load("noise.json");
//! let keys = stratum_vectors::list(&noise, "authority_keys");
//! assert_eq!(stratum_vectors::bytes(&keys[0], "x_only").len(), 32);
//! ```
//!
//! Every helper panics with the file, the field and the value when the data does not have the
//! expected form: a broken vector must fail a test, never skip it.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::Value;

/// The folder the golden data is read from: `STRATUM_VECTORS`, or the folder of this crate.
pub fn vectors_dir() -> PathBuf {
    match std::env::var_os("STRATUM_VECTORS") {
        Some(dir) => dir.into(),
        None => env!("CARGO_MANIFEST_DIR").into(),
    }
}

/// The text of one file, by its path inside [`vectors_dir`].
pub fn load_text(file: &str) -> String {
    let path = vectors_dir().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// One JSON file, by its path inside [`vectors_dir`].
pub fn load(file: &str) -> Value {
    serde_json::from_str(&load_text(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// The rows of one CSV file, each cell under the name its column has in the first line.
///
/// The last column takes the rest of the line: it is a comment that may hold commas.
pub fn load_csv(file: &str) -> Vec<HashMap<String, String>> {
    let text = load_text(file);
    let mut lines = text.lines();
    let columns: Vec<_> = lines
        .next()
        .unwrap_or_else(|| panic!("{file} is empty"))
        .split(',')
        .collect();
    let rows: Vec<_> = lines
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let cells = line.splitn(columns.len(), ',');
            columns
                .iter()
                .zip(cells)
                .map(|(name, cell)| (name.to_string(), cell.to_owned()))
                .collect()
        })
        .collect();
    assert!(!rows.is_empty(), "{file} has no rows");
    rows
}

/// The list named `key`; it must have entries, so that a runner cannot pass by testing nothing.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    match value[key].as_array() {
        Some(entries) if !entries.is_empty() => entries,
        _ => panic!("{key} is missing, no list, or empty"),
    }
}

/// The string named `key`.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} is no string in {value}"))
}

/// The unsigned integer named `key`, a JSON number or a decimal string.
pub fn uint(value: &Value, key: &str) -> u64 {
    let field = &value[key];
    field
        .as_u64()
        .or_else(|| field.as_str()?.parse().ok())
        .unwrap_or_else(|| panic!("{key} is no unsigned integer in {value}"))
}

/// The bytes of a hexadecimal string, upper or lower case.
pub fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap_or_else(|e| panic!("{e} in {text}"))
}

/// The lower-case hexadecimal form of bytes.
pub fn to_hex(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(bytes)
}

/// The bytes of the field named `key`: a hexadecimal string, or a rule as in [`generated`].
pub fn bytes(value: &Value, key: &str) -> Vec<u8> {
    let field = &value[key];
    match field.as_str() {
        Some(text) => unhex(text),
        None => generated(field)
            .unwrap_or_else(|| panic!("{key} is neither hexadecimal nor a rule in {value}")),
    }
}

/// The field named `key` as an array of exactly `N` bytes.
pub fn array<const N: usize>(value: &Value, key: &str) -> [u8; N] {
    let bytes = bytes(value, key);
    bytes
        .try_into()
        .unwrap_or_else(|b: Vec<u8>| panic!("{key} has {} bytes, not {N}", b.len()))
}

/// The value of the rule `{pattern_hex, len}`: the pattern repeated cyclically and cut to `len`
/// bytes; `{hex}` is the bytes themselves. `None` when `value` is no such rule.
pub fn generated(value: &Value) -> Option<Vec<u8>> {
    if let Some(text) = value.get("hex") {
        return Some(unhex(text.as_str()?));
    }
    let pattern = unhex(value.get("pattern_hex")?.as_str()?);
    let len = usize::try_from(value.get("len")?.as_u64()?).ok()?;
    Some(repeat(&pattern, len))
}

/// `pattern` repeated cyclically and cut to `len` bytes.
pub fn repeat(pattern: &[u8], len: usize) -> Vec<u8> {
    assert!(
        len == 0 || !pattern.is_empty(),
        "an empty pattern cannot fill {len} bytes"
    );
    pattern.iter().copied().cycle().take(len).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_generate_what_they_say() {
        assert_eq!(
            generated(&json!({"pattern_hex": "0102", "len": 5})),
            Some(vec![1, 2, 1, 2, 1])
        );
        assert_eq!(generated(&json!({"hex": "ff00"})), Some(vec![255, 0]));
        assert_eq!(
            generated(&json!({"pattern_hex": "", "len": 0})),
            Some(vec![])
        );
        assert_eq!(generated(&json!({"seq_rule": {}})), None);
    }

    #[test]
    #[should_panic(expected = "empty pattern")]
    fn an_empty_pattern_is_a_broken_vector() {
        repeat(&[], 1);
    }
}
