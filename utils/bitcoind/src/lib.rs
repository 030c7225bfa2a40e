//! A real bitcoind: the one in `BITCOIND`, the one on PATH, or Debian's, unpacked beside the system.
//!
//! ```no_run
//! let binaries = bitcoind::ensure("target".as_ref())?;
//! println!("{}", binaries.version()?);
//! let node = binaries.regtest("/tmp/regtest".as_ref(), 18443).spawn()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use thiserror::Error;

/// The package that holds bitcoind and bitcoin-cli. It is in Debian's testing suite, not in the stable one.
const PACKAGE: &str = "bitcoin-knots";

/// Debian's keys, as every Debian system has them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What helps where no node can be obtained.
const ADVICE: &str =
    "install Bitcoin Core or Knots so that `bitcoind` is on PATH, or set BITCOIND to its path";

/// Why there is no bitcoind.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The variable names no file.
    #[error("BITCOIND is set to {0}, which is no file; correct or unset it")]
    Variable(PathBuf),
    /// A program or folder cannot be used.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{program} failed ({status}): {said}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// Its last words.
        said: String,
    },
    /// Debian's way is closed.
    #[error("{0}")]
    NoDebian(String),
    /// What was found or unpacked is no working bitcoind.
    #[error("{0} is no bitcoind that works; {ADVICE}")]
    Broken(String),
    /// None is there and none can be had.
    #[error("no bitcoind could be obtained: {0}; {ADVICE}")]
    NotObtained(Box<Self>),
}

fn io_error(doing: impl Into<String>) -> impl FnOnce(io::Error) -> NodeError {
    let doing = doing.into();
    move |source| NodeError::Io { doing, source }
}

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
    pub fn version(&self) -> Result<String, NodeError> {
        let name = self.bitcoind.display().to_string();
        let output = self.bitcoind().arg("--version").output();
        let output = output.map_err(io_error(format!("run {name}")))?;
        let text = String::from_utf8_lossy(&output.stdout);
        match text.lines().next() {
            Some(line) if output.status.success() => Ok(line.to_owned()),
            _ => Err(NodeError::Broken(name)),
        }
    }

    /// A command that starts a bitcoind -regtest of one's own: data in `folder`, no peers, RPC by cookie on a port of
    /// this machine.
    pub fn regtest(&self, folder: &Path, rpc_port: u16) -> Command {
        let mut command = self.bitcoind();
        command
            .args(["-regtest", "-listen=0", "-dnsseed=0", "-fallbackfee=0.0002"])
            .args(["-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1"])
            .arg(format!("-datadir={}", folder.display()))
            .arg(format!("-rpcport={rpc_port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
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
pub fn ensure(target_dir: &Path) -> Result<NodeBinaries, NodeError> {
    if let Some(path) = std::env::var_os("BITCOIND").map(PathBuf::from) {
        if !path.is_file() {
            return Err(NodeError::Variable(path));
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
            .and_then(|()| fs::rename(&workshop, &folder))
            .map_err(io_error(format!("replace {}", folder.display())))?;
    }
    let _ = fs::remove_dir_all(&workshop);
    made.map_err(|reason| NodeError::NotObtained(Box::new(reason)))?;
    let binaries = NodeBinaries::unpacked(&folder)
        .ok_or_else(|| NodeError::Broken(folder.display().to_string()))?;
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
fn obtain(folder: &Path) -> Result<(), NodeError> {
    if !Path::new(KEYRING).is_file() || on_path("apt-get").is_none() || on_path("dpkg").is_none() {
        let why = format!("this is no Debian system (it has no apt-get, dpkg or {KEYRING})");
        return Err(NodeError::NoDebian(why));
    }
    for part in ["lists/partial", "cache/archives/partial", "root"] {
        let path = folder.join(part);
        fs::create_dir_all(&path).map_err(io_error(format!("create {}", path.display())))?;
    }
    let using = || io_error(format!("use {}", folder.display()));
    let folder = folder.canonicalize().map_err(using())?;
    let mirror = mirror()?;
    fs::write(
        folder.join("sources.list"),
        format!("deb [signed-by={KEYRING}] {mirror} testing main\n"),
    )
    .map_err(using())?;
    // An empty list of installed packages makes apt take libc and the loader too.
    fs::write(folder.join("status"), "").map_err(using())?;
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
    for entry in fs::read_dir(folder.join("cache/archives")).map_err(using())? {
        let package = entry.map_err(using())?.path();
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
        fs::remove_dir_all(folder.join(part)).map_err(using())?;
    }
    Ok(())
}

/// The mirror that this system takes its packages from.
fn mirror() -> Result<String, NodeError> {
    let listed = run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    let first = listed.lines().map(str::trim).find(|line| !line.is_empty());
    first
        .map(str::to_owned)
        .ok_or_else(|| NodeError::NoDebian("apt knows no mirror".to_owned()))
}

fn apt(folder: &Path, arguments: &[&str]) -> Result<(), NodeError> {
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
fn run(command: &mut Command) -> Result<String, NodeError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(io_error(format!("run {program}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<_> = said.lines().rev().take(3).collect();
        return Err(NodeError::Failed {
            said: last.into_iter().rev().collect::<Vec<_>>().join(" / "),
            status: output.status.to_string(),
            program,
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_folder_counts_as_unpacked() {
        let folder = std::env::temp_dir().join(format!("bitcoind-test-{}", std::process::id()));
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
