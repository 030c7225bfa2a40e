//! What user names and passwords carry.

use crate::difficulty::Difficulty;

/// A user name in its parts, as miners write it: `account.worker`, `account_worker`, `.worker`, `account`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerName {
    /// Who is paid: an address or an account; empty for `.worker`.
    pub account: String,
    /// Which machine; empty when not named.
    pub worker: String,
}

impl WorkerName {
    /// Splits at the first dot, or at the first underscore where there is none. Specials that firmware writes as `%XX`
    /// are read back.
    pub fn parse(user: &str) -> Self {
        let user = percent_decoded(user);
        let parts = user.split_once('.').or_else(|| user.split_once('_'));
        let (account, worker) = parts.unwrap_or((&user, ""));
        Self {
            account: account.to_owned(),
            worker: worker.to_owned(),
        }
    }
}

/// The text with each `%XX` replaced; as it is where that is no UTF-8 or not well-formed.
pub fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let code = others.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|digits| hex::decode(digits).ok());
        match code.as_deref() {
            Some([byte]) => {
                bytes.push(*byte);
                rest = others.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// What a password asks for: options between commas, semicolons or blanks; everything else in it is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PasswordOptions {
    /// `d=1024` (or `diff=`): this difficulty and no other.
    pub fixed_difficulty: Option<Difficulty>,
    /// `x=1024` (or `start=`): the difficulty to start from.
    pub starting_difficulty: Option<Difficulty>,
    /// `md=1024` (or `mindiff=`): no difficulty below this.
    pub minimum_difficulty: Option<Difficulty>,
}

impl PasswordOptions {
    /// Reads the options. Of an option that comes twice the last counts.
    pub fn parse(password: &str) -> Self {
        let mut options = Self::default();
        for option in password.split([',', ';', ' ']) {
            let Some((name, value)) = option.split_once('=') else {
                continue;
            };
            let Some(value) = value.trim().parse().ok().and_then(Difficulty::new) else {
                continue;
            };
            match name.trim().to_ascii_lowercase().as_str() {
                "d" | "diff" => options.fixed_difficulty = Some(value),
                "x" | "start" => options.starting_difficulty = Some(value),
                "md" | "mindiff" => options.minimum_difficulty = Some(value),
                _ => {}
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_as_miners_write_them() {
        for (user, account, worker) in [
            ("bc1q.rig1", "bc1q", "rig1"),
            ("bc1q_rig1", "bc1q", "rig1"),
            (".rig1", "", "rig1"),
            ("bc1q", "bc1q", ""),
            ("bc1q.rig_1.b", "bc1q", "rig_1.b"),
            ("bc1q%2Erig%201", "bc1q", "rig 1"),
            ("50%.rig", "50%", "rig"),
            ("%ff.rig", "%ff", "rig"),
        ] {
            let name = WorkerName::parse(user);
            assert_eq!((&*name.account, &*name.worker), (account, worker), "{user}");
        }
    }

    #[test]
    fn passwords_carry_options_among_anything() {
        let options = PasswordOptions::parse("x, D=1024;md=0.5");
        assert_eq!(options.fixed_difficulty, Difficulty::new(1024.0));
        assert_eq!(options.minimum_difficulty, Difficulty::new(0.5));
        assert_eq!(options.starting_difficulty, None);
        for nothing in ["", "x", "d=", "d=-1", "d=0", "d=nan", "=5", "hunter2"] {
            assert_eq!(
                PasswordOptions::parse(nothing),
                PasswordOptions::default(),
                "{nothing}"
            );
        }
    }
}
