//! Commands as text: one a line, in a file or by hand.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::misbehaviour::{Misbehaviour, ParseError, duration, duration_text};

/// Commands that may wait for their time; one more is refused.
pub const MAX_WAITING_COMMANDS: usize = 10_000;

/// What the pool is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Do wrong.
    Misbehave(Misbehaviour),
    /// Do right from now on; what was held back leaves.
    Behave,
    /// Give work on another block.
    NewBlock,
    /// Give other work on the same block.
    NewJob,
}

/// A line of a script: `[after DURATION] ACT [for DURATION]`, such as `after 5s silent for 10s`.
///
/// The word `for` may be left out. Acts are the names of misbehaviours with their arguments, `behave`, `new-block` and
/// `new-job`.
///
/// ```
/// use std::time::Duration;
/// use stratum_test_pool::{Act, Command, Delivery};
///
/// let command: Command = "after 5s silent 10s".parse()?;
/// assert_eq!(command.act, Act::Misbehave(Delivery::Silent.into()));
/// assert_eq!(command.after, Duration::from_secs(5));
/// assert_eq!(command.lasting, Some(Duration::from_secs(10)));
/// # Ok::<(), stratum_test_pool::ScriptError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// How much later than the command is given; for a script that is the pool's start.
    pub after: Duration,
    /// What to do.
    pub act: Act,
    /// For how long, where it lasts; `None` until the pool is told to behave.
    pub lasting: Option<Duration>,
}

impl From<Act> for Command {
    fn from(act: Act) -> Self {
        Self {
            after: Duration::ZERO,
            act,
            lasting: None,
        }
    }
}

impl<M: Into<Misbehaviour>> From<M> for Act {
    fn from(misbehaviour: M) -> Self {
        Self::Misbehave(misbehaviour.into())
    }
}

/// Why a text is no command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// There are words, and none says what to do.
    #[error("nothing is said to be done; write a misbehaviour, `behave`, `new-block` or `new-job`")]
    NoAct,
    /// A duration is none.
    #[error("`{0}` is not a duration; write 500ms, 10s or 2m, at most a day")]
    Duration(String),
    /// Something that is done at once cannot last.
    #[error("`{0}` is done once and cannot last")]
    Once(String),
    /// Further words.
    #[error("`{0}` is one word too many")]
    Surplus(String),
    /// What to do is not understood.
    #[error(transparent)]
    Misbehaviour(#[from] ParseError),
    /// A script has too many lines.
    #[error("more than {MAX_WAITING_COMMANDS} commands")]
    TooLong,
    /// A line of a script.
    #[error("line {number}: {source}")]
    Line {
        /// Its number, from 1.
        number: usize,
        /// What is wrong with it.
        source: Box<Self>,
    },
}

fn needed<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<Duration, ScriptError> {
    let text = words.next().unwrap_or_default();
    duration(text).ok_or_else(|| ScriptError::Duration(text.to_owned()))
}

impl FromStr for Command {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Self, ScriptError> {
        let mut words = text.split_whitespace();
        let mut name = words.next().ok_or(ScriptError::NoAct)?;
        let mut after = Duration::ZERO;
        if name == "after" {
            after = needed(&mut words)?;
            name = words.next().ok_or(ScriptError::NoAct)?;
        }
        let act = match name {
            "behave" => Act::Behave,
            "new-block" => Act::NewBlock,
            "new-job" => Act::NewJob,
            name => Act::Misbehave(Misbehaviour::parse(name, &mut words)?),
        };
        let lasting = match words.next() {
            None => None,
            Some("for") => Some(needed(&mut words)?),
            Some(text) => match duration(text) {
                Some(lasting) => Some(lasting),
                None => return Err(ScriptError::Surplus(text.to_owned())),
            },
        };
        let lasts = matches!(&act, Act::Misbehave(misbehaviour) if misbehaviour.lasts());
        if lasting.is_some() && !lasts {
            return Err(ScriptError::Once(act.to_string()));
        }
        match words.next() {
            Some(word) => Err(ScriptError::Surplus(word.to_owned())),
            None => Ok(Self {
                after,
                act,
                lasting,
            }),
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misbehave(misbehaviour) => misbehaviour.fmt(f),
            Self::Behave => f.write_str("behave"),
            Self::NewBlock => f.write_str("new-block"),
            Self::NewJob => f.write_str("new-job"),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.after.is_zero() {
            write!(f, "after {} ", duration_text(self.after))?;
        }
        self.act.fmt(f)?;
        match self.lasting {
            Some(lasting) => write!(f, " for {}", duration_text(lasting)),
            None => Ok(()),
        }
    }
}

/// Reads a script: a command a line, empty lines and what stands behind `#` left out.
///
/// # Errors
/// [`ScriptError::Line`] with the number of the first line that is none, [`ScriptError::TooLong`] above
/// [`MAX_WAITING_COMMANDS`].
pub fn parse_script(text: &str) -> Result<Vec<Command>, ScriptError> {
    let mut commands = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        if line.trim().is_empty() {
            continue;
        }
        if commands.len() >= MAX_WAITING_COMMANDS {
            return Err(ScriptError::TooLong);
        }
        let command = line.parse().map_err(|source| ScriptError::Line {
            number: index + 1,
            source: Box::new(source),
        })?;
        commands.push(command);
    }
    Ok(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_the_table_reads_back_as_it_is_written() {
        let mut names = std::collections::BTreeSet::new();
        for listed in Misbehaviour::list() {
            let argument = match listed.argument.split([',', ' ']).next().unwrap_or_default() {
                "" => "",
                "DURATION" => " 500ms",
                "CODE" => " unknown-user",
                "EXTENSION" => " 0x4001",
                "HOST:PORT" => " pool.example:3333",
                other => panic!("{other}"),
            };
            let text = format!("{}{argument}", listed.name);
            let command: Command = text.parse().expect("a command");
            assert_eq!(command.to_string(), text);
            let Act::Misbehave(misbehaviour) = command.act else {
                panic!("{text}")
            };
            assert_eq!(misbehaviour.name(), listed.name);
            assert_eq!(misbehaviour.lasts(), listed.lasts);
            assert!(names.insert(listed.name), "{text} is there twice");
            if !argument.is_empty() {
                assert!(matches!(
                    listed.name.parse::<Command>(),
                    Err(ScriptError::Misbehaviour(ParseError::NoArgument { .. }))
                ));
            }
        }
        assert!(names.len() > 40);
    }

    #[test]
    fn times_stand_before_and_behind() {
        for (text, shown) in [
            ("after 5s silent 10s", "after 5s silent for 10s"),
            ("slow 500ms for 2m", "slow 500ms for 120s"),
            ("after 1500ms behave", "after 1500ms behave"),
            ("  new-block ", "new-block"),
        ] {
            let command: Command = text.parse().expect(text);
            assert_eq!(command.to_string(), shown);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            ("after 5s", "nothing is said"),
            ("after soon silent", "`soon` is not a duration"),
            ("silent for 2d", "`2d` is not a duration"),
            ("silent 99999999m", "one word too many"),
            ("garbage 10s", "`garbage` is done once"),
            ("behave for 10s", "`behave` is done once"),
            ("sulk", "there is no misbehaviour `sulk`"),
            ("slow fast", "`fast` is not what `slow` takes"),
            ("reconnect here", "`here` is not what `reconnect` takes"),
            ("silent 10s now", "`now` is one word too many"),
        ];
        for (text, said) in cases {
            let error = text.parse::<Command>().expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        let script = "# nothing\n\nsilent 10s  # a while\nsulk\n";
        let error = parse_script(script).expect_err("line 4").to_string();
        assert!(error.starts_with("line 4: there is no"), "{error}");
        let long = "behave\n".repeat(MAX_WAITING_COMMANDS + 1);
        assert_eq!(parse_script(&long), Err(ScriptError::TooLong));
    }
}
