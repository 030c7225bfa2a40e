//! Extension 0x0002: which worker behind an extended channel found a share.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use const_sv2::{
    EXTENSION_WORKER_IDENTITY, MAX_WORKER_IDENTITY_LEN, WORKER_IDENTITY_FIELD_USER_IDENTITY,
};
use thiserror::Error;

use crate::{Tlv, tlv_fields_for};

/// A worker identity is longer than the extension allows; the message that carries it is rejected (3.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a worker identity of {length} bytes is above the maximum of {MAX_WORKER_IDENTITY_LEN}")]
pub struct WorkerIdentityError {
    /// Length of the rejected identity in bytes.
    pub length: usize,
}

/// The `user_identity` field of extension 0x0002: at most 32 bytes, UTF-8 by rule, any bytes in practice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkerIdentity<'a>(Cow<'a, [u8]>);

impl<'a> WorkerIdentity<'a> {
    /// Wraps an identity.
    ///
    /// # Errors
    /// [`WorkerIdentityError`] above 32 bytes: a cut identity would collide with others.
    pub fn new(identity: &'a [u8]) -> Result<Self, WorkerIdentityError> {
        if identity.len() > MAX_WORKER_IDENTITY_LEN {
            return Err(WorkerIdentityError {
                length: identity.len(),
            });
        }
        Ok(Self(Cow::Borrowed(identity)))
    }

    /// The first worker identity in the bytes behind a `SubmitSharesExtended`; malformed TLV fields are ignored.
    ///
    /// # Errors
    /// [`WorkerIdentityError`] when the identity is above 32 bytes: the share is to be rejected.
    pub fn find(trailing: &'a [u8]) -> Result<Option<Self>, WorkerIdentityError> {
        tlv_fields_for(trailing, &[EXTENSION_WORKER_IDENTITY])
            .flatten()
            .find(|field| {
                field.extension_type == EXTENSION_WORKER_IDENTITY
                    && field.field_type == WORKER_IDENTITY_FIELD_USER_IDENTITY
            })
            .map(|field| Self::new(field.value))
            .transpose()
    }

    /// The identity's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same identity without a borrow.
    pub fn into_owned(self) -> WorkerIdentity<'static> {
        WorkerIdentity(Cow::Owned(self.0.into_owned()))
    }

    /// Appends the TLV field to the payload of a `SubmitSharesExtended`.
    pub fn append_to(&self, payload: &mut Vec<u8>) {
        let field = Tlv {
            extension_type: EXTENSION_WORKER_IDENTITY,
            field_type: WORKER_IDENTITY_FIELD_USER_IDENTITY,
            value: &self.0,
        };
        let appended = field.append_to(payload);
        debug_assert!(appended, "32 bytes fit into any TLV field");
    }
}
