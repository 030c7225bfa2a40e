//! The pool's rules without I/O: the hub that turns templates into jobs, and one downstream per connection.

pub mod descriptor;
pub mod payout;
