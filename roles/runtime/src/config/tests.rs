use serde::Deserialize;

use super::*;
use crate::Secret;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Raw {
    tag: Option<String>,
    listen: Listen,
    tags: Vec<String>,
    mode: Mode,
    password: Secret<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(default)]
struct Listen {
    address: String,
    port: u16,
    plain: bool,
    share_per_minute: f64,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: "0.0.0.0".to_owned(),
            port: 34254,
            plain: false,
            share_per_minute: 6.0,
        }
    }
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Pooled,
    SoloMining,
}

struct Checked;

impl TryFrom<Raw> for Checked {
    type Error = Invalid;

    fn try_from(raw: Raw) -> Result<Self, Invalid> {
        match raw.listen.address.is_empty() {
            true => Err(Invalid::new("listen.address", "is empty", "give an IP")),
            false => Ok(Self),
        }
    }
}

fn loader(text: &str) -> Loader {
    Loader::new("jd-server").text("jds.toml", text).unwrap()
}

fn env(name: &str, value: &str) -> [(String, String); 1] {
    [(name.to_owned(), value.to_owned())]
}

#[test]
fn later_sources_win() {
    let raw: Raw = loader("tag = 'file'\ntags = ['x']\n[listen]\nport = 1\nplain = true")
        .env(env("STRATUM_JD_SERVER__LISTEN__PORT", "2"))
        .unwrap()
        .env(env("STRATUM_JD_SERVER__TAGS", "a, b"))
        .unwrap()
        .env(env("STRATUM_POOL__LISTEN__PORT", "9"))
        .unwrap()
        .set([
            "listen.port=3",
            "listen.plain = false",
            "mode=solo-mining",
            "tag=",
            "listen.share_per_minute=1.5",
        ])
        .unwrap()
        .raw()
        .unwrap();
    let listen = Listen {
        port: 3,
        share_per_minute: 1.5,
        ..Listen::default()
    };
    let expected = Raw {
        tag: None,
        listen,
        tags: vec!["a".into(), "b".into()],
        mode: Mode::SoloMining,
        ..Raw::default()
    };
    assert_eq!(raw, expected);
}

#[track_caller]
fn check_error(text: &str, assignments: &[&str], expected: &str) {
    let loaded = loader(text).set(assignments);
    let error = loaded
        .and_then(|loader| loader.load::<Raw, Checked>())
        .err();
    assert_eq!(
        error.map(|error| error.to_string()).as_deref(),
        Some(expected)
    );
}

#[test]
fn each_mistake_says_where_what_and_what_to_do() {
    check_error(
        "[listen]\nadress = ''",
        &[],
        "jds.toml: `listen.adress`: is not a key of this program; did you mean `address`?",
    );
    check_error(
        "zzzzzz = 1",
        &[],
        "jds.toml: `zzzzzz`: is not a key of this program; known are `tag`, `listen`, `tags`, `mode`, `password`",
    );
    check_error(
        "[listen]\nport = 70000",
        &[],
        "jds.toml: `listen.port`: is the number 70000, not a whole number from 0 to 65535; correct the value",
    );
    check_error(
        "",
        &["listen.port=http"],
        "--set listen.port: `listen.port`: is a text, not a whole number from 0 to 65535; correct the value",
    );
    check_error(
        "password = 12",
        &[],
        "jds.toml: `password`: is the number 12, not a text in quotes; correct the value",
    );
    check_error(
        "tags = [1]",
        &[],
        "jds.toml: `tags.0`: is the number 1, not a text in quotes; correct the value",
    );
    check_error(
        "mode = 'poled'",
        &[],
        "jds.toml: `mode`: has an unknown value `poled`; did you mean `pooled`? Known are `pooled`, `solo-mining`",
    );
    check_error(
        "",
        &["listen.address="],
        "--set listen.address: `listen.address`: is empty; give an IP",
    );
    check_error(
        "",
        &["listen"],
        "--set listen: has no value; write --set section.key=value",
    );
    check_error(
        "tag = 'a'",
        &["tag.name=x"],
        "--set tag.name: `tag` is a value, not a section; remove what follows it",
    );
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_named() {
    let error = Loader::new("pool")
        .file(Path::new("/nowhere/pool.toml"))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nowhere/pool.toml: cannot read"),
        "{error}"
    );
    let text = "[rpc]\npassword = \"hunter2\n";
    let error = Loader::new("pool").text("pool.toml", text).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("pool.toml:2: is not TOML"), "{message}");
    assert!(
        !format!("{message}{error:?}").contains("hunter2"),
        "{error:?}"
    );
}

const TEMPLATE: &str = "\
# A tag.
#tag = \"x\"
tags = []
mode = \"pooled\"
#password = \"secret\"
[listen]
address = \"0.0.0.0\"
port = 34254
plain = false
share_per_minute = 6.0
";

#[test]
fn a_template_names_every_key_and_gives_the_defaults() {
    assert_eq!(check_template::<Raw>(TEMPLATE), Ok(()));
    let undocumented = TEMPLATE.replace("plain = false\n", "");
    assert_eq!(
        check_template::<Raw>(&undocumented),
        Err("does not explain listen.plain".to_owned())
    );
    let other_default = TEMPLATE.replace("34254", "1");
    assert!(
        check_template::<Raw>(&other_default)
            .unwrap_err()
            .contains("the defaults are")
    );
    let stale_comment = TEMPLATE.replace("#tag", "#old_tag");
    assert!(
        check_template::<Raw>(&stale_comment)
            .unwrap_err()
            .contains("old_tag")
    );
}
