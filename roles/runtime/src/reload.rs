//! Another configuration for a program that runs: read again at SIGHUP.

use std::fmt::Display;
use std::future::Future;
use std::io;

use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::Shutdown;
use crate::config::{ConfigArgs, ConfigError, Invalid};

/// The program's SIGHUPs, which no longer end it. There are none where there are no signals.
#[derive(Debug)]
pub struct Hangups(mpsc::Receiver<()>);

impl Hangups {
    /// Takes them from now on: before the program says that it runs, so that nobody sends one too early. Needs a tokio
    /// runtime.
    ///
    /// # Errors
    /// When the operating system refuses the signal handler.
    pub fn watch() -> io::Result<Self> {
        // One that finds another waiting changes nothing: the configuration is read after both.
        let (sender, receiver) = mpsc::channel(1);
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let mut hangup = signal(SignalKind::hangup())?;
            tokio::spawn(async move {
                while hangup.recv().await.is_some() {
                    let _ = sender.try_send(());
                }
            });
        }
        #[cfg(not(unix))]
        drop(sender);
        Ok(Self(receiver))
    }
}

/// Reads the configuration again at each SIGHUP, from the same file, environment and arguments, and hands it to `take`,
/// which gives the keys that take effect at the next start only. One that is wrong is told of in the log and changes
/// nothing. Runs as a task of the current runtime until the program drains.
pub fn reload_on_hangup<R, C, F, E>(
    hangups: Hangups,
    role: &'static str,
    args: ConfigArgs,
    shutdown: Shutdown,
    take: impl FnMut(C) -> F + Send + 'static,
) where
    R: DeserializeOwned,
    C: TryFrom<R, Error = Invalid> + Send + 'static,
    F: Future<Output = Result<Vec<&'static str>, E>> + Send,
    E: Display,
{
    let load = move || args.load::<R, C>(role);
    tokio::spawn(async move {
        tokio::select! {
            () = reload_on(hangups.0, load, take) => {}
            () = shutdown.draining() => {}
        }
    });
}

async fn reload_on<C, F, E>(
    mut hangups: mpsc::Receiver<()>,
    load: impl Fn() -> Result<C, ConfigError>,
    mut take: impl FnMut(C) -> F,
) where
    F: Future<Output = Result<Vec<&'static str>, E>>,
    E: Display,
{
    while hangups.recv().await.is_some() {
        let config = match load() {
            Ok(config) => config,
            Err(error) => {
                error!("the new configuration is of no use, the old one goes on: {error}");
                continue;
            }
        };
        match take(config).await {
            Ok(later) if later.is_empty() => info!("new configuration taken"),
            Ok(later) => {
                let keys = later.join(", ");
                warn!(
                    keys,
                    "new configuration taken; these keys take effect at the next start"
                );
            }
            Err(error) => {
                error!("the new configuration is not taken, the old one goes on: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[tokio::test]
    async fn each_hangup_takes_what_can_be_read() {
        let (sender, hangups) = mpsc::channel(4);
        for _ in 0..3 {
            sender.send(()).await.unwrap();
        }
        drop(sender);
        let reads = Cell::new(0);
        let load = || {
            reads.set(reads.get() + 1);
            match reads.get() {
                2 => Err(ConfigError::Assignment("nonsense".to_owned())),
                read => Ok(read),
            }
        };
        let taken = RefCell::new(Vec::new());
        reload_on(hangups, load, |config| {
            taken.borrow_mut().push(config);
            async { Ok::<_, io::Error>(vec!["program.log"]) }
        })
        .await;
        assert_eq!(*taken.borrow(), [1, 3]);
    }
}
