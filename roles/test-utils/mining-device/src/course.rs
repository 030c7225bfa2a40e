//! Where to connect next and after which pause: what each end of a connection leads to.

use std::time::Duration;

use network_helpers_sv2::{Backoff, Endpoint, ServerUrl, Sv1Endpoint};

use crate::core::End;

/// First pause after a connection that was lost or not reached; it doubles up to [`LOST_PAUSE_MAX`].
pub const LOST_PAUSE_MIN: Duration = Duration::from_millis(500);

/// Longest pause after a connection that was lost or not reached.
pub const LOST_PAUSE_MAX: Duration = Duration::from_secs(60);

/// First pause after a server said that it does not want us; it doubles up to [`REFUSED_PAUSE_MAX`].
pub const REFUSED_PAUSE_MIN: Duration = Duration::from_secs(30);

/// Longest pause after a server said that it does not want us.
pub const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(600);

/// Longest pause that a server can ask for.
pub const ASKED_PAUSE_MAX: Duration = REFUSED_PAUSE_MAX;

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
    home: ServerUrl,
    present: ServerUrl,
    lost: Backoff,
    refused: Backoff,
}

impl Course {
    /// Begins at the server configured.
    pub fn new(home: ServerUrl) -> Self {
        Self {
            present: home.clone(),
            home,
            lost: Backoff::new(LOST_PAUSE_MIN, LOST_PAUSE_MAX),
            refused: Backoff::new(REFUSED_PAUSE_MIN, REFUSED_PAUSE_MAX),
        }
    }

    /// The server to connect to.
    pub const fn present(&self) -> &ServerUrl {
        &self.present
    }

    /// Takes the end of a connection that had work for `worked`, and gives the pause before the next; `random` spreads
    /// the pauses of many devices.
    ///
    /// Reconnecting leads to the server it names, under the same authority (CM-20), in TLS as before. When that one gives no
    /// work, the server configured is next.
    pub fn handle_end(&mut self, ended: &Ended, worked: Option<Duration>, random: u32) -> Duration {
        if worked.is_some_and(|worked| worked >= STEADY_AFTER) {
            self.lost.reset();
            self.refused.reset();
        }
        let mut asked = Duration::ZERO;
        match ended {
            Ended::ByRule(End::Reconnect { host, port, wait }) => {
                let next = redirected(&self.present, host, *port);
                self.present = next.unwrap_or_else(|| self.home.clone());
                asked = (*wait).min(ASKED_PAUSE_MAX);
            }
            _ if worked.is_none() => self.present = self.home.clone(),
            _ => {}
        }
        let pause = match ended {
            Ended::ByRule(end) if end.is_refusal() => self.refused.next_pause(random),
            _ => self.lost.next_pause(random),
        };
        pause.max(asked)
    }
}

/// The server that is named; an empty host and port 0 mean the present ones (CM-18). `None` when the host is none.
fn redirected(present: &ServerUrl, host: &str, port: u16) -> Option<ServerUrl> {
    let host = match host.trim() {
        "" => present.host(),
        host => host.trim_start_matches('[').trim_end_matches(']'),
    };
    let (host, port) = match port {
        0 => (host.to_owned(), present.port()),
        port => (host.to_owned(), port),
    };
    // The authority stays, whatever was named (CM-22).
    let named = match present {
        ServerUrl::Sv2(Endpoint { authority, .. }) => ServerUrl::Sv2(Endpoint {
            host,
            port,
            authority: *authority,
        }),
        ServerUrl::Sv1(Sv1Endpoint { is_tls, .. }) => ServerUrl::Sv1(Sv1Endpoint {
            host,
            port,
            is_tls: *is_tls,
        }),
    };
    // What is written and read again unchanged is a host.
    (named.to_string().parse() == Ok(named.clone())).then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str =
        "stratum2+tcp://pool.example:3333/9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";

    fn course() -> Course {
        Course::new(URL.parse().unwrap())
    }

    fn place_of(course: &Course) -> (&str, u16) {
        (course.present().host(), course.present().port())
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
            assert_eq!(place_of(&course), place, "{host}");
            let authority = |server: &ServerUrl| match server {
                ServerUrl::Sv2(server) => server.authority,
                ServerUrl::Sv1(_) => None,
            };
            assert!(authority(course.present()).is_some());
            assert_eq!(authority(course.present()), authority(&course.home));
        }
    }

    #[test]
    fn an_sv1_server_is_changed_within_tls_after_the_wait_it_asks_for() {
        let mut course = Course::new("stratum+ssl://a.pool.example:3333".parse().unwrap());
        let asks = |wait_secs| {
            Ended::from(End::Reconnect {
                host: "b.pool.example".into(),
                port: 0,
                wait: Duration::from_secs(wait_secs),
            })
        };
        let pause = course.handle_end(&asks(5), WORKED, 0);
        assert_eq!(pause, Duration::from_secs(5));
        let url = course.present().to_string();
        assert_eq!(url, "stratum+ssl://b.pool.example:3333");
        let pause = course.handle_end(&asks(u32::MAX.into()), WORKED, 0);
        assert_eq!(pause, ASKED_PAUSE_MAX);
        course.handle_end(&reconnect("evil/\n", 1), WORKED, 0);
        assert_eq!(place_of(&course), ("a.pool.example", 3333));
    }

    #[test]
    fn a_redirect_lasts_while_it_gives_work() {
        let mut course = course();
        course.handle_end(&reconnect("b.example", 0), WORKED, 0);
        course.handle_end(&Ended::Lost("broken".into()), WORKED, 0);
        assert_eq!(course.present().host(), "b.example");
        course.handle_end(&Ended::Lost("unreachable".into()), None, 0);
        assert_eq!(course.present().host(), "pool.example");
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
