//! The text forms of authority keys.

use noise_sv2::{AuthorityPublicKey, AuthoritySecretKey};

/// Any text: refused, or the one text of its key.
pub(crate) fn authority_key(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    if let Ok(key) = text.parse::<AuthorityPublicKey>() {
        assert_eq!(key.to_string(), text, "a key has two texts");
    }
    if let Ok(key) = text.parse::<AuthoritySecretKey>() {
        assert_eq!(*key.to_text(), text, "a key has two texts");
    }
}
