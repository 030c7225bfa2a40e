//! Lists what crates make public: `stratum-public-api FOLDER JSON...` writes `FOLDER/<crate>.txt` for each file of
//! rustdoc's JSON. `cargo xtask api` calls it.
//!
//! It ends with 2 when a file cannot be read and is in another format than the one that this program is made for.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// The format of rustdoc's JSON that the `public-api` in Cargo.toml reads.
const FORMAT: &str = "57";

/// What the program ends with when the format is another one.
const OTHER_FORMAT: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(folder) = arguments.next() else {
        eprintln!("usage: stratum-public-api FOLDER JSON...");
        return ExitCode::FAILURE;
    };
    for json in arguments {
        let Err(error) = list(folder.as_ref(), json.as_ref()) else {
            continue;
        };
        let shown = json.display();
        return match format_of(json.as_ref()) {
            Some(format) if format != FORMAT => {
                eprintln!("{shown} is in rustdoc's format {format}, this program reads {FORMAT}");
                OTHER_FORMAT.into()
            }
            _ => {
                eprintln!("{shown}: {error}");
                ExitCode::FAILURE
            }
        };
    }
    ExitCode::SUCCESS
}

/// Writes one item a line. What every type has (blanket implementations, auto traits) is left out.
fn list(folder: &Path, json: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()?;
    let mut text = String::new();
    for item in api.items() {
        writeln!(text, "{item}")?;
    }
    let name = json.file_stem().ok_or("a file has a name")?;
    std::fs::write(folder.join(name).with_extension("txt"), text)?;
    Ok(())
}

fn format_of(json: &Path) -> Option<String> {
    let text = std::fs::read_to_string(json).ok()?;
    let (_, number) = text.rsplit_once("\"format_version\":")?;
    let digits = number.trim_start().chars().take_while(char::is_ascii_digit);
    Some(digits.collect())
}
