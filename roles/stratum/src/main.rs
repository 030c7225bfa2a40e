//! The `stratum` command.
fn main() {}
