//! The Rust structs of a sub-protocol as C structs with a decoder and an encoder each.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use const_sv2::{Direction, MessageKind};

/// A sub-protocol that C callers have the messages of.
pub(super) struct Protocol {
    /// Name of its table in `const_sv2`, and of the file that is made.
    pub(super) table: &'static str,
    /// Where its structs are, from the root of the repository.
    pub(super) source: &'static str,
    kinds: &'static [MessageKind],
    title: &'static str,
    /// What tells its messages from those of the same name, and the messages concerned.
    prefix: (&'static str, &'static [&'static str]),
}

pub(super) const PROTOCOLS: &[Protocol] = &[
    Protocol {
        table: "common",
        source: "protocols/v2/subprotocols/common-messages/src/lib.rs",
        kinds: const_sv2::common::ALL,
        title: "Messages common to all sub-protocols",
        prefix: ("", &[]),
    },
    Protocol {
        table: "template_distribution",
        source: "protocols/v2/subprotocols/template-distribution/src/lib.rs",
        kinds: const_sv2::template_distribution::ALL,
        title: "Messages of the template distribution protocol",
        prefix: ("template_", &["SetNewPrevHash"]),
    },
    Protocol {
        table: "mining",
        source: "protocols/v2/subprotocols/mining/src/lib.rs",
        kinds: const_sv2::mining::ALL,
        title: "Messages of the mining protocol",
        prefix: ("mining_", &["SetNewPrevHash"]),
    },
];

/// Words of the Rust documentation that C callers cannot follow, and what they read instead.
const WORDS: &[(&str, &str)] = &[
    ("see `const_sv2::Protocol`", "such as `SV2_PROTOCOL_MINING`"),
    (
        ", see `const_sv2::error_codes`;",
        ", such as \"stale-share\";",
    ),
];

/// A struct as its source has it.
struct Struct {
    docs: Vec<String>,
    fields: Vec<Field>,
}

struct Field {
    docs: Vec<String>,
    name: String,
    wire: String,
}

/// The Rust source of the C side of a sub-protocol, not yet formatted.
pub(super) fn generate(protocol: &Protocol, rust: &str) -> anyhow::Result<String> {
    let mut body = String::new();
    let mut imports = BTreeSet::new();
    for kind in protocol.kinds {
        let name = kind.name.replace('.', "");
        let found = find(rust, &name).with_context(|| format!("the struct {name}"))?;
        for field in &found.fields {
            let words = field.wire.split(|c: char| !c.is_alphanumeric());
            imports.extend(words.filter(|word| is_import(word)).map(str::to_owned));
        }
        message(&mut body, protocol, kind, &name, &found)?;
    }
    let imports: Vec<_> = imports.into_iter().collect();
    Ok(format!(
        "//! {}. Made by `cargo xtask header` from the structs of the sub-protocol's crate.\n\n\
         use binary_sv2::{{{}}};\n\n\
         use crate::payload::{{decode, encode, payload}};\n\
         use crate::result::sv2_result;\n\
         #[allow(clippy::wildcard_imports, reason = \"the types that fields can have\")]\n\
         use crate::view::*;\n\
         {body}",
        protocol.title,
        imports.join(", ")
    ))
}

fn is_import(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase()) && word != "Option"
}

fn message(
    out: &mut String,
    protocol: &Protocol,
    kind: &MessageKind,
    name: &str,
    found: &Struct,
) -> anyhow::Result<()> {
    let (prefix, ambiguous) = protocol.prefix;
    let snake = snake_case(name);
    let c_name = match ambiguous.contains(&name) {
        true => format!("{prefix}{snake}"),
        false => snake.clone(),
    };
    let shouted = c_name.to_uppercase();
    let direction = match kind.direction {
        Direction::ToServer => "sent by the client",
        Direction::ToClient => "sent by the server",
        Direction::Both => "sent by either side",
    };
    writeln!(
        out,
        "\n/// Number of `{}`, {direction}.\npub const SV2_MSG_{shouted}: u8 = {:#04x};\n",
        kind.name, kind.msg_type
    )?;
    let docs = found.docs.join(" ");
    writeln!(out, "/// `{}`: {}", kind.name, lower_first(&docs))?;
    let fields = fields(&found.fields)?;
    writeln!(
        out,
        "#[repr(C)]\n#[derive(Clone, Copy, Debug)]\npub struct sv2_{c_name} {{\n{}}}\n",
        fields.declared
    )?;
    writeln!(
        out,
        "payload!(sv2_{c_name} = {}::{} {{ {} }});\n",
        protocol.table,
        snake.to_uppercase(),
        fields.listed
    )?;
    functions(out, kind.name, &c_name, fields.borrows)?;
    Ok(())
}

struct Fields {
    declared: String,
    listed: String,
    borrows: bool,
}

fn fields(fields: &[Field]) -> anyhow::Result<Fields> {
    let (mut declared, mut listed) = (String::new(), String::new());
    let mut borrows = false;
    for field in fields {
        let c_type = c_type(&field.wire)?;
        borrows |= c_type.starts_with("sv2_") && c_type != "sv2_option_u32";
        for line in &field.docs {
            let line = WORDS
                .iter()
                .fold(line.clone(), |line, (from, to)| line.replace(from, to));
            writeln!(declared, "    /// {line}")?;
        }
        writeln!(declared, "    pub {}: {c_type},", field.name)?;
        write!(
            listed,
            "{}: {}, ",
            field.name,
            field.wire.replace("'a", "'_")
        )?;
    }
    Ok(Fields {
        declared,
        listed,
        borrows,
    })
}

fn c_type(wire: &str) -> anyhow::Result<&str> {
    Ok(match wire {
        "u8" | "u16" | "u32" | "u64" | "f32" => wire,
        "bool" => "u8",
        "U256" => "[u8; 32]",
        "Str0255<'a>" | "B032<'a>" | "B0255<'a>" | "B064K<'a>" | "B016M<'a>" => "sv2_bytes",
        "Option<u32>" => "sv2_option_u32",
        "Seq0255<'a, U256>" => "sv2_u256_seq",
        "Seq064K<'a, u32>" => "sv2_u32_seq",
        "Seq064K<'a, B016M<'a>>" => "sv2_b016m_seq",
        other => bail!("no type of C is known for {other}: add it to sv2-ffi and to c_type"),
    })
}

fn functions(out: &mut String, name: &str, c_name: &str, borrows: bool) -> anyhow::Result<()> {
    let life = match borrows {
        true => "points into `payload`, and is valid as long as that is there and unchanged",
        false => "points nowhere",
    };
    writeln!(
        out,
        "/// Reads a `{name}` from the payload of its frame into `out`, which {life}.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern \"C\" fn sv2_{c_name}_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_{c_name},
) -> sv2_result {{
    // SAFETY: the caller's promise.
    unsafe {{ decode(payload, payload_len, out) }}
}}

/// Writes the frame of a `{name}` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern \"C\" fn sv2_{c_name}_encode(
    message: *const sv2_{c_name},
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {{
    // SAFETY: the caller's promise.
    unsafe {{ encode(message, buffer, capacity, len) }}
}}"
    )?;
    Ok(())
}

/// Finds a struct in formatted source.
fn find(rust: &str, name: &str) -> anyhow::Result<Struct> {
    let lines: Vec<_> = rust.lines().collect();
    let is_head = |line: &&str| {
        let head = line
            .strip_prefix("pub struct ")
            .and_then(|rest| rest.strip_prefix(name));
        head.is_some_and(|rest| matches!(rest, " {" | "<'a> {"))
    };
    let head = lines.iter().position(is_head).context("is not there")?;
    let above = lines[..head]
        .iter()
        .rev()
        .skip_while(|line| line.starts_with("#["))
        .map_while(|line| line.strip_prefix("/// "));
    let mut docs: Vec<_> = above.map(str::to_owned).collect();
    docs.reverse();

    let mut fields = Vec::new();
    let mut field_docs = Vec::new();
    for line in lines[head + 1..].iter().take_while(|line| **line != "}") {
        let line = line.trim();
        if let Some(doc) = line.strip_prefix("/// ") {
            field_docs.push(doc.to_owned());
            continue;
        }
        let field = line
            .strip_prefix("pub ")
            .and_then(|rest| rest.strip_suffix(','));
        let (name, wire) = field
            .and_then(|field| field.split_once(": "))
            .with_context(|| format!("has a line that is not understood: {line}"))?;
        fields.push(Field {
            docs: std::mem::take(&mut field_docs),
            name: name.to_owned(),
            wire: wire.to_owned(),
        });
    }
    Ok(Struct { docs, fields })
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "/// Closes (specification 3.6.5).\n#[derive(Clone)]\npub struct Reconnect<'a> {\n    /// Where to.\n    \
                          pub new_host: Str0255<'a>,\n    /// Port.\n    pub new_port: u16,\n}\n";

    #[test]
    fn a_struct_is_found_with_its_words() {
        let found = find(SOURCE, "Reconnect").unwrap();
        assert_eq!(found.docs, ["Closes (specification 3.6.5)."]);
        let fields: Vec<_> = found
            .fields
            .iter()
            .map(|f| (&*f.name, &*f.wire, &*f.docs[0]))
            .collect();
        assert_eq!(
            fields,
            [
                ("new_host", "Str0255<'a>", "Where to."),
                ("new_port", "u16", "Port.")
            ]
        );
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert!(find(SOURCE, "Recon").is_err());
        assert!(find(&SOURCE.replace("pub new_port", "new_port"), "Reconnect").is_err());
        assert!(c_type("Seq064K<'a, u16>").is_err());
    }
}
