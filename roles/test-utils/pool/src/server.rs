//! The pool on sockets: one task owns the core, one more serves each connection.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bitcoin::ScriptBuf;
use buffer_sv2::Append as _;
use network_helpers_sv2::{CloseReason, Connection, Endpoint, Options};
use noise_sv2::{AuthorityPublicKey, AuthoritySecretKey};
use stratum_runtime::{BindError, SystemClock, bind};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::core::{ConfigError, Frame, MAX_HELD, Output, Pool, PoolConfig, PoolOutput};
use crate::door::{Securities, meet, random_authority};
use crate::event::{ConnectionId, Counters, Event};
use crate::misbehaviour::{Door, Misbehaviour};
use crate::script::{Act, Command, ScriptError};

/// Connections at a time; further ones are closed at once and counted.
pub const MAX_CONNECTIONS: usize = 1_000;

/// Events kept for a listener that is slow; the oldest are lost to it.
pub const MAX_EVENTS_KEPT: usize = 16_384;

/// Time that clients have at the end to take the last messages and close their side; then they are cut off.
pub const STOP_GRACE: Duration = Duration::from_millis(200);

/// Inputs that wait for the core; connections wait with what comes further.
const MAX_INPUTS: usize = 1_024;

/// Outputs that wait for a connection's task; with one more it is dropped. What the core holds back leaves at once.
const MAX_OUTPUTS: usize = 2 * MAX_HELD;

/// Why there is no pool.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// No work can be made.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The operating system does not say which port it is.
    #[error("the port is not known: {0}")]
    Port(#[from] io::Error),
    /// Too many commands.
    #[error(transparent)]
    Script(#[from] ScriptError),
}

/// A pool to be started; see [`TestPool::builder`].
#[derive(Debug)]
pub struct Builder {
    listen: SocketAddr,
    authority: Option<AuthoritySecretKey>,
    is_plain: bool,
    config: PoolConfig,
    commands: Vec<Command>,
}

impl Builder {
    /// Listens here; unless said, on a free port of this machine.
    #[must_use]
    pub const fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Is vouched for by this key; unless said, by a fresh one.
    #[must_use]
    pub fn authority(mut self, key: AuthoritySecretKey) -> Self {
        self.authority = Some(key);
        self
    }

    /// Speaks in the clear.
    #[must_use]
    pub const fn plain(mut self) -> Self {
        self.is_plain = true;
        self
    }

    /// Difficulty of all shares; a client's harder maximum is kept.
    #[must_use]
    pub const fn difficulty(mut self, difficulty: f64) -> Self {
        self.config.difficulty = difficulty;
        self
    }

    /// Bytes of extranonce that miners roll on extended channels, at most 28.
    #[must_use]
    pub const fn extranonce_size(mut self, size: usize) -> Self {
        self.config.extranonce_size = size;
        self
    }

    /// The network's target; unless said, one that no share of a test meets.
    #[must_use]
    pub const fn nbits(mut self, nbits: u32) -> Self {
        self.config.nbits = nbits;
        self
    }

    /// Script of the output that blocks pay; unless said, one that is nobody's.
    #[must_use]
    pub fn pays(mut self, script_pubkey: ScriptBuf) -> Self {
        self.config.pays = script_pubkey;
        self
    }

    /// Does this wrong from the start.
    #[must_use]
    pub fn misbehave(self, misbehaviour: impl Into<Misbehaviour>) -> Self {
        self.script([Command::from(Act::Misbehave(misbehaviour.into()))])
    }

    /// Does as these say; their times count from the start.
    #[must_use]
    pub fn script(mut self, commands: impl IntoIterator<Item = Command>) -> Self {
        self.commands.extend(commands);
        self
    }

    /// Starts the pool on the runtime of the caller.
    ///
    /// # Errors
    /// [`StartError`], whose message says what to do.
    pub async fn start(self) -> Result<TestPool, StartError> {
        let clock = SystemClock::default();
        let mut core = Pool::new(&self.config, clock.now())?;
        for command in self.commands {
            let taken = core.handle_command(command, clock.now());
            taken.map_err(|_| ScriptError::TooLong)?;
        }
        let listener = bind(self.listen, "the test pool's address")?;
        let address = listener.local_addr()?;
        let (securities, authority) = match self.is_plain {
            true => (Securities::plain(), None),
            false => {
                let key = self.authority.unwrap_or_else(random_authority);
                let public = key.public_key();
                (Securities::noise(key), Some(public))
            }
        };
        let (inbox, inputs) = mpsc::channel(MAX_INPUTS);
        let (events, all_events) = broadcast::channel(MAX_EVENTS_KEPT);
        let (counters, seen) = watch::channel(core.counters().clone());
        let driver = Driver {
            core,
            clock,
            inbox: inbox.clone(),
            inputs,
            connections: BTreeMap::new(),
            tasks: JoinSet::new(),
            next_id: 1,
            securities,
            events: events.clone(),
            counters,
        };
        Ok(TestPool {
            address,
            authority,
            inbox,
            events,
            all_events: Mutex::new(Some(all_events)),
            seen,
            driver: tokio::spawn(driver.run(listener)),
        })
    }
}

/// A pool that runs; dropped, it ends.
#[derive(Debug)]
pub struct TestPool {
    address: SocketAddr,
    authority: Option<AuthorityPublicKey>,
    inbox: mpsc::Sender<Input>,
    events: broadcast::Sender<Event>,
    /// Heard from the start on, for the first who asks.
    all_events: Mutex<Option<broadcast::Receiver<Event>>>,
    seen: watch::Receiver<Counters>,
    driver: JoinHandle<()>,
}

impl TestPool {
    /// A pool that behaves, encrypted, on a free port of this machine, with the defaults of [`PoolConfig`].
    pub fn builder() -> Builder {
        Builder {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            authority: None,
            is_plain: false,
            config: PoolConfig::default(),
            commands: Vec::new(),
        }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The key that clients pin; `None` in the clear.
    pub const fn authority(&self) -> Option<AuthorityPublicKey> {
        self.authority
    }

    /// Address and key, as clients take them.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            host: self.address.ip().to_string(),
            port: self.address.port(),
            authority: self.authority,
        }
    }

    /// Does this wrong from now on, or once where it is a [`Lie`](crate::Lie); in force when this returns. Gives the
    /// connections that it was told to.
    pub async fn misbehave(&self, misbehaviour: impl Into<Misbehaviour>) -> usize {
        let act = Act::Misbehave(misbehaviour.into());
        self.command(act).await.unwrap_or_default()
    }

    /// Does right from now on; what was held back leaves.
    pub async fn behave(&self) {
        // Nothing that is done at once is refused.
        let _ = self.command(Act::Behave).await;
    }

    /// Does as told, now or when its time has come, as [`Pool::handle_command`] says. 0 when the pool is gone.
    ///
    /// # Errors
    /// [`ScriptError::TooLong`] when too many commands wait for their time.
    pub async fn command(&self, command: impl Into<Command>) -> Result<usize, ScriptError> {
        let (answer, answered) = oneshot::channel();
        let input = Input::Command(command.into(), answer);
        if self.inbox.send(input).await.is_err() {
            return Ok(0);
        }
        answered.await.unwrap_or(Ok(0))
    }

    /// What was seen so far.
    pub fn counters(&self) -> Counters {
        self.seen.borrow().clone()
    }

    /// Waits until what was seen is as wanted, and gives it. It waits as long as it takes: set a time limit around it.
    pub async fn wait_until(&self, is_it: impl FnMut(&Counters) -> bool) -> Counters {
        let mut seen = self.seen.clone();
        match seen.wait_for(is_it).await {
            Ok(counters) => counters.clone(),
            // The pool has panicked: the caller's time limit says so.
            Err(_) => pending().await,
        }
    }

    /// What is seen from now on; the first who asks hears all from the start. Whoever does not read loses the oldest
    /// beyond [`MAX_EVENTS_KEPT`].
    pub fn events(&self) -> Events {
        let mut all = self
            .all_events
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Events(all.take().unwrap_or_else(|| self.events.subscribe()))
    }

    /// Ends the pool and all its connections. What it has said still leaves, for as long as [`STOP_GRACE`].
    pub async fn stop(mut self) {
        let (done, ended) = oneshot::channel();
        if self.inbox.send(Input::Stop(done)).await.is_ok() {
            let _ = ended.await;
        }
        self.driver.abort();
        let _ = (&mut self.driver).await;
    }
}

impl Drop for TestPool {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What a pool sees, as it sees it.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// The next one; `None` when the pool has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// The next one that is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        loop {
            match self.0.try_recv() {
                Ok(event) => return Some(event),
                Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => return None,
            }
        }
    }
}

/// What the task that owns the core is told.
#[derive(Debug)]
enum Input {
    Connected(ConnectionId, mpsc::Sender<Output>),
    NotConnected(CloseReason),
    Frame(ConnectionId, Frame),
    Gone(ConnectionId, String),
    Command(Command, oneshot::Sender<Result<usize, ScriptError>>),
    Stop(oneshot::Sender<()>),
}

struct Driver {
    core: Pool,
    clock: SystemClock,
    inbox: mpsc::Sender<Input>,
    inputs: mpsc::Receiver<Input>,
    connections: BTreeMap<ConnectionId, mpsc::Sender<Output>>,
    tasks: JoinSet<()>,
    next_id: u64,
    securities: Securities,
    events: broadcast::Sender<Event>,
    counters: watch::Sender<Counters>,
}

impl Driver {
    async fn run(mut self, listener: TcpListener) {
        loop {
            self.carry_out();
            let due = self.core.poll_timeout();
            let due = due.and_then(|due| self.clock.deadline(due));
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                // The driver holds a sender itself, so there is always another one.
                Some(input) = self.inputs.recv() => match input {
                    Input::Stop(done) => {
                        self.say_goodbye().await;
                        let _ = done.send(());
                    }
                    input => self.handle(input),
                },
                () = wait => self.core.handle_timeout(self.clock.now()),
                // An error concerns the connection that is lost with it.
                Ok((stream, _)) = listener.accept() => self.welcome(stream),
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    fn handle(&mut self, input: Input) {
        let now = self.clock.now();
        match input {
            Input::Connected(id, outbox) => {
                self.connections.insert(id, outbox);
                self.core.handle_connected(id, now);
            }
            Input::NotConnected(reason) => {
                self.core.handle_not_connected(reason.to_string(), now);
            }
            Input::Frame(id, frame) => {
                let (extension_type, msg_type) = (frame.extension_type, frame.msg_type);
                self.core
                    .handle_frame(id, extension_type, msg_type, &frame.payload, now);
            }
            Input::Gone(id, reason) => {
                self.connections.remove(&id);
                self.core.handle_gone(id, reason, now);
            }
            Input::Command(command, answer) => {
                let told = self.core.handle_command(command, now);
                // Who does not wait for it does not want it.
                let _ = answer.send(told.map_err(|_| ScriptError::TooLong));
            }
            // It is not handed on to here.
            Input::Stop(_) => {}
        }
    }

    /// Ends all connections that are open, and waits for them.
    async fn say_goodbye(&mut self) {
        let outboxes = std::mem::take(&mut self.connections);
        let reason = "the pool has stopped".to_owned();
        let close = Output::Close { reason };
        for outbox in outboxes.values() {
            // One that does not keep up loses the last words as well.
            let _ = outbox.try_send(close.clone());
        }
        let all = async {
            for outbox in outboxes.values() {
                outbox.closed().await;
            }
        };
        let _ = tokio::time::timeout(STOP_GRACE, all).await;
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                PoolOutput::Event(event) => {
                    // Without listeners there is nobody to tell.
                    let _ = self.events.send(event);
                }
                PoolOutput::On(id, output) => {
                    let outbox = self.connections.get(&id);
                    if outbox.is_some_and(|outbox| outbox.try_send(output).is_err()) {
                        // Its task sees that nothing follows, and ends.
                        self.connections.remove(&id);
                    }
                }
            }
        }
        self.counters.send_if_modified(|counters| {
            let is_new = counters != self.core.counters();
            if is_new {
                counters.clone_from(self.core.counters());
            }
            is_new
        });
    }

    fn welcome(&mut self, stream: TcpStream) {
        if self.tasks.len() >= MAX_CONNECTIONS {
            let now = self.clock.now();
            let reason = format!("{MAX_CONNECTIONS} connections are there already");
            return self.core.handle_not_connected(reason, now);
        }
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        let door = self.core.door().cloned();
        let (securities, inbox) = (self.securities.clone(), self.inbox.clone());
        self.tasks.spawn(async move {
            // It ends with the driver, which takes the last word as well.
            let last = attend(stream, id, door, &securities, &inbox).await;
            let _ = inbox.send(last).await;
        });
    }
}

/// Serves one client from its first byte on, and says how it ended.
async fn attend(
    stream: TcpStream,
    id: ConnectionId,
    door: Option<Door>,
    securities: &Securities,
    inbox: &mpsc::Sender<Input>,
) -> Input {
    let options = Options {
        // A client may wait for as long as a script says.
        idle_timeout: None,
        ..Options::default()
    };
    let connection = match meet(stream, door, securities, options).await {
        Ok(connection) => connection,
        Err(reason) => return Input::NotConnected(reason),
    };
    let (outbox, outputs) = mpsc::channel(MAX_OUTPUTS);
    let _ = inbox.send(Input::Connected(id, outbox)).await;
    let reason = serve(connection, id, inbox, outputs).await;
    Input::Gone(id, reason)
}

async fn serve(
    mut connection: Connection,
    id: ConnectionId,
    inbox: &mpsc::Sender<Input>,
    mut outputs: mpsc::Receiver<Output>,
) -> String {
    loop {
        let done = tokio::select! {
            output = outputs.recv() => match output {
                Some(output) => carry_out(&mut connection, output),
                None => Err(End::Cut("it does not keep up".to_owned())),
            },
            ready = connection.ready(None) => match ready {
                Ok(_) => hand_in(&mut connection, id, inbox).await,
                Err(reason) => Err(reason.into()),
            },
        };
        match done {
            Ok(()) => {}
            Err(End::Close(reason)) => {
                connection.close().await;
                return reason;
            }
            Err(End::Cut(reason)) => return reason,
        }
    }
}

/// How a connection ends.
enum End {
    /// After what is queued has left.
    Close(String),
    /// At once.
    Cut(String),
}

impl From<CloseReason> for End {
    fn from(reason: CloseReason) -> Self {
        Self::Cut(reason.to_string())
    }
}

async fn hand_in(
    connection: &mut Connection,
    id: ConnectionId,
    inbox: &mpsc::Sender<Input>,
) -> Result<(), End> {
    while let Some(frame) = connection.next_frame()? {
        let header = frame.header();
        let frame = Frame {
            extension_type: header.extension_type(),
            msg_type: header.msg_type(),
            payload: frame.payload().to_vec(),
            name: "",
        };
        let _ = inbox.send(Input::Frame(id, frame)).await;
    }
    Ok(())
}

fn carry_out(connection: &mut Connection, output: Output) -> Result<(), End> {
    match output {
        Output::Send(frame) => {
            connection.queue_raw(frame.extension_type, frame.msg_type, &frame.payload)?;
        }
        Output::SendPart { frame, missing } => {
            let len = frame.payload.len().saturating_sub(missing);
            connection.queue_with(len, |encoder, outbound| {
                let mut whole = Vec::new();
                let (extension_type, msg_type) = (frame.extension_type, frame.msg_type);
                encoder.encode_raw(extension_type, msg_type, &frame.payload, &mut whole)?;
                whole.truncate(whole.len().saturating_sub(missing));
                outbound.append(whole.len()).copy_from_slice(&whole);
                Ok(())
            })?;
        }
        Output::SendBytes(bytes) => connection.queue_with(bytes.len(), |_, outbound| {
            outbound.append(bytes.len()).copy_from_slice(&bytes);
            Ok(())
        })?,
        Output::Close { reason } => return Err(End::Close(reason)),
        Output::Cut { reason } => return Err(End::Cut(reason)),
    }
    Ok(())
}
