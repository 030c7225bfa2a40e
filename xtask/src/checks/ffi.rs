//! The C library: its header, its sizes, and its tests in C under the tools that see wrong memory.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::steps::{cargo, cargo_command};
use crate::{header, root, tools};

const PACKAGE: &str = "stratum-sv2-ffi";

/// One way to build the library.
struct Build {
    name: &'static str,
    features: &'static str,
    /// The messages it has, as `const_sv2` names their tables.
    protocols: &'static str,
    /// Whether it is built with the standard library; without it the profile is `firmware`.
    std: bool,
    /// Most bytes that all of its functions may take in a program; none where size is no promise.
    max_len: Option<u64>,
}

/// What is promised to be small, and what is only kept from growing unseen.
const BUILDS: &[Build] = &[
    Build {
        name: "template-provider",
        features: "template-provider",
        protocols: "common;template_distribution",
        std: false,
        max_len: Some(48 * 1024),
    },
    Build {
        name: "miner",
        features: "miner,lowmemory",
        protocols: "common;mining",
        std: false,
        max_len: Some(256 * 1024),
    },
    Build {
        name: "std",
        features: "std,template-provider,miner",
        protocols: "common;template_distribution;mining",
        std: true,
        max_len: None,
    },
];

/// Programs that the step runs, and the packages of Debian that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("cmake", "cmake"),
    ("cc", "gcc"),
    ("c++", "g++"),
    ("clang", "clang"),
    ("valgrind", "valgrind"),
    ("python3", "python3"),
    ("strip", "binutils"),
];

/// Everything that must hold of the C library.
pub(crate) fn check() -> anyhow::Result<()> {
    tools::system(PROGRAMS)?;
    header::check()?;
    for features in ["", "template-provider", "miner", "template-provider,miner"] {
        cargo(&[
            "clippy",
            "-p",
            PACKAGE,
            "--all-targets",
            "--features",
            features,
            "--",
            "-D",
            "warnings",
        ])?;
    }
    cargo(&[
        "test",
        "-p",
        PACKAGE,
        "--features",
        "template-provider,miner",
    ])?;

    let folder = root().join("target/ffi");
    std::fs::create_dir_all(&folder)?;
    for build in BUILDS {
        check_build(build, &folder)?;
    }
    Ok(())
}

fn check_build(build: &Build, folder: &Path) -> anyhow::Result<()> {
    println!("-- {}", build.name);
    let library = folder.join(format!("{}.a", build.name));
    std::fs::copy(artifact(build, "staticlib", "libsv2_ffi.a")?, &library)?;
    if !build.std {
        sizes(build, &library, folder)?;
    }
    // The sanitizers see what C reads and writes, valgrind also what Rust does. Another compiler has other warnings.
    c_tests(
        build,
        &library,
        folder,
        "sanitizers",
        &["-DSV2_SANITIZE=ON"],
    )?;
    match build.std {
        true => c_tests(
            build,
            &library,
            folder,
            "clang",
            &["-DCMAKE_C_COMPILER=clang"],
        ),
        false => c_tests(build, &library, folder, "valgrind", &["-DSV2_VALGRIND=ON"]),
    }
}

/// Builds the library as a file of one kind, and gives the file's path.
fn artifact(build: &Build, kind: &str, file: &str) -> anyhow::Result<PathBuf> {
    let profile = if build.std { "dev" } else { "firmware" };
    // One kind at a time: a library of several kinds is not optimised as a whole.
    let mut command = cargo_command(&[
        "rustc",
        "-p",
        PACKAGE,
        "--lib",
        "--crate-type",
        kind,
        "--profile",
        profile,
        "--no-default-features",
        "--features",
        build.features,
        "--message-format",
        "json-render-diagnostics",
    ]);
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("the library {} cannot be built as {kind}", build.name);
    }
    // Cargo says where its files are, wherever its configuration puts them.
    let messages = String::from_utf8(output.stdout)?;
    let path = messages
        .split('"')
        .find(|word| Path::new(word).file_name() == Some(OsStr::new(file)))
        .with_context(|| format!("cargo names no {file}"))?;
    Ok(PathBuf::from(path))
}

/// Prints what the library adds to a program, and what it is as a shared one.
fn sizes(build: &Build, library: &Path, folder: &Path) -> anyhow::Result<()> {
    let symbols = output(
        Command::new("nm")
            .args(["-g", "--defined-only"])
            .arg(library),
    )?;
    let functions: Vec<_> = symbols
        .lines()
        .filter_map(|line| line.split_once(" T ")?.1.strip_prefix("sv2_"))
        .collect();
    let empty = linked(build.name, &[], library, folder)?;
    let all = linked(build.name, &functions, library, folder)?;

    let shared = folder.join(format!("{}.so", build.name));
    std::fs::copy(artifact(build, "cdylib", "libsv2_ffi.so")?, &shared)?;
    finish_quietly(Command::new("strip").arg(&shared))?;
    let shared_len = std::fs::metadata(&shared)?.len();
    let added = all.saturating_sub(empty);
    println!(
        "   {} without std: {} functions add {added} bytes to a program (stripped, sections without use dropped); \
         shared library {shared_len} bytes",
        build.name,
        functions.len(),
    );
    if let Some(max_len) = build.max_len.filter(|max_len| added > *max_len) {
        bail!(
            "{} adds {added} bytes to a program, {max_len} are allowed",
            build.name
        );
    }
    Ok(())
}

/// Length of a stripped program that could call these functions.
fn linked(name: &str, functions: &[&str], library: &Path, folder: &Path) -> anyhow::Result<u64> {
    let declared: String = functions
        .iter()
        .map(|function| format!("void sv2_{function}(void);\n"))
        .collect();
    let listed: String = functions
        .iter()
        .map(|function| format!("sv2_{function},\n"))
        .collect();
    let source = folder.join(format!("{name}-size.c"));
    let program = source.with_extension("program");
    let text = format!(
        "{declared}void (*volatile all[])(void) = {{{listed}0}};\nint main(void) {{ return all[0] != 0; }}\n"
    );
    std::fs::write(&source, text)?;
    let mut command = Command::new("cc");
    command
        .args(["-Os", "-s", "-Wl,--gc-sections", "-o"])
        .args([&program, &source, library]);
    finish_quietly(&mut command)?;
    Ok(std::fs::metadata(&program)?.len())
}

fn c_tests(
    build: &Build,
    library: &Path,
    folder: &Path,
    how: &str,
    options: &[&str],
) -> anyhow::Result<()> {
    let tests = root().join("protocols/v2/sv2-ffi/tests/c");
    let place = folder.join(format!("c-{}-{how}", build.name));
    // What an earlier run found, such as a compiler, is looked for again.
    let _ = std::fs::remove_file(place.join("CMakeCache.txt"));
    let mut configure = Command::new("cmake");
    configure
        .arg("-S")
        .arg(&tests)
        .arg("-B")
        .arg(&place)
        .arg(format!("-DSV2_LIBRARY={}", library.display()))
        .arg(format!("-DSV2_PROTOCOLS={}", build.protocols))
        .arg(format!(
            "-DSV2_NO_STD={}",
            if build.std { "OFF" } else { "ON" }
        ))
        .args(options);
    finish_quietly(&mut configure)?;
    finish_quietly(Command::new("cmake").arg("--build").arg(&place))?;
    println!("   tests in C, {} with {how}", build.name);
    let mut tests = Command::new("ctest");
    tests
        .arg("--test-dir")
        .arg(&place)
        .arg("--output-on-failure");
    finish_quietly(&mut tests)
}

/// Runs a command, and shows what it printed if it fails.
fn finish_quietly(command: &mut Command) -> anyhow::Result<()> {
    output(command).map(drop)
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting `{program}`"))?;
    if !output.status.success() {
        let printed = [output.stdout, output.stderr].concat();
        bail!(
            "`{program}` ended with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&printed)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
