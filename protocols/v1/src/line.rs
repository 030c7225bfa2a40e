//! Lines out of a byte stream, however it is cut.

/// Bytes of one line of a miner, its end not included. A longer one is skipped to its end and counted.
///
/// Long user names and version rolling make lines of a few hundred bytes.
pub const MAX_MINER_LINE_BYTES: usize = 8 * 1024;

/// Bytes of one line of a server: a job with a coinbase of the largest size, in hexadecimal.
pub const MAX_SERVER_LINE_BYTES: usize = 256 * 1024;

/// A line was longer than the limit; all of it is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line is longer than {limit} bytes")]
pub struct LineTooLong {
    /// Bytes that one line may have.
    pub limit: usize,
}

/// Whether a connection that begins with this byte speaks Sv1; an Sv2 handshake begins with a key's random bytes, which
/// may look the same once in 40 times.
pub const fn is_sv1_start(first_byte: u8) -> bool {
    first_byte == b'{' || is_padding(first_byte)
}

/// Cuts a byte stream into lines. Holds the unfinished one, never more than the limit.
///
/// Lines end with `\n`; `\r`, NUL and blanks around one are taken off, and empty lines are passed over.
///
/// ```
/// let mut lines = sv1_api::line::Lines::new(64);
/// let mut input: &[u8] = b" {\"id\":1}\r\n\n{\"id\":";
/// assert_eq!(lines.next_line(&mut input), Some(Ok(&b"{\"id\":1}"[..])));
/// assert_eq!(lines.next_line(&mut input), None);
/// let mut input: &[u8] = b"2}\n";
/// assert_eq!(lines.next_line(&mut input), Some(Ok(&b"{\"id\":2}"[..])));
/// ```
#[derive(Clone, Debug)]
pub struct Lines {
    unfinished: Vec<u8>,
    limit: usize,
    /// The unfinished line was given out at the last call and is to be dropped.
    is_given: bool,
    is_skipping: bool,
}

impl Lines {
    /// At the start of a stream, for lines of at most `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        Self {
            unfinished: Vec::new(),
            limit,
            is_given: false,
            is_skipping: false,
        }
    }

    /// The next complete line; takes from `input` what it needs. `None` when all of `input` is taken.
    pub fn next_line<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
    ) -> Option<Result<&'s [u8], LineTooLong>> {
        if std::mem::take(&mut self.is_given) {
            // Its memory as well: most connections wait most of the time, between lines.
            self.unfinished = Vec::new();
        }
        loop {
            let Some(end) = line_end(input) else {
                return self.keep(input).err().map(Err);
            };
            let (line, rest) = input.split_at(end);
            *input = rest.get(1..).unwrap_or_default();
            if std::mem::take(&mut self.is_skipping) {
                continue;
            }
            if self.unfinished.len() + line.len() > self.limit {
                self.unfinished.clear();
                return Some(Err(LineTooLong { limit: self.limit }));
            }
            if self.unfinished.is_empty() {
                match trim(line) {
                    [] => continue,
                    line => return Some(Ok(line)),
                }
            }
            self.unfinished.extend_from_slice(line);
            if trim(&self.unfinished).is_empty() {
                self.unfinished.clear();
                continue;
            }
            self.is_given = true;
            return Some(Ok(trim(&self.unfinished)));
        }
    }

    /// Bytes held of a line that is not complete.
    pub fn held(&self) -> usize {
        if self.is_given {
            0
        } else {
            self.unfinished.len()
        }
    }

    /// Whether the stream may end here: no part of a line has arrived.
    pub fn is_between_lines(&self) -> bool {
        !self.is_skipping && self.held() == 0
    }

    fn keep(&mut self, input: &mut &[u8]) -> Result<(), LineTooLong> {
        let rest = std::mem::take(input);
        if self.is_skipping {
            return Ok(());
        }
        if self.unfinished.len() + rest.len() > self.limit {
            // Said once, as soon as it is known: the end may never come.
            self.is_skipping = true;
            self.unfinished = Vec::new();
            return Err(LineTooLong { limit: self.limit });
        }
        self.unfinished.extend_from_slice(rest);
        Ok(())
    }
}

/// Where the line ends. Bytes without an end are passed over in blocks, which the compiler compares at once.
fn line_end(input: &[u8]) -> Option<usize> {
    const BLOCK: usize = 32;
    let is_end = |byte: &u8| *byte == b'\n';
    let has_end = |block: &[u8]| block.iter().fold(false, |any, byte| any | is_end(byte));
    let blocks = input.chunks_exact(BLOCK);
    let start = { blocks }.take_while(|block| !has_end(block)).count() * BLOCK;
    let end = input.get(start..)?.iter().position(is_end)?;
    Some(start + end)
}

/// The line without what some peers put around it.
pub fn trim(line: &[u8]) -> &[u8] {
    let Some(first) = line.iter().position(|byte| !is_padding(*byte)) else {
        return &[];
    };
    let last = line.iter().rposition(|byte| !is_padding(*byte));
    line.get(first..=last.unwrap_or(first)).unwrap_or_default()
}

const fn is_padding(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_end_is_found_wherever_it_is() {
        for len in 0..100 {
            let mut input = vec![b'x'; len];
            assert_eq!(line_end(&input), None, "{len}");
            for at in (0..len).rev() {
                input[at] = b'\n';
                assert_eq!(line_end(&input), Some(at), "{len}");
            }
        }
    }
}
