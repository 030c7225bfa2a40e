//! One target per line of the message tables.

use crate::Target;

/// Compares a message written again with the bytes it was read from: bits 1 to 7 of a `BOOL` are written as 0
/// (specification 3.1), nothing else may change.
fn assert_written_as_read(written: &[u8], read: &[u8]) {
    assert_eq!(written.len(), read.len());
    for (position, (ours, theirs)) in written.iter().zip(read).enumerate() {
        assert!(
            ours == theirs || *ours == theirs & 1,
            "byte {position}: {theirs:#04x} became {ours:#04x}"
        );
    }
}

macro_rules! targets {
    (
        $protocol:ident;
        $($message:ident $(<$lifetime:lifetime>)?, $constant:ident, $name:literal, $extension:literal, $msg_type:literal, $channel:literal, $direction:ident;)*
    ) => {
        pub(crate) const TARGETS: &[(&str, Target)] = &[$((
            concat!(stringify!($protocol), "_", stringify!($message)),
            |bytes| {
                let (message, rest) = match $message::decode_prefix(bytes) {
                    Ok(decoded) => decoded,
                    Err(error) => return assert_ne!(error.field, "", "{error}"),
                };
                let written = message.to_vec();
                assert_eq!(written.len(), message.encoded_len());
                assert_written_as_read(&written, &bytes[..bytes.len() - rest.len()]);

                let (again, rest) = $message::decode_prefix(&written).expect("what was written is read");
                assert!(rest.is_empty());
                assert_eq!(again.to_vec(), written);
                // A float that is NaN makes a message that equals nothing, not even itself.
                assert_eq!(again == message, message == message.clone());
                assert_eq!(again.into_owned().to_vec(), written);
            },
        )),*];
    };
}

macro_rules! tables {
    ($($protocol:ident: $krate:ident, $table:ident;)*) => {$(
        pub(crate) mod $protocol {
            use binary_sv2::{Decodable, Encodable, IntoOwned};
            use $krate::*;

            use super::{Target, assert_written_as_read};

            const_sv2::$table!(targets, [$protocol;]);
        }
    )*};
}

tables! {
    common: common_messages_sv2, common_messages;
    mining: mining_sv2, mining_messages;
    job_declaration: job_declaration_sv2, job_declaration_messages;
    template_distribution: template_distribution_sv2, template_distribution_messages;
    extension_negotiation: extensions_sv2, extension_negotiation_messages;
}
