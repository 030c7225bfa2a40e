//! The command line as a user meets it: the binary, its files and its messages.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use tempfile::TempDir;

const ROLES: [&str; 3] = ["pool", "template-provider", "miner"];

fn stratum() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stratum"));
    command.stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

fn run(arguments: &[&str]) -> Output {
    stratum().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs what must succeed, and gives what it prints.
fn succeed(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    text(&output.stdout)
}

/// Runs what must fail, and gives its message.
fn fail(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    let said = text(&output.stderr);
    // Lines of the log may come before it.
    let message = said.lines().find(|line| line.starts_with("error: "));
    assert!(message.is_some() && !said.contains("panicked"), "{said}");
    said
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

fn is_private(file: &str) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let mode = Path::new(file).metadata().unwrap().permissions().mode();
    mode & 0o077 == 0
}

/// Writes the configuration of a role and completes it with a fresh pair of keys, as a user does.
fn ready_config(folder: &TempDir, role: &str) -> String {
    let file = path(folder, &format!("{role}.toml"));
    succeed(&["config", "init", role, &file]);
    let keys = succeed(&["keys"]);
    let line = |key: &str| {
        let line = keys.lines().find(|line| line.starts_with(key));
        line.unwrap().to_owned()
    };
    let public = line("public_key")
        .replace("public_key = ", "")
        .replace('"', "");
    let config = std::fs::read_to_string(&file)
        .unwrap()
        .replace("#secret_key = \"\"", &line("secret_key"))
        .replace("#public_key = \"\"", &line("public_key"))
        .replace("#outputs = [", "outputs = [")
        .replace(
            "addr(ADDRESS)",
            "addr(bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4)",
        );
    let config = match role {
        "miner" => config.replace(
            "#url = \"\"",
            &format!("url = \"stratum2+tcp://127.0.0.1:34254/{public}\""),
        ),
        _ => config,
    };
    std::fs::write(&file, config).unwrap();
    file
}

#[test]
fn a_written_configuration_is_valid_once_keys_are_pasted() {
    let folder = TempDir::new().unwrap();
    for role in ROLES {
        let file = ready_config(&folder, role);
        assert!(is_private(&file), "{role}");
        let said = succeed(&[role, "-c", &file, "--check"]);
        assert_eq!(said, "the configuration is valid\n", "{role}");
    }
}

#[test]
fn init_prints_by_default_and_replaces_nothing_unasked() {
    let folder = TempDir::new().unwrap();
    let file = path(&folder, "pool.toml");
    let printed = succeed(&["config", "init", "pool"]);
    assert!(printed.contains("[payout]"));
    succeed(&["config", "init", "pool", &file]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), printed);
    std::fs::write(&file, "mine").unwrap();
    let said = fail(&["config", "init", "pool", &file]);
    assert!(
        said.contains("is there already; choose another file, or --force"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    succeed(&["config", "init", "pool", &file, "--force"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), printed);
}

#[test]
fn keys_are_fresh_and_the_file_is_private() {
    let folder = TempDir::new().unwrap();
    assert_ne!(succeed(&["keys"]), succeed(&["keys"]));
    let file = path(&folder, "keys.toml");
    let public = succeed(&["keys", "--write", &file]);
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(public.starts_with("public_key") && written.ends_with(&public));
    assert!(written.contains("secret_key") && !public.contains("secret_key"));
    assert!(is_private(&file));
    assert!(fail(&["keys", "--write", &file]).contains("is there already"));
}

#[test]
fn each_mistake_in_a_configuration_says_file_key_and_what_to_do() {
    let folder = TempDir::new().unwrap();
    let pool = ready_config(&folder, "pool");
    let broken = path(&folder, "broken.toml");
    for (from, to, expected) in [
        (
            "secret_key = \"",
            "secret_key = \"x",
            "`authority.secret_key`: ",
        ),
        (
            "127.0.0.1:34254",
            "127.0.0.1:99999",
            "`listen.address`: `127.0.0.1:99999` is no address",
        ),
        ("v8f3t4", "v8f3t5", "`payout.outputs`: coinbase output 1: "),
        (
            "#chain = \"mainnet\"",
            "chain = \"signet\"",
            "is not of chain signet; use an address",
        ),
        (
            "rpc://127.0.0.1\"",
            "http://127.0.0.1\"",
            "`node.urls`: the node's address must start",
        ),
        (
            "per_minute = 10.0",
            "per_minute = \"ten\"",
            "`shares.per_minute`: is a text, not a number",
        ),
        (
            "[shares]",
            "[share]",
            "`share`: is not a key of this program; did you mean `shares`?",
        ),
    ] {
        let good = std::fs::read_to_string(&pool).unwrap();
        assert!(good.contains(from), "{from}");
        std::fs::write(&broken, good.replace(from, to)).unwrap();
        let said = fail(&["pool", "-c", &broken, "--check"]);
        assert!(said.contains(&broken) && said.contains(expected), "{said}");
    }
    let said = fail(&["pool", "-c", &path(&folder, "none.toml")]);
    assert_eq!(said.matches("No such file").count(), 1, "{said}");
    assert!(
        said.contains("write one with `stratum config init pool`"),
        "{said}"
    );
}

#[test]
fn a_port_in_use_is_said_before_anything_runs() {
    let folder = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen.address={}", taken.local_addr().unwrap());
    for role in ["pool", "template-provider"] {
        let file = ready_config(&folder, role);
        let embedded = ["--set", "node.urls=embedded", "--set", "node.chain=regtest"];
        let regtest = ["--set", "payout.outputs=raw(51)"];
        let mut arguments = vec![role, "-c", &file, "--set", &listen];
        arguments.extend(embedded);
        if role == "pool" {
            arguments.extend(regtest);
        }
        let said = fail(&arguments);
        assert!(
            said.contains("listen.address") && said.contains("in use"),
            "{said}"
        );
    }
}

/// Longest wait for a line, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that runs until it is told to end, and what it says meanwhile.
struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut command = stratum();
        command.args(arguments).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, lines) = sync_channel(1_024);
        std::thread::spawn(move || {
            said.map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    /// Reads on to the line that says this.
    fn says(&mut self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(error) => panic!("`{text}` is not said: {error}"),
            }
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args([signal, &id]).status();
        assert!(killed.unwrap().success());
    }

    /// Ends it as an operator does; gives its last line.
    fn stop(mut self) -> String {
        self.signal("-TERM");
        let status = self.child.wait().unwrap();
        let last = self.lines.iter().last().unwrap();
        assert!(status.success(), "{last}");
        last
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The URL of a server as it says it when it listens.
fn url_in(line: &str) -> String {
    let start = line.find("stratum2+tcp://").unwrap();
    let url = line[start..].split_whitespace().next().unwrap();
    url.to_owned()
}

/// `listens` is what the program says when miners can come.
fn check_reload(program: &str, settings: &[&str], listens: &str) {
    let folder = TempDir::new().unwrap();
    let file = path(&folder, "config.toml");
    let write = |rest: &str| {
        let pool = "[[upstreams]]\nurl = \"127.0.0.1:9\"\nuser_identity = \"alice\"\n";
        std::fs::write(&file, format!("{pool}{rest}")).unwrap();
    };
    write("");
    let anywhere = ["--set", "listen.address=127.0.0.1:0"];
    let mut program = Program::start(&[&[program, "-c", &file], &anywhere[..], settings].concat());
    program.says(listens);
    write("weight = 0");
    program.signal("-HUP");
    let said = program.says("the new configuration is of no use");
    assert!(said.contains("`upstreams.weight`: is 0"), "{said}");
    write("weight = 2\n[program]\nthreads = 2\nlog = \"debug\"\n");
    program.signal("-HUP");
    let said = program.says("new configuration taken");
    assert!(said.contains("program.threads, program.log"), "{said}");
    write("weight = 2\n");
    program.signal("-HUP");
    let said = program.says("new configuration taken");
    assert!(!said.contains("next start"), "{said}");
    program.stop();
}

#[test]
fn sighup_has_the_translator_read_its_configuration_again() {
    check_reload("translator", &[], "listening for Sv1 miners");
}

#[test]
fn sighup_has_the_mining_proxy_read_its_configuration_again() {
    check_reload(
        "proxy",
        &["--set", "listen.encrypted=false"],
        "mining proxy listens",
    );
}

/// Template provider, pool and miner, each a process with its own configuration, as README and guides start them.
#[test]
fn the_programs_mine_together_and_say_what_they_did() {
    let folder = TempDir::new().unwrap();
    let anywhere = ["--set", "listen.address=127.0.0.1:0"];
    let file = ready_config(&folder, "template-provider");
    let embedded = ["--set", "node.urls=embedded"];
    let mut provider = Program::start(
        &[
            &["template-provider", "-c", &file],
            &anywhere[..],
            &embedded[..],
        ]
        .concat(),
    );
    let url = url_in(&provider.says("template provider listens"));

    let file = ready_config(&folder, "pool");
    let (source, chain) = (format!("template_provider.url={url}"), "node.chain=regtest");
    let rules = [
        "--set",
        &source,
        "--set",
        chain,
        "--set",
        "payout.outputs=raw(51)",
    ];
    let mut pool = Program::start(&[&["pool", "-c", &file], &anywhere[..], &rules[..]].concat());
    let url = url_in(&pool.says("pool listens"));

    let slow = [
        "--set",
        "mining.threads=1",
        "--set",
        "mining.hashrate_limit=4000",
    ];
    let miner = Program::start(&[&["miner", &url, "--user", "rig"], &slow[..]].concat());
    pool.says("block found");
    provider.says("block handed to the node");
    miner.stop();
    let last = pool.stop();
    for said in [
        "the pool has ended",
        "closed=peer_closed 1",
        "templates=\"connected\"",
    ] {
        assert!(last.contains(said), "{last}");
    }
    let last = provider.stop();
    for said in [
        "has ended",
        "node=ready",
        "blocks_refused=0",
        "blocks_unanswered=0",
    ] {
        assert!(last.contains(said), "{last}");
    }
}

#[test]
fn the_demo_mines_its_blocks_without_node_and_network() {
    for channel in ["standard", "extended"] {
        let said = succeed(&[
            "demo",
            "--blocks",
            "3",
            "--miners",
            "2",
            "--interval-ms",
            "200",
            "--channel",
            channel,
        ]);
        let accepted = said.lines().filter(|line| line.contains(" accepted: "));
        assert_eq!(accepted.count(), 3, "{said}");
        assert!(
            said.contains("done    3 blocks accepted by the node"),
            "{said}"
        );
    }
}

#[test]
fn the_demo_says_what_is_wrong_with_its_arguments() {
    let said = fail(&["demo", "--node", "rpc://u:hunter2@127.0.0.1:1"]);
    assert!(
        said.contains("rpc://127.0.0.1:1 cannot be used; check that bitcoind runs"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
    let said = fail(&[
        "demo",
        "--payout",
        "addr(bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4)",
    ]);
    assert!(
        said.contains("--payout: ") && said.contains("is not of chain regtest"),
        "{said}"
    );
}

#[test]
fn signals_end_the_demo() {
    for (blocks, code) in [(None, 0), (Some("1000000"), 130)] {
        let mut command = stratum();
        command.args(["demo", "--interval-ms", "200"]);
        if let Some(blocks) = blocks {
            command.args(["--blocks", blocks]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains(" accepted: ")));
        let killed = Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status();
        assert!(killed.unwrap().success());
        let last = lines.map(Result::unwrap).last().unwrap();
        assert!(last.starts_with("done    "), "{last}");
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}
