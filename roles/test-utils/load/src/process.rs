//! Server processes: started, told of tips, and measured.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use network_helpers_sv2::{Endpoint, Protocol};

use crate::args::{Args, ServerRole};
use crate::serve::Order;

/// A server in a child process; it ends with this value.
pub(crate) struct Server {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub(crate) endpoint: Endpoint,
}

impl Server {
    /// Starts this program again as a server and waits until it listens. What stands before a pool has an `upstream`.
    pub(crate) fn start(
        role: ServerRole,
        args: &Args,
        bare_lens: [usize; 3],
        upstream: Option<&Endpoint>,
        words: &[&str],
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find this program's file")?;
        let mut command = Command::new(program);
        command.args(words).args(["--serve", role_name(role)]);
        command.args(["--acks", &args.acks.to_string()]);
        command.args([
            "--bare-lens",
            &bare_lens.map(|len| len.to_string()).join(","),
        ]);
        if role != ServerRole::Pool {
            let is_sv1 = args.protocol() == Protocol::Sv1;
            command.args(is_sv1.then_some("--sv1"));
            command.args(args.per_miner.then_some("--per-miner"));
            command.args(args.proxy.then_some("--proxy"));
            command.args(args.aggregated.then_some("--aggregated"));
        }
        if let Some(upstream) = upstream {
            command.args(["--upstream", &upstream.to_string()]);
        }
        if args.profile.is_some() {
            command.args(["--profile", "firmware"]);
        }
        let is_loaded = args.front().is_none() || role != ServerRole::Pool;
        if let Some(threads) = args.threads.filter(|_| is_loaded) {
            command.args(["--threads", &threads.to_string()]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the server as a process of its own")?;
        let (input, output) = child
            .stdin
            .take()
            .zip(child.stdout.take())
            .context("no pipes")?;
        let mut output = BufReader::new(output);
        let endpoint = next_line(&mut output)?
            .parse()
            .context("the server did not start; its own message says why")?;
        Ok(Self {
            child,
            input,
            output,
            endpoint,
        })
    }

    pub(crate) fn announce_tip(&mut self) -> anyhow::Result<()> {
        self.order(Order::Tip)
    }

    /// Shares that it has accepted since its start.
    pub(crate) fn shares(&mut self) -> anyhow::Result<u64> {
        self.order(Order::Shares)?;
        let line = next_line(&mut self.output)?;
        line.trim().parse().context("the server has ended")
    }

    fn order(&mut self, order: Order) -> anyhow::Result<()> {
        writeln!(self.input, "{}", order.line()).context("the server has ended")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is lost with it, and a process that has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn next_line(output: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    output
        .read_line(&mut line)
        .context("read what the server says")?;
    Ok(line)
}

fn role_name(role: ServerRole) -> &'static str {
    match role {
        ServerRole::Pool => "pool",
        ServerRole::Translator => "translator",
        ServerRole::Proxy => "proxy",
        ServerRole::Floor => "floor",
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Resident memory in bytes.
    pub(crate) memory: u64,
}

impl Usage {
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let read = || {
            let cpu = cpu_by_threads(pid).or_else(|| cpu_by_ticks(pid))?;
            Some(Self {
                cpu,
                memory: resident(pid)?,
            })
        };
        read().with_context(|| {
            format!("cannot read the CPU time and memory of process {pid} in /proc; check that it runs, on Linux")
        })
    }

    /// CPU time since `earlier`, in microseconds.
    pub(crate) fn cpu_us_since(&self, earlier: &Self) -> f64 {
        self.cpu.saturating_sub(earlier.cpu).as_secs_f64() * 1e6
    }

    /// Growth of memory since `earlier`, in bytes; negative when it shrank.
    pub(crate) fn memory_since(&self, earlier: &Self) -> f64 {
        self.memory as f64 - earlier.memory as f64
    }
}

/// In nanoseconds, by thread; threads that have ended are not counted, and a server's threads last.
fn cpu_by_threads(pid: u32) -> Option<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        total += Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?);
    }
    Some(total).filter(|total| !total.is_zero())
}

/// In ticks of a hundredth of a second.
fn cpu_by_ticks(pid: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets and may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    Some(Duration::from_secs_f64(
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
    ))
}

fn resident(pid: u32) -> Option<u64> {
    let exact = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
    let text = exact.or_else(|_| fs::read_to_string(format!("/proc/{pid}/status")));
    let text = text.ok()?;
    let line = text.lines().find_map(|line| {
        line.strip_prefix("Rss:")
            .or_else(|| line.strip_prefix("VmRSS:"))
    })?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_is_seen_to() {
        let pid = std::process::id();
        let before = Usage::of(pid).unwrap();
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        let after = Usage::of(pid).unwrap();
        assert_eq!(sum, 64 << 20);
        assert!(after.memory_since(&before) > 60e6, "{before:?} {after:?}");
        assert!(after.cpu_us_since(&before) > 0.0, "{before:?} {after:?}");
        assert!(cpu_by_ticks(pid).is_some());
        assert!(Usage::of(u32::MAX).is_err());
    }
}
