//! What a proxy must do, one scenario each.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

mod scenarios {
    pub(crate) mod channels;
    pub(crate) mod devices;
    pub(crate) mod failover;
    pub(crate) mod miners;
    pub(crate) mod split;
    pub(crate) mod upstreams;
}
