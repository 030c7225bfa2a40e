//! Rust source without its comments and literals.

/// The source with comments, strings and character literals blanked out, line for line.
///
/// Rules that look for a keyword or a call look at this, so a comment or a message may name what code must not do.
pub(crate) fn code_only(source: &str) -> String {
    let mut rest = source;
    let mut code = String::with_capacity(source.len());
    let mut previous = ' ';
    while let Some(first) = rest.chars().next() {
        let skipped = literal_or_comment_len(rest, previous);
        let (text, keep) = if skipped == 0 {
            (&rest[..first.len_utf8()], true)
        } else {
            (&rest[..skipped], false)
        };
        code.extend(
            text.chars()
                .map(|c| if keep || c == '\n' { c } else { ' ' }),
        );
        previous = if keep { first } else { ' ' };
        rest = &rest[text.len()..];
    }
    code
}

/// Length in bytes of the comment or literal that `rest` starts with, 0 when it starts with code.
fn literal_or_comment_len(rest: &str, previous: char) -> usize {
    let in_word = previous.is_alphanumeric() || previous == '_';
    if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if rest.starts_with("/*") {
        block_comment_len(rest)
    } else if rest.starts_with('"') {
        quoted_len(rest, '"')
    } else if rest.starts_with('\'') {
        character_len(rest)
    } else if !in_word && (rest.starts_with('r') || rest.starts_with("br")) {
        raw_string_len(rest)
    } else {
        0
    }
}

fn block_comment_len(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest[at..];
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// A quote starts a character when it is closed after one (maybe escaped) character, else it starts a lifetime.
fn character_len(rest: &str) -> usize {
    let mut chars = rest.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted_len(rest, '\''),
        _ => 0,
    }
}

fn raw_string_len(rest: &str) -> usize {
    let start = rest.find('r').map_or(0, |at| at + 1);
    let hashes = rest[start..]
        .bytes()
        .take_while(|byte| *byte == b'#')
        .count();
    if !rest[start + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = start + hashes + 1;
    rest[body..]
        .find(&end)
        .map_or(rest.len(), |at| body + at + end.len())
}

/// Lines of `code`, counted from 1, in which `word` stands by itself; a `word` ending in `_` is a prefix.
pub(crate) fn lines_with_word<'a>(
    code: &'a str,
    word: &'a str,
) -> impl Iterator<Item = usize> + 'a {
    code.lines()
        .enumerate()
        .filter(move |(_, line)| has_word(line, word))
        .map(|(index, _)| index + 1)
}

fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let takes_more = !word.ends_with(char::is_alphanumeric);
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(part_of_word) && (takes_more || !after.starts_with(part_of_word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_vanish_and_lines_stay() {
        for (source, expected) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            ("f(\"a \\\" b\", c)", "f(        , c)"),
            ("f(r#\"a \" b\"#, c)", "f(          , c)"),
            ("x('\\'', 'b', &'a c)", "x(    ,    , &'a c)"),
            ("for_r(\"x\")", "for_r(   )"),
            ("\"a\nb\" c", "  \n   c"),
        ] {
            assert_eq!(code_only(source), expected, "{source}");
        }
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(
            lines_with_word("unsafe_code\nunsafe {", "unsafe").collect::<Vec<_>>(),
            [2]
        );
        assert_eq!(
            lines_with_word("fn get_x()\nfn target_y()", "fn get_").collect::<Vec<_>>(),
            [1]
        );
    }
}
