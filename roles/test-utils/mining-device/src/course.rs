//! Where to connect next and after which pause: what each end of a connection leads to.

use std::time::Duration;

use network_helpers_sv2::{Backoff, Endpoint};

use crate::core::End;

/// First pause after a connection that was lost or not reached; it doubles up to [`LOST_PAUSE_MAX`].
pub const LOST_PAUSE_MIN: Duration = Duration::from_millis(500);

/// Longest pause after a connection that was lost or not reached.
pub const LOST_PAUSE_MAX: Duration = Duration::from_secs(60);

/// First pause after a server said that it does not want us; it doubles up to [`REFUSED_PAUSE_MAX`].
pub const REFUSED_PAUSE_MIN: Duration = Duration::from_secs(30);

/// Longest pause after a server said that it does not want us.
pub const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(600);

/// A connection with work for so long makes the next pause the shortest again. Until then a server that takes us and
/// drops us, or sends us round in circles, is met by ever longer pauses.
pub const STEADY_AFTER: Duration = Duration::from_secs(60);

/// How a connection, or the attempt at one, ended.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Ended {
    /// By a rule of the protocol.
    #[error(transparent)]
    ByRule(#[from] End),
    /// Without one: not reached, or broken; the text says more.
    #[error("{0}")]
    Lost(String),
}

impl Ended {
    /// What to do about it; empty where nothing is to be done or the text says it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::ByRule(end) => end.advice(),
            Self::Lost(_) => "",
        }
    }
}

/// The server configured, the server in use, and the pauses between connections.
#[derive(Clone, Debug)]
pub struct Course {
    home: Endpoint,
    present: Endpoint,
    lost: Backoff,
    refused: Backoff,
}

impl Course {
    /// Begins at the server configured.
    pub fn new(home: Endpoint) -> Self {
        Self {
            present: home.clone(),
            home,
            lost: Backoff::new(LOST_PAUSE_MIN, LOST_PAUSE_MAX),
            refused: Backoff::new(REFUSED_PAUSE_MIN, REFUSED_PAUSE_MAX),
        }
    }

    /// The server to connect to.
    pub const fn present(&self) -> &Endpoint {
        &self.present
    }

    /// Takes the end of a connection that had work for `worked`, and gives the pause before the next; `random` spreads
    /// the pauses of many devices.
    ///
    /// `Reconnect` leads to the server it names, under the same authority (CM-20). When that one gives no work, the
    /// server configured is next.
    pub fn handle_end(&mut self, ended: &Ended, worked: Option<Duration>, random: u32) -> Duration {
        if worked.is_some_and(|worked| worked >= STEADY_AFTER) {
            self.lost.reset();
            self.refused.reset();
        }
        match ended {
            Ended::ByRule(End::Reconnect { host, port, .. }) => {
                let next = redirected(&self.present, host, *port);
                self.present = next.unwrap_or_else(|| self.home.clone());
            }
            _ if worked.is_none() => self.present = self.home.clone(),
            _ => {}
        }
        match ended {
            Ended::ByRule(end) if end.is_refusal() => self.refused.next_pause(random),
            _ => self.lost.next_pause(random),
        }
    }
}

/// The server that a `Reconnect` names; an empty host and port 0 mean the present ones (CM-18). `None` when the host is
/// none.
fn redirected(present: &Endpoint, host: &str, port: u16) -> Option<Endpoint> {
    let host = match host.trim() {
        "" => present.host.as_str(),
        host => host.trim_start_matches('[').trim_end_matches(']'),
    };
    let named = Endpoint {
        host: host.to_owned(),
        port: if port == 0 { present.port } else { port },
        authority: None,
    };
    // What is written and read again unchanged is a host; the authority stays, whatever was named (CM-22).
    let checked: Endpoint = named.to_string().parse().ok()?;
    (checked == named).then_some(Endpoint {
        authority: present.authority,
        ..named
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str =
        "stratum2+tcp://pool.example:3333/9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";

    fn course() -> Course {
        Course::new(URL.parse().unwrap())
    }

    fn reconnect(host: &str, port: u16) -> Ended {
        let host = host.to_owned();
        let wait = Duration::ZERO;
        End::Reconnect { host, port, wait }.into()
    }

    const WORKED: Option<Duration> = Some(Duration::from_secs(1));

    #[test]
    fn reconnect_changes_host_and_port_and_never_the_authority() {
        for (host, port, place) in [
            ("", 0, ("pool.example", 3333)),
            ("b.example", 0, ("b.example", 3333)),
            ("", 4444, ("pool.example", 4444)),
            ("::1", 5, ("::1", 5)),
            ("[::1]", 5, ("::1", 5)),
            // No hosts: the server configured is next.
            ("b.example/9bXi", 5, ("pool.example", 3333)),
            ("stratum2+tcp://b", 5, ("pool.example", 3333)),
            ("b:1", 5, ("pool.example", 3333)),
            ("b c\n", 5, ("pool.example", 3333)),
        ] {
            let mut course = course();
            course.handle_end(&reconnect(host, port), WORKED, 0);
            let present = course.present();
            assert_eq!((present.host.as_str(), present.port), place, "{host}");
            assert_eq!(present.authority, course.home.authority);
        }
    }

    #[test]
    fn a_redirect_lasts_while_it_gives_work() {
        let mut course = course();
        course.handle_end(&reconnect("b.example", 0), WORKED, 0);
        course.handle_end(&Ended::Lost("broken".into()), WORKED, 0);
        assert_eq!(course.present().host, "b.example");
        course.handle_end(&Ended::Lost("unreachable".into()), None, 0);
        assert_eq!(course.present().host, "pool.example");
    }

    #[test]
    fn pauses_grow_until_a_connection_was_steady() {
        let mut course = course();
        let mut pause = |ended: &Ended, worked| course.handle_end(ended, worked, u32::MAX);
        let (lost, circle) = (Ended::Lost("broken".into()), reconnect("", 0));
        assert_eq!(pause(&circle, WORKED), LOST_PAUSE_MIN);
        assert_eq!(pause(&lost, WORKED), LOST_PAUSE_MIN * 2);
        assert_eq!(pause(&circle, WORKED), LOST_PAUSE_MIN * 4);
        for _ in 0..10 {
            pause(&lost, None);
        }
        assert_eq!(pause(&lost, None), LOST_PAUSE_MAX);
        assert_eq!(pause(&lost, Some(STEADY_AFTER)), LOST_PAUSE_MIN);
    }

    #[test]
    fn a_refusal_is_asked_again_after_a_long_pause() {
        let mut course = course();
        let refused = Ended::from(End::NoChannel);
        assert_eq!(course.handle_end(&refused, None, 0), REFUSED_PAUSE_MIN / 2);
        for _ in 0..10 {
            course.handle_end(&refused, None, 0);
        }
        let longest = course.handle_end(&refused, None, u32::MAX);
        assert_eq!(longest, REFUSED_PAUSE_MAX);
    }
}
