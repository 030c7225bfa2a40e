//! The reference implementation's programs, each a process of its own.
//!
//! `sri.sh` installs them; what they write is kept in a folder for each scenario.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mining_proxy_core::ChannelMode;

use crate::eventually;
use crate::ours::{authority_secret_text, authority_text};
use crate::signet::free_port;

/// Names the folder with the programs; `target/sri/bin` without it.
const VARIABLE: &str = "SRI_PROGRAMS";

/// Shares a minute that the programs aim at, for each channel or miner.
pub const SHARES_PER_MINUTE: f64 = 120.0;

/// Hashes a second of each miner; a translator is told to expect it.
pub const HASHRATE: f64 = 500_000.0;

/// A folder for what the programs of a scenario write, empty at first.
///
/// # Panics
/// When it cannot be made.
pub fn scenario_folder(scenario: &str) -> PathBuf {
    let folder = target().join("sri/logs").join(scenario);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for logs");
    folder.canonicalize().expect("it was just made")
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")
}

/// A running program; killed when dropped.
pub struct Program {
    /// Where it listens.
    pub listen: SocketAddr,
    name: &'static str,
    config: PathBuf,
    log: PathBuf,
    child: Child,
    monitoring: SocketAddr,
}

impl Program {
    /// A pool that has its templates from the template provider at `provider`; pools of one scenario have different
    /// numbers.
    ///
    /// # Panics
    /// When it does not start.
    pub fn pool(folder: &Path, provider: SocketAddr, number: u16) -> Self {
        let folder = folder.join(number.to_string());
        fs::create_dir_all(&folder).expect("a folder for a pool");
        let listen = local(free_port());
        let config = format!(
            r#"
listen_address = "{listen}"
authority_public_key = "{public}"
authority_secret_key = "{secret}"
cert_validity_sec = 3600
coinbase_reward_script = "raw(51)"
server_id = {number}
pool_signature = "interop"
shares_per_minute = {SHARES_PER_MINUTE:.1}
share_batch_size = 5
supported_extensions = [0x0002]

[template_provider_type.Sv2Tp]
address = "{provider}"
public_key = "{public}"
"#,
            public = authority_text(),
            secret = authority_secret_text(),
        );
        Self::start("pool_sv2", &config, &folder, listen)
    }

    /// A translator whose upstream is the pool at `upstream`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn translator(folder: &Path, upstream: SocketAddr, mode: ChannelMode) -> Self {
        let listen = local(free_port());
        let config = format!(
            r#"
downstream_address = "{ip}"
downstream_port = {port}
max_supported_version = 2
min_supported_version = 2
downstream_extranonce2_size = 4
verify_payout = false
aggregate_channels = {is_aggregated}
supported_extensions = [0x0002]
required_extensions = [0x0002]

[downstream_difficulty_config]
min_individual_miner_hashrate = {HASHRATE:.1}
shares_per_minute = {SHARES_PER_MINUTE:.1}
enable_vardiff = true
job_keepalive_interval_secs = 60

[[upstreams]]
address = "{upstream_ip}"
port = {upstream_port}
authority_pubkey = "{public}"
user_identity = "farm"
"#,
            ip = listen.ip(),
            port = listen.port(),
            is_aggregated = mode == ChannelMode::Aggregated,
            upstream_ip = upstream.ip(),
            upstream_port = upstream.port(),
            public = authority_text(),
        );
        Self::start("translator_sv2", &config, folder, listen)
    }

    /// Starts it; `config` gets an address for monitoring put in front.
    fn start(name: &'static str, config: &str, folder: &Path, listen: SocketAddr) -> Self {
        let monitoring = local(free_port());
        let config_path = folder.join(format!("{name}.toml"));
        let config = format!(
            "monitoring_address = \"{monitoring}\"\nmonitoring_cache_refresh_secs = 1\n{config}"
        );
        fs::write(&config_path, config).expect("the folder can be written to");
        let log = folder.join(format!("{name}.log"));
        let mut program = Self {
            child: spawn(name, &config_path, &log),
            listen,
            name,
            config: config_path,
            log,
            monitoring,
        };
        program.wait_until_it_listens();
        program
    }

    fn wait_until_it_listens(&mut self) {
        eventually(&format!("{} listens", self.name), || {
            let ended = self.child.try_wait().expect("a child");
            assert!(
                ended.is_none(),
                "{} ended: {ended:?}; see {:?}",
                self.name,
                self.log
            );
            TcpStream::connect(self.listen).ok()
        });
    }

    /// Ends it at once, as a power cut would.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was killed");
    }

    /// Starts it again after [`kill`](Self::kill), as it was.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.child = spawn(self.name, &self.config, &self.log);
        self.wait_until_it_listens();
    }

    /// What its monitoring server answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn monitoring(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.monitoring).expect("monitoring listens");
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.monitoring);
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// Sum of a metric over all its labels that are `wanted`.
    pub fn metric(&self, name: &str, wanted: impl Fn(&str) -> bool) -> f64 {
        let text = self.monitoring("/metrics");
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']) && wanted(rest))
        });
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }
}

impl Program {
    /// Channels that are open to its clients.
    pub fn client_channels(&self) -> f64 {
        self.metric("sv2_client_channels", |_| true)
    }

    /// Channels that it has open to its upstream.
    pub fn server_channels(&self) -> f64 {
        self.metric("sv2_server_channels", |_| true)
    }

    /// Shares of its clients that it took.
    pub fn accepted_of_clients(&self) -> f64 {
        self.metric("sv2_client_shares_accepted_total", |_| true)
    }

    /// Shares that its upstream took.
    pub fn accepted_by_server(&self) -> f64 {
        self.metric("sv2_server_shares_accepted_total", |_| true)
    }

    /// Shares that it or its upstream refused, those left out that were under way when the tip changed.
    pub fn faults(&self) -> f64 {
        let is_fault = |labels: &str| !labels.contains("stale-share");
        self.metric("sv2_client_shares_rejected_total", is_fault)
            + self.metric("sv2_server_shares_rejected_total", is_fault)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{} wrote {}", self.name, self.log.display());
        }
    }
}

fn spawn(name: &str, config: &Path, log: &Path) -> Child {
    let folder = std::env::var_os(VARIABLE).map_or_else(|| target().join("sri/bin"), PathBuf::from);
    let log = File::options()
        .create(true)
        .append(true)
        .open(log)
        .expect("a log file");
    let command = Command::new(folder.join(name))
        .arg("-c")
        .arg(config)
        .stdin(Stdio::null())
        .stderr(log.try_clone().expect("a log file"))
        .stdout(log)
        .spawn();
    command.unwrap_or_else(|error| panic!("{name} in {folder:?}: {error}; run test/interop/sri.sh"))
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}
