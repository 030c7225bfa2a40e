//! The names of one runtime.

/// Names the connections of this crate for the runtime `$runtime`, whose TCP streams are `$tcp`, so that all runtimes have
/// the same ones. Where it is used there must be a trait `Stream`.
macro_rules! api_of_runtime {
    ($runtime:ty, $tcp:ty) => {
        pub use crate::runtime::{accept, accept_lines, sniff};

        /// A connection that speaks frames, over TCP unless told otherwise.
        pub type Connection<S = $tcp> = crate::runtime::Connection<S, $runtime>;

        /// A connection that speaks lines, over TCP unless told otherwise.
        pub type LineConnection<S = $tcp> = crate::runtime::LineConnection<S, $runtime>;

        /// A TCP stream, in the clear or in TLS.
        pub type MaybeTls = crate::runtime::MaybeTls<$tcp>;

        /// [`runtime::connect`](crate::runtime::connect) on this runtime.
        ///
        /// # Errors
        /// [`ConnectError`](crate::ConnectError), whose message says what to check.
        pub fn connect(
            endpoint: &crate::Endpoint,
            security: &crate::ClientSecurity,
            options: crate::Options,
        ) -> impl Future<Output = Result<Connection, crate::ConnectError>> {
            crate::tcp::connect(endpoint, security, options)
        }

        /// [`runtime::connect_lines`](crate::runtime::connect_lines) on this runtime.
        ///
        /// # Errors
        /// [`ConnectError`](crate::ConnectError), whose message says what to check.
        pub fn connect_lines(
            endpoint: &crate::Sv1Endpoint,
            tls: Option<&crate::TlsClient>,
            options: crate::LineOptions,
        ) -> impl Future<Output = Result<LineConnection<MaybeTls>, crate::ConnectError>> {
            crate::tcp::connect_lines(endpoint, tls, options)
        }
    };
}

pub(crate) use api_of_runtime;
