//! The pool without I/O: frames, commands and time in; frames and events out.
//!
//! [`Pool`] has the four verbs of every core: `handle_*`, [`Pool::handle_timeout`], [`Pool::poll_output`],
//! [`Pool::poll_timeout`]. It is honest by construction, as each connection is a `DownstreamSession` of
//! `roles_logic_sv2`; what it was told to do wrong is done to the messages on their way in and out.

mod connection;
mod delivery;
mod frame;
mod hub;
mod lie;
mod post;
mod reception;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bitcoin::ScriptBuf;
use roles_logic_sv2::accounting::SliceLimits;
use roles_logic_sv2::channels::server::ServerConfig;
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::downstream::{Deadlines, DownstreamTerms};
use roles_logic_sv2::target::{ConversionError, Target};
use roles_logic_sv2::vardiff::VardiffConfig;
use thiserror::Error;

use crate::event::{ConnectionId, Counters, Event};
use crate::misbehaviour::{Delivery, Door, Lie, Misbehaviour, Reception};
use crate::script::{Act, Command, MAX_WAITING_COMMANDS};

use connection::{Around, Connection};
use hub::Hub;

pub use frame::{Frame, Output};
pub use hub::{MAX_CHANNELS, WorkError};
pub use lie::NOBODYS;
pub use post::MAX_HELD;

/// Difficulty of shares unless told otherwise: some 4300 hashes a share.
pub const DEFAULT_DIFFICULTY: f64 = 1e-6;

/// Bytes of extranonce that miners roll on extended channels unless told otherwise, as deployed pools have it.
pub const DEFAULT_EXTRANONCE_SIZE: usize = 16;

/// The network's target unless told otherwise: the main chain's at height 840 000, so no share of a test is a block.
pub const DEFAULT_NBITS: u32 = 0x1703_4219;

/// Shares a minute that the difficulty would be for, if it were not fixed: so many that the claims of clients do not
/// count.
const SHARES_PER_MINUTE: f64 = 1e30;

/// Clients may be ignored for as long as a script says: they have a day for what others must do in seconds.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// What the pool is like when it behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolConfig {
    /// Difficulty of all shares; a client's harder maximum is kept.
    pub difficulty: f64,
    /// Bytes of extranonce that miners roll on extended channels, at most 28.
    pub extranonce_size: usize,
    /// The network's target.
    pub nbits: u32,
    /// Script of the output that blocks pay.
    pub pays: ScriptBuf,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            difficulty: DEFAULT_DIFFICULTY,
            extranonce_size: DEFAULT_EXTRANONCE_SIZE,
            nbits: DEFAULT_NBITS,
            // OP_TRUE: nobody's money.
            pays: ScriptBuf::from_bytes(vec![0x51]),
        }
    }
}

/// A configuration that makes no pool.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The difficulty is none.
    #[error("difficulty: {0}")]
    Difficulty(#[from] ConversionError),
    /// No work can be made.
    #[error(transparent)]
    Work(#[from] WorkError),
}

/// What the pool wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum PoolOutput {
    /// Do this on a connection.
    On(ConnectionId, Output),
    /// Take note.
    Event(Event),
}

/// A misbehaviour that lasts.
#[derive(Debug)]
struct Active {
    what: Misbehaviour,
    until: Option<Instant>,
}

/// The pool with all its connections.
#[derive(Debug)]
pub struct Pool {
    terms: Arc<DownstreamTerms>,
    hub: Hub,
    /// One of each name at most, in the order they were told.
    active: Vec<Active>,
    /// By time; those of one moment in the order they were given.
    waiting: Vec<(Instant, Command)>,
    connections: BTreeMap<ConnectionId, Connection>,
    events: VecDeque<Event>,
    outputs: VecDeque<PoolOutput>,
    counters: Counters,
}

/// A command was not taken, as [`MAX_WAITING_COMMANDS`] wait for their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{MAX_WAITING_COMMANDS} commands wait for their time already")]
pub struct TooManyCommands;

impl Pool {
    /// A pool that behaves.
    ///
    /// # Errors
    /// [`ConfigError`] when no work can be made.
    pub fn new(config: &PoolConfig, now: Now) -> Result<Self, ConfigError> {
        Target::from_difficulty(config.difficulty)?;
        let channels = ServerConfig {
            vardiff: VardiffConfig {
                shares_per_minute: SHARES_PER_MINUTE,
                min_difficulty: config.difficulty,
            },
            is_target_fixed: true,
            slices: SliceLimits {
                max_shares: 1,
                ..SliceLimits::default()
            },
            ..ServerConfig::default()
        };
        let terms = DownstreamTerms {
            channels: Arc::new(channels),
            deadlines: Deadlines {
                setup: PATIENCE,
                first_channel: PATIENCE,
                ..Deadlines::default()
            },
            ..DownstreamTerms::default()
        };
        Ok(Self {
            terms: Arc::new(terms),
            hub: Hub::new(config, now)?,
            active: Vec::new(),
            waiting: Vec::new(),
            connections: BTreeMap::new(),
            events: VecDeque::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
        })
    }

    /// A client is there, after its handshake.
    pub fn handle_connected(&mut self, id: ConnectionId, now: Now) {
        let connection = Connection::new(id, self.terms.clone(), now);
        self.connections.insert(id, connection);
        self.events.push_back(Event::Connected(id));
        self.collect(now);
    }

    /// A client came to nothing before its handshake was done.
    pub fn handle_not_connected(&mut self, reason: String, now: Now) {
        self.events.push_back(Event::NotConnected { reason });
        self.collect(now);
    }

    /// A connection is gone. One that is not there changes nothing.
    pub fn handle_gone(&mut self, id: ConnectionId, reason: String, now: Now) {
        let Some(mut connection) = self.connections.remove(&id) else {
            return;
        };
        connection.handle_disconnected(&mut self.hub);
        self.events.push_back(Event::Gone {
            connection: id,
            reason,
        });
        self.collect(now);
    }

    /// A frame came; `extension_type` with the channel bit.
    pub fn handle_frame(
        &mut self,
        id: ConnectionId,
        extension_type: u16,
        msg_type: u8,
        payload: &[u8],
        now: Now,
    ) {
        let (connections, mut around) = self.parts(now);
        if let Some(connection) = connections.get_mut(&id) {
            connection.handle_frame(extension_type, msg_type, payload, &mut around);
        }
        self.collect(now);
    }

    /// Does as it is told, now or when its time has come. Gives the connections that it was told to: for what is done
    /// once those that it could be told to, otherwise all there are, 0 when it waits for its time.
    ///
    /// # Errors
    /// [`TooManyCommands`] when it would have to wait and too many do.
    pub fn handle_command(&mut self, command: Command, now: Now) -> Result<usize, TooManyCommands> {
        if command.after.is_zero() {
            let told = self.act(command.act, command.lasting, now);
            self.collect(now);
            return Ok(told);
        }
        if self.waiting.len() >= MAX_WAITING_COMMANDS {
            return Err(TooManyCommands);
        }
        let due = now.instant + command.after;
        let at = self.waiting.partition_point(|(other, _)| *other <= due);
        self.waiting.insert(at, (due, command));
        Ok(0)
    }

    /// The time that [`Self::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.end_what_is_over(now);
        let count = self.waiting.partition_point(|(due, _)| *due <= now.instant);
        let due: Vec<_> = self.waiting.drain(..count).collect();
        for (_, command) in due {
            self.act(command.act, command.lasting, now);
        }
        let (connections, mut around) = self.parts(now);
        for connection in connections.values_mut() {
            if connection
                .poll_timeout()
                .is_some_and(|due| due <= now.instant)
            {
                connection.handle_timeout(&mut around);
            }
        }
        self.collect(now);
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let connections = self.connections.values();
        let ends = self.active.iter().filter_map(|active| active.until);
        let commands = self.waiting.first().map(|(due, _)| *due);
        let timeouts = connections.filter_map(Connection::poll_timeout);
        timeouts.chain(ends).chain(commands).min()
    }

    /// The next thing to do, in order. `None` when all is done.
    pub fn poll_output(&mut self) -> Option<PoolOutput> {
        self.outputs.pop_front()
    }

    /// How new connections are to be met; `None` for as they should be.
    pub fn door(&self) -> Option<&Door> {
        self.active
            .iter()
            .rev()
            .find_map(|active| match &active.what {
                Misbehaviour::Door(door) => Some(door),
                _ => None,
            })
    }

    /// What was seen so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What lasts at the moment, in the order it was told.
    pub fn active(&self) -> impl Iterator<Item = &Misbehaviour> {
        self.active.iter().map(|active| &active.what)
    }

    fn act(&mut self, act: Act, lasting: Option<Duration>, now: Now) -> usize {
        let mut connections = self.connections.len();
        match &act {
            Act::Misbehave(Misbehaviour::Lie(lie)) => connections = self.tell(lie, now),
            Act::Misbehave(what) => {
                // Told again it is as if told for the first time.
                self.active
                    .retain(|active| active.what.name() != what.name());
                self.active.push(Active {
                    what: what.clone(),
                    until: lasting.map(|lasting| now.instant + lasting),
                });
                self.settle(now);
            }
            Act::Behave => {
                self.active.clear();
                self.settle(now);
            }
            Act::NewBlock => {
                self.hub.new_block(now);
                self.deliver_work(now);
            }
            Act::NewJob => {
                self.hub.new_job();
                self.deliver_work(now);
            }
        }
        self.events.push_back(Event::Acted { act, connections });
        connections
    }

    fn tell(&mut self, lie: &Lie, now: Now) -> usize {
        let mut told = 0;
        let mut said = Vec::new();
        let (connections, mut around) = self.parts(now);
        for (id, connection) in connections {
            let mut outputs = Vec::new();
            told += usize::from(connection.lie(lie, &mut outputs, &mut around));
            said.extend(outputs.into_iter().map(|output| (*id, output)));
        }
        for (id, output) in said {
            self.put(id, output);
        }
        told
    }

    fn deliver_work(&mut self, now: Now) {
        let (connections, mut around) = self.parts(now);
        for connection in connections.values_mut() {
            connection.handle_work(&mut around);
        }
    }

    /// What was held back by something that does not last any more may leave.
    fn settle(&mut self, now: Now) {
        let (connections, around) = self.parts(now);
        for connection in connections.values_mut() {
            connection.behave(&around);
        }
    }

    fn end_what_is_over(&mut self, now: Now) {
        let is_over = |active: &mut Active| active.until.is_some_and(|until| until <= now.instant);
        let over: Vec<Active> = self.active.extract_if(.., is_over).collect();
        if over.is_empty() {
            return;
        }
        for active in over {
            self.events
                .push_back(Event::Over(Act::Misbehave(active.what)));
        }
        self.settle(now);
    }

    fn parts(&mut self, now: Now) -> (&mut BTreeMap<ConnectionId, Connection>, Around<'_>) {
        let mut receptions: Vec<&Reception> = Vec::new();
        let mut deliveries: Vec<&Delivery> = Vec::new();
        for active in &self.active {
            match &active.what {
                Misbehaviour::Reception(reception) => receptions.push(reception),
                Misbehaviour::Delivery(delivery) => deliveries.push(delivery),
                Misbehaviour::Door(_) | Misbehaviour::Lie(_) => {}
            }
        }
        let around = Around {
            hub: &mut self.hub,
            receptions,
            deliveries,
            events: &mut self.events,
            now,
        };
        (&mut self.connections, around)
    }

    /// Takes events and what is due.
    fn collect(&mut self, now: Now) {
        self.note();
        let mut due = Vec::new();
        for (id, connection) in &mut self.connections {
            while let Some(output) = connection.due(now.instant) {
                due.push((*id, output));
            }
        }
        for (id, output) in due {
            self.put(id, output);
        }
        self.note();
    }

    fn put(&mut self, id: ConnectionId, output: Output) {
        if let Output::Send(frame) | Output::SendPart { frame, .. } = &output {
            self.events.push_back(Event::Sent {
                connection: id,
                message: frame.name,
            });
        }
        self.note();
        self.outputs.push_back(PoolOutput::On(id, output));
    }

    fn note(&mut self) {
        for event in self.events.drain(..) {
            self.counters.count(&event);
            self.outputs.push_back(PoolOutput::Event(event));
        }
    }
}
