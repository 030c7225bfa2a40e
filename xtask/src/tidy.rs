//! Rules of the house that neither the compiler nor clippy can check.
//!
//! A rule is a pure function from the [`Tree`] to its [`Finding`]s. `cargo xtask tidy` runs all of them, and so does
//! `cargo test`. To add one: write the function in the module of its kind, list it in [`RULES`], and give
//! `tests::BAD` an input on which it fires.

mod beside;
mod code;
mod docs;
mod layers;
mod manifests;
mod rust;
mod text;
mod tree;

use std::fmt;

pub use tree::Tree;

/// One broken rule at one place.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// Path from the root of the repository.
    pub path: String,
    /// Line, counted from 1; 0 when the whole file is meant.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: &'static str,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>, fix: &'static str) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
            fix,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}; {}", self.path, self.what, self.fix),
            line => write!(f, "{}:{line}: {}; {}", self.path, self.what, self.fix),
        }
    }
}

type Rule = (&'static str, fn(&Tree) -> Vec<Finding>);

/// Every rule by name.
pub const RULES: &[Rule] = &[
    ("imports-point-down", layers::imports_point_down),
    ("no-io-below-the-wall", layers::no_io_below_the_wall),
    ("bytes-apart-from-meaning", layers::bytes_apart_from_meaning),
    ("nobody-imports-tests", layers::nobody_imports_tests),
    ("equal-core-clippy", manifests::equal_core_clippy),
    ("lints-inherited", manifests::lints_inherited),
    ("members-commented", manifests::members_commented),
    ("package-names", manifests::package_names),
    ("unsafe-places", rust::unsafe_places),
    ("no-get-prefix", rust::no_get_prefix),
    ("no-ignored-tests", rust::no_ignored_tests),
    ("nothing-left-to-do", rust::nothing_left_to_do),
    ("bounded-channels", rust::bounded_channels),
    ("no-private-paths", text::no_private_paths),
    ("public-hosts", text::public_hosts),
    ("no-trailing-whitespace", text::no_trailing_whitespace),
    ("links-resolve", docs::links_resolve),
    ("guides-know-the-keys", docs::guides_know_the_keys),
    ("readme-commands", docs::readme_commands),
    ("book-pages", beside::book_pages),
    ("crates-open-with-example", beside::crates_open_with_example),
    ("examples-have-readmes", beside::examples_have_readmes),
    ("workflows-call-xtask", beside::workflows_call_xtask),
    ("api-lists-have-crates", beside::api_lists_have_crates),
];

/// Runs every rule over `tree`.
pub fn check(tree: &Tree) -> Vec<Finding> {
    RULES.iter().flat_map(|(_, rule)| rule(tree)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For each rule an input on which it must fire, as (rule, [(path, text)]).
    const BAD: &[(&str, &[(&str, &str)])] = &[
        (
            "imports-point-down",
            &[(
                "protocols/v2/binary-sv2/Cargo.toml",
                "[dependencies]\nroles_logic_sv2.workspace = true\n",
            )],
        ),
        (
            "no-io-below-the-wall",
            &[(
                "roles/pool/core/Cargo.toml",
                "[dependencies]\ntokio.workspace = true\n",
            )],
        ),
        (
            "bytes-apart-from-meaning",
            &[(
                "protocols/v2/roles-logic-sv2/Cargo.toml",
                "[dependencies]\nnoise_sv2.workspace = true\n",
            )],
        ),
        (
            "nobody-imports-tests",
            &[(
                "roles/pool/Cargo.toml",
                "[dependencies]\nstratum_vectors.workspace = true\n",
            )],
        ),
        (
            "equal-core-clippy",
            &[
                ("protocols/clippy.toml", "a = 1\n"),
                ("roles/pool/core/clippy.toml", "a = 2\n"),
            ],
        ),
        (
            "equal-core-clippy",
            &[
                ("protocols/clippy.toml", "a = 1\n"),
                ("roles/pool/core/Cargo.toml", "[package]\n"),
            ],
        ),
        (
            "lints-inherited",
            &[(
                "utils/buffer/Cargo.toml",
                "[package]\nname = \"stratum-buffer-sv2\"\n",
            )],
        ),
        (
            "members-commented",
            &[(
                "Cargo.toml",
                "[workspace]\nmembers = [\n    \"xtask\",\n]\n",
            )],
        ),
        (
            "package-names",
            &[(
                "utils/buffer/Cargo.toml",
                "[package]\nname = \"buffer_sv2\"\n",
            )],
        ),
        (
            "unsafe-places",
            &[(
                "utils/bitcoin-node/src/lib.rs",
                "fn f() {\n    unsafe { g() }\n}\n",
            )],
        ),
        (
            "no-get-prefix",
            &[("utils/buffer/src/lib.rs", "pub fn get_size() {}\n")],
        ),
        (
            "no-ignored-tests",
            &[(
                "utils/buffer/src/lib.rs",
                "#[test]\n#[ignore = \"slow\"]\nfn f() {}\n",
            )],
        ),
        (
            "nothing-left-to-do",
            &[("utils/buffer/src/lib.rs", "fn f() {\n    todo!()\n}\n")],
        ),
        (
            "nothing-left-to-do",
            &[("utils/buffer/src/lib.rs", "fn f() {\n    dbg!(1);\n}\n")],
        ),
        (
            "bounded-channels",
            &[(
                "roles/pool/src/lib.rs",
                "fn f() {\n    mpsc::unbounded_channel::<u8>();\n}\n",
            )],
        ),
        (
            "bounded-channels",
            &[(
                "roles/pool/src/lib.rs",
                "fn f() {\n    std::sync::mpsc::channel::<u8>();\n}\n",
            )],
        ),
        (
            "no-private-paths",
            &[("docs/a.md", concat!("see /ho", "me/alice/notes\n"))],
        ),
        (
            "public-hosts",
            &[(
                "docs/a.md",
                concat!("see https:/", "/mirror.corp.internal/x\n"),
            )],
        ),
        ("no-trailing-whitespace", &[("docs/a.md", "a \n")]),
        (
            "no-trailing-whitespace",
            &[("docs/a.md", "no newline at the end")],
        ),
        ("links-resolve", &[("docs/a.md", "[b](b.md)\n")]),
        ("links-resolve", &[("docs/a.md", "[b](#b)\n# A\n")]),
        (
            "guides-know-the-keys",
            &[
                ("docs/a.md", "[all](a-config.toml): `listen.port`\n"),
                ("docs/a-config.toml", "[listen]\nport = 1\n#key = \"\"\n"),
            ],
        ),
        (
            "guides-know-the-keys",
            &[
                (
                    "docs/a.md",
                    "[all](a-config.toml): `listen.prot`, `listen.port`\n",
                ),
                ("docs/a-config.toml", "[listen]\nport = 1\n"),
            ],
        ),
        ("readme-commands", &[("README.md", "Run `cargo demo`.\n")]),
        ("book-pages", LIBRARY),
        (
            "book-pages",
            &[
                LIBRARY[0],
                LIBRARY[1],
                ("docs/book/a.md", "package = \"stratum-a\"\n"),
                ("docs/book/README.md", "[a](a.md)\n"),
                ("docs/book/lib.rs", "pages![];\n"),
            ],
        ),
        ("crates-open-with-example", LIBRARY),
        (
            "examples-have-readmes",
            &[
                ("examples/a/src/main.rs", ""),
                ("examples/a/Cargo.toml", ""),
            ],
        ),
        (
            "workflows-call-xtask",
            &[(".github/workflows/a.yml", "- run: make\n")],
        ),
        ("api-lists-have-crates", LIBRARY),
    ];

    /// A library with nothing beside it.
    const LIBRARY: &[(&str, &str)] = &[
        ("utils/a/Cargo.toml", "[package]\nname = \"stratum-a\"\n"),
        ("utils/a/src/lib.rs", "//! A.\n"),
    ];

    #[test]
    fn each_rule_fires_on_bad_input() {
        for (name, rule) in RULES {
            let cases: Vec<_> = BAD.iter().filter(|(case, _)| case == name).collect();
            assert!(!cases.is_empty(), "no bad input for rule {name}");
            for (_, files) in cases {
                let findings = rule(&Tree::from_texts(files));
                assert_eq!(findings.len(), 1, "{name} on {files:?}: {findings:?}");
            }
        }
    }

    #[test]
    fn a_finding_says_where_what_and_what_to_do() {
        let tree = Tree::from_texts(&[("a/src/lib.rs", "\n#[ignore]\n")]);
        let text = rust::no_ignored_tests(&tree)[0].to_string();
        assert!(text.starts_with("a/src/lib.rs:2: "), "{text}");
        assert!(text.contains("; "), "{text}");
    }

    #[test]
    fn the_repository_is_tidy() {
        let findings = check(&Tree::read().unwrap());
        let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert!(
            lines.is_empty(),
            "{} findings:\n{}",
            lines.len(),
            lines.join("\n")
        );
    }
}
