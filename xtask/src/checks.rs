//! Steps of the test run that take more than a call of cargo.

pub(crate) mod ffi;
