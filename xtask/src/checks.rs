//! Steps of the test run that take more than a call of cargo.

pub mod api;
pub(crate) mod buffer;
pub(crate) mod features;
pub(crate) mod ffi;
