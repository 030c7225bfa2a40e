//! A real bitcoind: the one in `BITCOIND`, the one on PATH, or Debian's, unpacked beside the system.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// The package that holds bitcoind and bitcoin-cli. It is in Debian's testing suite, not in the stable one.
const PACKAGE: &str = "bitcoin-knots";

/// Debian's keys, as every Debian system has them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What helps where no node can be obtained.
const ADVICE: &str =
    "install Bitcoin Core or Knots so that `bitcoind` is on PATH, or set BITCOIND to its path";

/// Programs of a node, ready to be started.
#[derive(Clone, Debug)]
pub struct NodeBinaries {
    /// Program and first arguments that come before a binary's own path: a loader of its own, or nothing.
    loader: Vec<OsString>,
    bitcoind: PathBuf,
    /// Where it comes from, for people.
    origin: String,
}

impl NodeBinaries {
    /// A command that starts bitcoind.
    pub fn bitcoind(&self) -> Command {
        self.command(&self.bitcoind)
    }

    /// A command that starts bitcoin-cli, which is expected beside bitcoind.
    pub fn bitcoin_cli(&self) -> Command {
        self.command(&self.bitcoind.with_file_name("bitcoin-cli"))
    }

    /// Where the programs come from, for people.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What `bitcoind --version` says first.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn version(&self) -> anyhow::Result<String> {
        let mut command = self.bitcoind();
        let output = command.arg("--version").output();
        let output = output.with_context(|| format!("cannot run {}", self.bitcoind.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        match text.lines().next() {
            Some(line) if output.status.success() => Ok(line.to_owned()),
            _ => bail!(
                "{} does not answer to --version; {ADVICE}",
                self.bitcoind.display()
            ),
        }
    }

    fn command(&self, program: &Path) -> Command {
        match self.loader.split_first() {
            Some((loader, arguments)) => {
                let mut command = Command::new(loader);
                command.args(arguments).arg(program);
                command
            }
            None => Command::new(program),
        }
    }

    fn of_system(bitcoind: PathBuf, origin: &str) -> Self {
        Self {
            loader: Vec::new(),
            bitcoind,
            origin: origin.to_owned(),
        }
    }

    /// What was unpacked into `folder`, if it is there. It runs with the libc it was built for, not with the system's.
    fn unpacked(folder: &Path) -> Option<Self> {
        let root = folder.join("root/usr");
        let bitcoind = root.join("bin/bitcoind");
        let libraries = fs::read_dir(root.join("lib"))
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()));
        let (loader, libraries) = libraries
            .filter_map(|folder| Some((loader_in(&folder)?, folder)))
            .next()?;
        let loader = [loader.into(), "--library-path".into(), libraries.into()].into();
        let origin = format!("Debian's {PACKAGE} in {}", folder.display());
        bitcoind.is_file().then_some(Self {
            loader,
            bitcoind,
            origin,
        })
    }
}

fn loader_in(folder: &Path) -> Option<PathBuf> {
    let mut files = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()));
    files.find(|file| {
        file.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("ld-linux"))
    })
}

/// Finds or obtains a bitcoind and says on standard error what it does.
///
/// In this order: the variable `BITCOIND`, `bitcoind` on PATH, the one unpacked earlier into `target_dir`, and at last
/// Debian's package, which takes network and about ten seconds. Several processes may call it at once.
///
/// # Errors
/// When there is none and none can be had; the message says what to do.
pub fn ensure(target_dir: &Path) -> anyhow::Result<NodeBinaries> {
    if let Some(path) = std::env::var_os("BITCOIND").map(PathBuf::from) {
        if !path.is_file() {
            bail!("BITCOIND is set to {}, which is no file", path.display());
        }
        return Ok(NodeBinaries::of_system(path, "BITCOIND"));
    }
    if let Some(path) = on_path("bitcoind") {
        return Ok(NodeBinaries::of_system(path, "PATH"));
    }
    let folder = target_dir.join("bitcoind");
    if let Some(found) = NodeBinaries::unpacked(&folder) {
        return Ok(found);
    }
    eprintln!(
        "node: no bitcoind in BITCOIND or on PATH, fetching Debian's {PACKAGE} into {}",
        folder.display()
    );
    // Made under a name of its own and renamed when complete, so that nobody meets half of it.
    let workshop = target_dir.join(format!("bitcoind.{}.partial", std::process::id()));
    let made = obtain(&workshop);
    if made.is_ok()
        && fs::rename(&workshop, &folder).is_err()
        && NodeBinaries::unpacked(&folder).is_none()
    {
        // What stands there is neither complete nor another process's finished work.
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot replace {}", folder.display()))?;
        fs::rename(&workshop, &folder)
            .with_context(|| format!("cannot write {}", folder.display()))?;
    }
    let _ = fs::remove_dir_all(&workshop);
    made.with_context(|| format!("no bitcoind could be obtained; {ADVICE}"))?;
    let binaries = NodeBinaries::unpacked(&folder).context("the package holds no bitcoind")?;
    eprintln!("node: {}", binaries.version()?);
    Ok(binaries)
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Downloads the package with everything it needs, libc included, and unpacks it into `folder`/root.
fn obtain(folder: &Path) -> anyhow::Result<()> {
    if !Path::new(KEYRING).is_file() || on_path("apt-get").is_none() || on_path("dpkg").is_none() {
        bail!("this is no Debian system (it has no apt-get, dpkg or {KEYRING})");
    }
    for part in ["lists/partial", "cache/archives/partial", "root"] {
        let path = folder.join(part);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    let folder = folder.canonicalize()?;
    let mirror = mirror()?;
    fs::write(
        folder.join("sources.list"),
        format!("deb [signed-by={KEYRING}] {mirror} testing main\n"),
    )?;
    // An empty list of installed packages makes apt take libc and the loader too.
    fs::write(folder.join("status"), "")?;
    eprintln!("node: reading the package lists");
    apt(&folder, &["update"])?;
    eprintln!("node: downloading {PACKAGE} and its libraries");
    apt(
        &folder,
        &[
            "--no-install-recommends",
            "-y",
            "--download-only",
            "install",
            PACKAGE,
        ],
    )?;
    eprintln!("node: unpacking");
    for entry in fs::read_dir(folder.join("cache/archives"))? {
        let package = entry?.path();
        if package
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            run(Command::new("dpkg")
                .arg("-x")
                .args([&package, &folder.join("root")]))?;
        }
    }
    for part in ["lists", "cache"] {
        fs::remove_dir_all(folder.join(part))?;
    }
    Ok(())
}

/// The mirror that this system takes its packages from.
fn mirror() -> anyhow::Result<String> {
    let listed = run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    let first = listed.lines().map(str::trim).find(|line| !line.is_empty());
    first.map(str::to_owned).context("apt knows no mirror")
}

fn apt(folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let at = |part: &str| folder.join(part).display().to_string();
    let options = [
        format!("Dir::Etc::sourcelist={}", at("sources.list")),
        "Dir::Etc::sourceparts=-".to_owned(),
        format!("Dir::State::lists={}", at("lists")),
        format!("Dir::Cache={}", at("cache")),
        format!("Dir::State::status={}", at("status")),
        "APT::Get::List-Cleanup=0".to_owned(),
        // Otherwise a mirror that cannot be reached is only a warning.
        "APT::Update::Error-Mode=any".to_owned(),
        // apt's own user may not enter the folder.
        "APT::Sandbox::User=root".to_owned(),
        // A machine without network is to say so soon.
        "Acquire::http::Timeout=15".to_owned(),
        "Acquire::Retries=1".to_owned(),
    ];
    let mut command = Command::new("apt-get");
    for option in options {
        command.args(["-o", &option]);
    }
    run(command.args(arguments)).map(drop)
}

/// Runs a program to its end; answers with what it printed.
fn run(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<_> = said.lines().rev().take(3).collect();
        bail!(
            "{program} failed ({}): {}",
            output.status,
            last.into_iter().rev().collect::<Vec<_>>().join(" / ")
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_folder_counts_as_unpacked() {
        let folder = std::env::temp_dir().join(format!("xtask-node-test-{}", std::process::id()));
        let root = folder.join("root/usr");
        assert!(NodeBinaries::unpacked(&folder).is_none());
        fs::create_dir_all(root.join("lib/some-triplet")).unwrap();
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::write(root.join("bin/bitcoind"), "").unwrap();
        assert!(NodeBinaries::unpacked(&folder).is_none(), "no loader");
        fs::write(root.join("lib/some-triplet/ld-linux-any.so.2"), "").unwrap();
        let found = NodeBinaries::unpacked(&folder).unwrap();
        let command = found.bitcoin_cli();
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        fs::remove_dir_all(&folder).unwrap();
        assert!(
            command
                .get_program()
                .to_string_lossy()
                .ends_with("some-triplet/ld-linux-any.so.2")
        );
        assert_eq!(words[0], "--library-path");
        assert!(words[1].ends_with("lib/some-triplet") && words[2].ends_with("bin/bitcoin-cli"));
    }

    #[test]
    fn a_failed_program_is_quoted() {
        let error = run(Command::new("sh").args(["-c", "echo no route >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("no route"), "{error}");
        assert!(
            run(&mut Command::new("no-such-program"))
                .unwrap_err()
                .to_string()
                .contains("cannot run")
        );
    }
}
