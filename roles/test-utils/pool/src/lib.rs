//! A Stratum V2 pool for tests of miners: it serves a fixed template at a chosen difficulty, and does wrong what it is told
//! to do wrong.
//!
//! [`TestPool`] runs on sockets, encrypted or in the clear, and serves standard, extended and group channels. It is honest
//! until [`TestPool::misbehave`] names a [`Misbehaviour`]: how connections are met ([`Door`]), what becomes of requests
//! ([`Reception`]) and of messages ([`Delivery`]), or what is said out of the blue ([`Lie`]). What it sees is counted
//! ([`TestPool::counters`], [`TestPool::wait_until`]) and told ([`TestPool::events`]); each share with what it is worth,
//! whatever the miner was told. Underneath, [`core`] holds the rules without I/O.
//!
//! ```
//! use network_helpers_sv2::{ClientSecurity, Options, connect};
//! use stratum_test_pool::{Delivery, Door, Lie, TestPool};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let pool = TestPool::builder().difficulty(1e-6).start().await?;
//!
//! // Your miner connects here, with the pool's key.
//! let endpoint = pool.endpoint();
//! let security = ClientSecurity::Noise { authority: endpoint.authority };
//! let miner = connect(&endpoint, &security, Options::default()).await?;
//! pool.wait_until(|counters| counters.connections == 1).await;
//!
//! // It says nothing from now on, until it behaves again.
//! pool.misbehave(Delivery::Silent).await;
//! pool.behave().await;
//!
//! // Once: nobody is told of work for a channel that never was, as no channel is open.
//! assert_eq!(pool.misbehave(Lie::UnknownChannel).await, 0);
//!
//! // The next one that comes is shown the certificate of another authority.
//! pool.misbehave(Door::WrongCertificate).await;
//! assert!(connect(&endpoint, &security, Options::default()).await.is_err());
//!
//! drop(miner);
//! pool.stop().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod core;
mod door;
mod event;
mod misbehaviour;
mod program;
mod script;
mod server;

pub use event::{ConnectionId, Counters, Event, JudgedShare, MAX_ENDS, OTHER_ENDS};
pub use misbehaviour::{
    Delivery, Door, ErrorCode, Lie, Listed, MAX_DURATION, Misbehaviour, ParseError, Place,
    Reception,
};
pub use program::{RunError, TestPoolArgs, main};
pub use script::{Act, Command, MAX_WAITING_COMMANDS, ScriptError, parse_script};
pub use server::{
    Builder, Events, MAX_CONNECTIONS, MAX_EVENTS_KEPT, STOP_GRACE, StartError, TestPool,
};
