//! `cargo xtask header`: what C callers see of the messages, and the header `sv2.h`.
//!
//! First the Rust structs of the sub-protocol crates become C structs with a decoder and an encoder each, as Rust sources of
//! `sv2-ffi`; then cbindgen makes the header from that crate. Both are committed, so that neither cargo nor cbindgen is needed to read or
//! to use them, and [`check`] says when they are stale.

mod messages;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::root;

/// The crate that the header is made from.
const CRATE: &str = "protocols/v2/sv2-ffi";

/// What stands at the top of the header, before its declarations.
const PREFACE: &str = include_str!("header/preface.h");

/// Writes everything that is out of date.
///
/// # Errors
/// When a source is not understood or a file cannot be written.
pub fn write() -> anyhow::Result<()> {
    // The header is made from the sources, so these come first.
    for (path, text) in sources()? {
        replace(&path, &text)?;
    }
    let (path, text) = header()?;
    replace(&path, &text)
}

/// Checks that what is committed is what [`write()`] would write.
///
/// # Errors
/// When something is out of date; the message names it and says what to do.
pub fn check() -> anyhow::Result<()> {
    let stale = |(path, text): &(PathBuf, String)| {
        std::fs::read_to_string(path).ok().as_ref() != Some(text)
    };
    let mut files: Vec<_> = sources()?.into_iter().filter(stale).collect();
    // A header made from stale sources says nothing about itself.
    if files.is_empty() {
        files.extend(Some(header()?).filter(stale));
    }
    if files.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = files
        .iter()
        .map(|(path, _)| {
            path.strip_prefix(root())
                .unwrap_or(path)
                .display()
                .to_string()
        })
        .collect();
    bail!(
        "out of date: {}\nrun `cargo xtask header` and commit what it changes",
        names.join(", ")
    )
}

fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    println!(
        "writing {}",
        path.strip_prefix(root()).unwrap_or(path).display()
    );
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// The Rust sources with the messages, as they should be.
fn sources() -> anyhow::Result<Vec<(PathBuf, String)>> {
    let folder = root().join(CRATE).join("src/messages");
    messages::PROTOCOLS
        .iter()
        .map(|protocol| {
            let from = root().join(protocol.source);
            let rust = std::fs::read_to_string(&from)
                .with_context(|| format!("reading {}", from.display()))?;
            let text = messages::generate(protocol, &rust)
                .with_context(|| format!("in {}", protocol.source))?;
            let path = folder.join(format!("{}.rs", protocol.table));
            Ok((path, formatted(&text)?))
        })
        .collect()
}

fn formatted(rust: &str) -> anyhow::Result<String> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024"])
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting rustfmt, which `rustup component add rustfmt` installs")?;
    let mut to_child = child.stdin.take().context("rustfmt has no input")?;
    let text = rust.to_owned();
    // In a thread: either side could wait for the other to read.
    let writer = std::thread::spawn(move || to_child.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    if !output.status.success() || !writer.join().is_ok_and(|written| written.is_ok()) {
        bail!("rustfmt does not take what was generated:\n{rust}");
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The header as it should be.
fn header() -> anyhow::Result<(PathBuf, String)> {
    let folder = root().join(CRATE);
    let bindings = cbindgen::Builder::new()
        .with_crate(&folder)
        .with_config(config())
        .generate()
        .context("cbindgen cannot make the header")?;
    let mut bytes = Vec::new();
    bindings.write(&mut bytes);
    let text = polished(&String::from_utf8(bytes)?);
    Ok((folder.join("sv2.h"), text))
}

/// The header without what only Rust readers know, and with one condition for neighbours that have the same.
fn polished(header: &str) -> String {
    let plain = header
        .replace(" * # Safety\n", "")
        .replace("[`", "`")
        .replace("`]", "`");
    let mut text = String::new();
    let mut condition = "";
    let mut lines = plain.lines().map(str::trim_end).peekable();
    while let Some(line) = lines.next() {
        if line.trim_start() == "/**" {
            text.push_str(&comment(line, &mut lines));
            continue;
        }
        if line.starts_with("#if defined(SV2_") {
            condition = line;
        }
        // The condition that is closed here opens again behind an empty line.
        if line == "#endif" && lines.peek() == Some(&"") {
            lines.next();
            if lines.peek() == Some(&condition) {
                lines.next();
                text.push('\n');
            } else {
                text.push_str("#endif\n\n");
            }
            continue;
        }
        // C89 knows no such comments.
        match line.split_once("//") {
            Some(("#endif " | "#endif  ", words)) => {
                text.push_str(&format!("#endif /* {} */\n", words.trim()));
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

/// A comment on one line if it has one line of text.
fn comment<'a>(head: &str, lines: &mut impl Iterator<Item = &'a str>) -> String {
    let body: Vec<_> = lines.take_while(|line| line.trim_start() != "*/").collect();
    let indent = &head[..head.len() - "/**".len()];
    match &body[..] {
        [line] => {
            let words = line.trim_start().trim_start_matches("* ");
            format!("{indent}/** {words} */\n")
        }
        many => format!("{head}\n{}\n{indent} */\n", many.join("\n")),
    }
}

fn config() -> cbindgen::Config {
    let defines = [
        ("feature = template-provider", "SV2_TEMPLATE_PROVIDER"),
        ("feature = miner", "SV2_MINER"),
    ];
    cbindgen::Config {
        header: Some(PREFACE.trim_end().to_owned()),
        include_guard: Some("SV2_H".to_owned()),
        language: cbindgen::Language::C,
        cpp_compat: true,
        style: cbindgen::Style::Both,
        usize_is_size_t: true,
        no_includes: true,
        sys_includes: vec!["stddef.h".to_owned(), "stdint.h".to_owned()],
        after_includes: Some(FEATURES.trim_end().to_owned()),
        documentation_style: cbindgen::DocumentationStyle::Doxy,
        line_length: 110,
        defines: defines
            .map(|(feature, define)| (feature.to_owned(), define.to_owned()))
            .into(),
        ..cbindgen::Config::default()
    }
}

/// Which parts of the header count.
const FEATURES: &str = "
/* Of a library with one set of features, define its macro before this header. With neither everything is declared. */
#if !defined(SV2_TEMPLATE_PROVIDER) && !defined(SV2_MINER)
#define SV2_TEMPLATE_PROVIDER
#define SV2_MINER
#endif
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_rust_readers_know_is_taken_out() {
        let header =
            "/**\n * Ends with [`SV2_OK`].\n *\n * # Safety\n * Not NULL.\n */\nint a(void);\n";
        assert_eq!(
            polished(header),
            "/**\n * Ends with `SV2_OK`.\n *\n * Not NULL.\n */\nint a(void);\n"
        );
        assert_eq!(polished("  /**\n   * One.\n   */\n"), "  /** One. */\n");
        assert_eq!(polished("#endif  // SV2_H\n"), "#endif /* SV2_H */\n");
    }

    #[test]
    fn neighbours_share_a_condition() {
        let header = "#if defined(SV2_MINER)\na\n#endif\n\n#if defined(SV2_MINER)\nb\n#endif\n\n#if defined(SV2_X)\nc\n#endif\n";
        assert_eq!(
            polished(header),
            "#if defined(SV2_MINER)\na\n\nb\n#endif\n\n#if defined(SV2_X)\nc\n#endif\n"
        );
    }

    #[test]
    fn what_is_committed_is_up_to_date() {
        check().unwrap();
    }
}
