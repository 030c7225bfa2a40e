//! The program around the pool.

use std::io::{self, BufRead as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bitcoin::ScriptBuf;
use noise_sv2::AuthoritySecretKey;
use stratum_runtime::{Shutdown, drain_on_signals};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::core::{DEFAULT_DIFFICULTY, DEFAULT_EXTRANONCE_SIZE, DEFAULT_NBITS};
use crate::event::{Counters, Event};
use crate::misbehaviour::Misbehaviour;
use crate::script::{Command, ScriptError, parse_script};
use crate::server::{Events, StartError, TestPool};

/// Lines of standard input that wait to be taken; the reader waits with further ones.
const MAX_LINES: usize = 16;

/// The program ends at a signal in less.
const GRACE: Duration = Duration::from_secs(10);

/// The arguments of the program.
#[derive(Clone, Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "they are flags")]
pub struct TestPoolArgs {
    /// Address to listen on
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub address: IpAddr,
    /// Port to listen on; 0 chooses a free one
    #[arg(long, default_value_t = 34254)]
    pub port: u16,
    /// Secret key that vouches for the pool, as `stratum keys` makes them [default: a fresh one]
    #[arg(long, value_name = "SECRET", conflicts_with = "plain")]
    pub key: Option<String>,
    /// Speak without encryption
    #[arg(long)]
    pub plain: bool,
    /// Difficulty of all shares
    #[arg(long, default_value_t = DEFAULT_DIFFICULTY)]
    pub difficulty: f64,
    /// Bytes of extranonce that miners roll on extended channels, at most 28
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_EXTRANONCE_SIZE)]
    pub extranonce_size: usize,
    /// The network's target as nbits, in hexadecimal; 207fffff makes every other hash a block [default: one so hard that
    /// no share is a block]
    #[arg(long, value_parser = hexadecimal)]
    pub nbits: Option<u32>,
    /// Script that blocks pay, in hexadecimal [default: one that is nobody's]
    #[arg(long, value_name = "SCRIPT", value_parser = script)]
    pub pays: Option<ScriptBuf>,
    /// Do this from the start, such as "slow 500ms"; may be given several times
    #[arg(long = "misbehave", value_name = "COMMAND")]
    pub commands: Vec<String>,
    /// File of commands, one a line, such as "after 5s silent 10s"
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
    /// End after this many good shares [default: never]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub shares: Option<u64>,
    /// End after this many seconds [default: never]
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Leave out the line for each message
    #[arg(long)]
    pub quiet: bool,
    /// Name all misbehaviours, and end
    #[arg(long)]
    pub list: bool,
}

fn script(text: &str) -> Result<ScriptBuf, String> {
    ScriptBuf::from_hex(text).map_err(|error| error.to_string())
}

fn hexadecimal(text: &str) -> Result<u32, String> {
    let digits = text.trim_start_matches("0x");
    u32::from_str_radix(digits, 16).map_err(|error| format!("write eight digits: {error}"))
}

/// Why the program cannot run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The pool does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A command is none.
    #[error("--misbehave: {0}")]
    Command(ScriptError),
    /// The script is none.
    #[error("{path}: {source}", path = .path.display())]
    Script {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ScriptError,
    },
    /// The script cannot be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The key is none. It is not shown, as it is a secret.
    #[error("--key is no authority's secret key: {0}; `stratum keys` makes a pair")]
    Key(noise_sv2::KeyTextError),
    /// The operating system does not give what a runtime needs.
    #[error("cannot start the runtime: {0}; check the limits of this user (ulimit -u)")]
    Runtime(io::Error),
    /// The operating system refuses signal handlers.
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
}

/// The whole program, as its arguments say. What it sees goes to standard output, commands come from standard input.
///
/// # Errors
/// [`RunError`], whose message says what to do.
pub fn main(args: &TestPoolArgs) -> Result<(), RunError> {
    if args.list {
        print(&list());
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.map_err(RunError::Runtime)?;
    let ended = runtime.block_on(run(args));
    // A read of standard input may be under way, and nothing ends it.
    runtime.shutdown_background();
    ended
}

/// All misbehaviours, a line for each.
fn list() -> String {
    let line = |name: &str, argument: &str, what: &str| {
        let argument = argument.split(',').next().unwrap_or_default();
        format!("{:<28} {what}\n", format!("{name} {argument}").trim_end())
    };
    let mut text = String::from("Until told to behave, or for as long as said:\n\n");
    for listed in Misbehaviour::list().filter(|listed| listed.lasts) {
        text += &line(listed.name, listed.argument, listed.line);
    }
    text += "\nOnce, on every connection:\n\n";
    for listed in Misbehaviour::list().filter(|listed| !listed.lasts) {
        text += &line(listed.name, listed.argument, listed.line);
    }
    text += "\nBesides:\n\n";
    text += &line("behave", "", "does right from now on");
    text += &line("new-block", "", "gives work on another block");
    text += &line("new-job", "", "gives other work on the same block");
    text
}

async fn run(args: &TestPoolArgs) -> Result<(), RunError> {
    let shutdown = Shutdown::new();
    drain_on_signals(shutdown.clone(), GRACE).map_err(RunError::Signals)?;
    let pool = start(args).await?;
    print(&format!("test pool: {}\n", pool.endpoint()));
    let lines = standard_input();
    let time = async {
        match args.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let shares = args.shares.unwrap_or(u64::MAX);
    let mut events = pool.events();
    tokio::select! {
        () = show(&mut events, args.quiet) => {}
        () = obey(&pool, lines) => {}
        _ = pool.wait_until(|counters| counters.shares_good >= shares) => {}
        () = time => {}
        () = shutdown.draining() => {}
    }
    // What came last is seen, but not shown yet.
    while let Some(event) = events.try_next() {
        show_one(&event, args.quiet);
    }
    print(&summary(&pool.counters()));
    pool.stop().await;
    shutdown.end();
    Ok(())
}

async fn start(args: &TestPoolArgs) -> Result<TestPool, RunError> {
    let mut builder = TestPool::builder()
        .listen(SocketAddr::new(args.address, args.port))
        .difficulty(args.difficulty)
        .extranonce_size(args.extranonce_size)
        .nbits(args.nbits.unwrap_or(DEFAULT_NBITS));
    if let Some(script) = &args.pays {
        builder = builder.pays(script.clone());
    }
    if args.plain {
        builder = builder.plain();
    }
    if let Some(key) = &args.key {
        let key: AuthoritySecretKey = key.parse().map_err(RunError::Key)?;
        builder = builder.authority(key);
    }
    for command in &args.commands {
        builder = builder.script([command.parse().map_err(RunError::Command)?]);
    }
    if let Some(path) = &args.script {
        let path = path.clone();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(RunError::Read { path, source }),
        };
        match parse_script(&text) {
            Ok(commands) => builder = builder.script(commands),
            Err(source) => return Err(RunError::Script { path, source }),
        }
    }
    Ok(builder.start().await?)
}

async fn show(events: &mut Events, is_quiet: bool) {
    while let Some(event) = events.next().await {
        show_one(&event, is_quiet);
    }
}

fn show_one(event: &Event, is_quiet: bool) {
    let is_message = matches!(event, Event::Received { .. } | Event::Sent { .. });
    if !(is_quiet && is_message) {
        print(&format!("{event}\n"));
    }
}

/// Does what standard input says, until it says `stop`.
async fn obey(pool: &TestPool, mut lines: mpsc::Receiver<String>) {
    while let Some(line) = lines.recv().await {
        match line.trim() {
            "" => {}
            "stop" => return,
            "list" | "help" => print(&list()),
            "counters" => print(&summary(&pool.counters())),
            command => {
                let told = match command.parse::<Command>() {
                    Ok(command) => pool.command(command).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = told {
                    print(&format!("pool: {error}\n"));
                }
            }
        }
    }
    // Standard input has ended: that is no reason to stop.
    std::future::pending().await
}

fn standard_input() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(MAX_LINES);
    // A thread of its own, as a read of a terminal blocks and cannot be broken off.
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn summary(counters: &Counters) -> String {
    let bad: u64 = counters.shares_bad.values().sum();
    let mut text = format!(
        "pool: connections {}, channels {}, good shares {}, bad shares {bad}, blocks {}\n",
        counters.connections_total, counters.channels_opened, counters.shares_good, counters.blocks
    );
    for (code, count) in &counters.shares_bad {
        text += &format!("pool: bad for {code}: {count}\n");
    }
    for (reason, count) in &counters.ends {
        text += &format!("pool: connections that ended because {reason}: {count}\n");
    }
    text
}

/// Who has closed our output wants no more lines, but may still want a pool.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
