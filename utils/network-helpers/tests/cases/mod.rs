//! What connections do, whatever they run on: `crate::on` is the runtime's part.

mod connection;
mod lines;
mod one_port;
mod proxy_protocol;
mod streams;
mod tcp;
mod tls;
