//! Where the demo shows itself: lines, and in a terminal a block of lines below them that is drawn anew.

use std::io::{self, IsTerminal, Stdout, Write};

use crossterm::cursor::{MoveToColumn, MoveUp};
use crossterm::queue;
use crossterm::style::Print;
use crossterm::terminal::{BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, size};

/// Columns and rows of a terminal that does not tell.
const FALLBACK_SIZE: (u16, u16) = (80, 24);

/// Standard output. It changes no mode of the terminal and does not hide the cursor, so nothing needs to be restored
/// however the process ends.
pub(super) struct Screen {
    out: Stdout,
    is_live: bool,
    /// The lines drawn below what was said.
    drawn: Vec<String>,
}

impl Screen {
    /// Draws only in a terminal that can, and not where plain lines are wanted.
    pub(super) fn new(is_plain: bool) -> Self {
        let out = io::stdout();
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            is_live: out.is_terminal() && !is_dumb && !is_plain,
            out,
            drawn: Vec::new(),
        }
    }

    pub(super) const fn is_live(&self) -> bool {
        self.is_live
    }

    /// Prints a line that stays. `false` when nobody reads any more.
    pub(super) fn say(&mut self, line: &str) -> bool {
        let lines = std::mem::take(&mut self.drawn);
        self.update(lines.len(), Some(line), lines).is_ok()
    }

    /// As [`Self::say`], but no longer than a row where people look on: the end of the line is for machines.
    pub(super) fn mention(&mut self, line: &str) -> bool {
        let columns = match self.is_live {
            true => usize::from(size().unwrap_or(FALLBACK_SIZE).0),
            false => usize::MAX,
        };
        self.say(cut(line, columns))
    }

    /// Draws the block of lines. `false` when nobody reads any more.
    pub(super) fn draw(&mut self, lines: &[String]) -> bool {
        let before = self.drawn.len();
        self.update(before, None, lines.to_vec()).is_ok()
    }

    /// Takes away what is drawn: it is out of date from now on.
    pub(super) fn finish(&mut self) {
        // Whoever does not read any more misses nothing.
        let _ = self.update(self.drawn.len(), None, Vec::new());
    }

    /// Clears the `drawn` lines above the cursor, prints one that stays, and draws `lines` below it.
    fn update(&mut self, drawn: usize, said: Option<&str>, lines: Vec<String>) -> io::Result<()> {
        if !self.is_live {
            return match said {
                Some(line) => writeln!(self.out, "{line}"),
                None => Ok(()),
            };
        }
        let (columns, rows) = size().unwrap_or(FALLBACK_SIZE);
        queue!(self.out, BeginSynchronizedUpdate, MoveToColumn(0))?;
        if let Ok(up @ 1..) = u16::try_from(drawn) {
            queue!(self.out, MoveUp(up))?;
        }
        queue!(self.out, Clear(ClearType::FromCursorDown))?;
        if let Some(line) = said {
            queue!(self.out, Print(line), Print("\r\n"))?;
        }
        // The row of the cursor, and one of what was said, stay in sight.
        let fitting = usize::from(rows).saturating_sub(2);
        self.drawn = lines.into_iter().take(fitting).collect();
        for line in &self.drawn {
            let line = cut(line, usize::from(columns));
            queue!(self.out, Print(line), Print("\r\n"))?;
        }
        queue!(self.out, EndSynchronizedUpdate)?;
        self.out.flush()
    }
}

/// What fits into one row; a line that wrapped could not be cleared again.
fn cut(line: &str, columns: usize) -> &str {
    let end = line.char_indices().nth(columns.saturating_sub(1));
    end.map_or(line, |(at, _)| line.get(..at).unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_never_wraps() {
        assert_eq!(cut("abc", 4), "abc");
        assert_eq!(cut("abcd", 4), "abc");
        assert_eq!(cut("äöüß", 3), "äö");
        assert_eq!(cut("a", 0), "");
    }
}
