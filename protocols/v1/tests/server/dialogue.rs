//! Scripted dialogues between a miner and a server session, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use roles_logic_sv2::clock::Now;
use sv1_api::Difficulty;
use sv1_api::line::Lines;
use sv1_api::reject::Reject;
use sv1_api::server::{
    CloseReason, Grant, Job, ServerConfig, ServerEvent, ServerOutput, ServerSession,
};
use sv1_api::server_message::{Notify, Reconnect};

/// A server session whose owner grants, authorizes and accepts everything, unless a script says otherwise.
pub(crate) struct Dialogue {
    pub(crate) session: ServerSession,
    pub(crate) now: Now,
    pub(crate) events: Vec<ServerEvent>,
    pub(crate) closed: Option<CloseReason>,
    lines: Lines,
    said: std::collections::VecDeque<Arc<str>>,
    is_passive: bool,
    verdict: Result<(), Reject>,
    grant: Grant,
}

pub(crate) fn job(id: &str) -> Arc<Job> {
    Arc::new(Job::new(Notify {
        job_id: id.to_owned(),
        prev_hash: std::array::from_fn(|at| at as u8),
        coinbase_prefix: vec![1, 2],
        coinbase_suffix: vec![3, 4],
        merkle_path: vec![[0xab; 32]],
        version: 0x2000_0000,
        nbits: 0x1a2b,
        ntime: 0x0000_00ff,
        clean_jobs: false,
    }))
}

/// The line of a job of [`job`].
pub(crate) fn job_line(id: &str, clean: bool) -> String {
    let (hash, node) = (
        "0302010007060504 0b0a0908 0f0e0d0c 13121110 17161514 1b1a1918 1f1e1d1c".replace(' ', ""),
        "ab".repeat(32),
    );
    format!(
        r#"{{"id":null,"method":"mining.notify","params":["{id}","{hash}","0102","0304",["{node}"],"20000000","00001a2b","000000ff",{clean}]}}"#
    )
}

impl Dialogue {
    pub(crate) fn new() -> Self {
        Self::with(ServerConfig::default())
    }

    pub(crate) fn with(config: ServerConfig) -> Self {
        let now = Now::default();
        Self {
            session: ServerSession::new(config, now),
            now,
            events: Vec::new(),
            closed: None,
            lines: Lines::new(sv1_api::line::MAX_MINER_LINE_BYTES),
            said: std::collections::VecDeque::new(),
            is_passive: false,
            verdict: Ok(()),
            grant: Grant {
                extranonce1: vec![0xaa, 0xbb, 0xcc, 0xdd],
                extranonce2_size: 8,
                session: "s1".to_owned(),
            },
        }
    }

    /// Runs a script. Each line is one step:
    ///
    /// - `> …` the miner sends this, `< …` the server has sent exactly this next;
    /// - `< subscribed ID`, `< ok ID`, `< job NAME`, `< clean job NAME`, `< difficulty D`, `< mask M`: common lines;
    /// - `< error ID CODE TEXT`: an error;
    /// - `! job NAME`, `! clean job NAME`, `! difficulty D`, `! mask M`, `! wait SECS`, `! passive`, `! grant`,
    ///   `! reject`: what the owner does.
    ///
    /// Whatever the server sends must be in the script.
    pub(crate) fn run(&mut self, script: &str) -> &mut Self {
        for step in script
            .lines()
            .map(str::trim)
            .filter(|step| !step.is_empty())
        {
            let (kind, rest) = step.split_at(1);
            let rest = rest.trim();
            if kind == "<" {
                let line = self
                    .said
                    .pop_front()
                    .unwrap_or_else(|| panic!("nothing said: {step}"));
                assert_eq!(line.trim_end(), expand(rest), "{step}");
                assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
                continue;
            }
            self.assert_silent(step);
            match kind {
                ">" => self.miner_sends(format!("{rest}\n").as_bytes()),
                "!" => self.owner(rest),
                _ => panic!("no such step: {step}"),
            }
        }
        self.assert_silent("the end of the script");
        self
    }

    pub(crate) fn miner_sends(&mut self, mut bytes: &[u8]) {
        while let Some(line) = self.lines.next_line(&mut bytes) {
            match line {
                Ok(line) => self.session.handle_line(line, self.now),
                Err(error) => self.session.handle_long_line(error, self.now),
            }
        }
        self.take_outputs();
    }

    fn assert_silent(&self, before: &str) {
        assert!(self.said.is_empty(), "before {before}: {:?}", self.said);
    }

    fn owner(&mut self, action: &str) {
        let (verb, rest) = action.split_once(' ').unwrap_or((action, ""));
        match verb {
            "job" => self.session.send_job(&job(rest), false, self.now),
            "clean" => {
                let name = rest.strip_prefix("job ").unwrap();
                self.session.send_job(&job(name), true, self.now);
            }
            "difficulty" => {
                let difficulty = Difficulty::new(rest.parse().unwrap()).unwrap();
                self.session.set_difficulty(difficulty);
            }
            "mask" => {
                let mask = u32::from_str_radix(rest, 16).unwrap();
                self.session.set_version_mask(mask);
            }
            "wait" => {
                self.now = self.now.after(Duration::from_millis(
                    (rest.parse::<f64>().unwrap() * 1e3) as u64,
                ));
                self.session.handle_timeout(self.now);
            }
            "passive" => self.is_passive = true,
            "grant" => self.session.grant(self.grant.clone(), self.now),
            "refuse" => self.session.refuse_subscribe(self.now),
            "reject" => self.verdict = Err(Reject::LowDifficulty),
            "reconnect" => self.session.reconnect(Reconnect::default(), self.now),
            "ping" => self.session.ping(),
            "version" => self.session.ask_version(),
            "show" => self.session.show_message(rest),
            other => panic!("no such action: {other}"),
        }
        self.take_outputs();
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                ServerOutput::Send(line) => self.said.push_back(line),
                ServerOutput::Close(reason) => self.closed = Some(reason),
                ServerOutput::Event(event) => {
                    if !self.is_passive {
                        self.decide(&event);
                    }
                    self.events.push(event);
                }
            }
        }
    }

    fn decide(&mut self, event: &ServerEvent) {
        match event {
            ServerEvent::Subscribe(_) => self.session.grant(self.grant.clone(), self.now),
            ServerEvent::Authorize { id, authorize } => {
                let user = authorize.user.clone();
                self.session.answer_authorize(id, &user, true, self.now);
            }
            ServerEvent::Submit { id, .. } => {
                self.session.answer_submit(id, self.verdict, self.now);
            }
            _ => {}
        }
    }
}

fn expand(short: &str) -> String {
    let words: Vec<&str> = short.splitn(4, ' ').collect();
    match words.as_slice() {
        ["subscribed", id] => format!(
            r#"{{"id":{id},"result":[[["mining.set_difficulty","s1"],["mining.notify","s1"]],"aabbccdd",8],"error":null}}"#
        ),
        ["ok", id] => format!(r#"{{"id":{id},"result":true,"error":null}}"#),
        ["job", name] => job_line(name, false),
        ["clean", "job", name] => job_line(name, true),
        ["difficulty", difficulty] => {
            format!(r#"{{"id":null,"method":"mining.set_difficulty","params":[{difficulty}]}}"#)
        }
        ["mask", mask] => {
            format!(r#"{{"id":null,"method":"mining.set_version_mask","params":["{mask}"]}}"#)
        }
        ["error", id, code, text] => {
            format!(r#"{{"id":{id},"result":null,"error":[{code},"{text}",null]}}"#)
        }
        _ => short.to_owned(),
    }
}
