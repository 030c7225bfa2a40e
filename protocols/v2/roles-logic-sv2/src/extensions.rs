//! Negotiation of extensions (extension 0x0001), both sides.
//!
//! ```
//! use roles_logic_sv2::extensions::{ClientExtensions, ExtensionPolicy, ServerExtensions};
//!
//! let policy = ExtensionPolicy::new([0x0002], []);
//! let mut server = ServerExtensions::default();
//! let mut client = ClientExtensions::new(&[0x0002, 0x4001], &[]);
//!
//! let request = client.request().unwrap();
//! let answer = server.handle_request(&policy, &request).unwrap();
//! client.handle_answer(&answer).unwrap();
//! assert!(client.is_negotiated(0x0002) && server.is_negotiated(0x0002));
//! assert!(!client.is_negotiated(0x4001));
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;

use binary_sv2::Seq064K;
use extensions_sv2::{
    ExtensionNegotiationMessage, RequestExtensions, RequestExtensionsError,
    RequestExtensionsSuccess,
};

/// Requests that one connection may send. One is usual, a second one follows an error; more is abuse: the connection
/// is closed.
pub const MAX_REQUESTS: u8 = 8;

/// Unsupported extensions that an answer lists. A client that asks for more is told of these only.
pub const MAX_LISTED_EXTENSIONS: usize = 256;

/// What a server supports and requires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtensionPolicy {
    supported: Box<[u16]>,
    required: Box<[u16]>,
}

impl ExtensionPolicy {
    /// A policy; what is required is supported too.
    pub fn new(
        supported: impl IntoIterator<Item = u16>,
        required: impl IntoIterator<Item = u16>,
    ) -> Self {
        let required = distinct(required);
        Self {
            supported: distinct(supported.into_iter().chain(required.iter().copied())),
            required,
        }
    }
}

fn distinct(numbers: impl IntoIterator<Item = u16>) -> Box<[u16]> {
    let mut numbers: Vec<u16> = numbers.into_iter().collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.into_boxed_slice()
}

/// Why a connection is closed over its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtensionError {
    /// The client went on without an extension that the server requires (EX-32).
    #[error("required extension {extension:#06x} was not negotiated")]
    RequiredMissing {
        /// The first one missing.
        extension: u16,
    },
    /// The client keeps asking.
    #[error("more than {MAX_REQUESTS} extension requests on one connection")]
    TooManyRequests,
    /// The server does not support what this client cannot do without, or requires what it does not know.
    #[error("the server refuses extension {extension:#06x}, or requires it")]
    Refused {
        /// The extension in question.
        extension: u16,
    },
    /// The answer belongs to no request of ours.
    #[error("an answer to extension request {request_id}, which is not open")]
    UnexpectedAnswer {
        /// The number it carries.
        request_id: u16,
    },
}

/// The server's side of one connection.
#[derive(Clone, Debug, Default)]
pub struct ServerExtensions {
    negotiated: Box<[u16]>,
    requests: u8,
}

impl ServerExtensions {
    /// Answers a request; a later one replaces what an earlier one settled.
    ///
    /// After an error that lists required extensions the client either asks again or is closed by
    /// [`Self::check_before_other_message`].
    ///
    /// # Errors
    /// [`ExtensionError::TooManyRequests`]: close the connection.
    pub fn handle_request(
        &mut self,
        policy: &ExtensionPolicy,
        request: &RequestExtensions<'_>,
    ) -> Result<ExtensionNegotiationMessage<'static>, ExtensionError> {
        if self.requests >= MAX_REQUESTS {
            return Err(ExtensionError::TooManyRequests);
        }
        self.requests += 1;
        let request_id = request.request_id;
        let requested = &request.requested_extensions;
        let is_requested = |extension: &u16| requested.iter().any(|other| other == *extension);
        let granted = listed(policy.supported.iter().copied().filter(is_requested));
        let missing = listed(policy.required.iter().copied().filter(|e| !is_requested(e)));
        let asked_in_vain = granted.is_empty() && !requested.is_empty();
        if asked_in_vain || !missing.is_empty() {
            self.negotiated = Box::default();
            let is_unsupported = |extension: &u16| !policy.supported.contains(extension);
            let error = RequestExtensionsError {
                request_id,
                unsupported_extensions: sequence(listed(requested.iter().filter(is_unsupported))),
                required_extensions: sequence(missing),
            };
            return Ok(error.into());
        }
        self.negotiated = granted.clone().into_boxed_slice();
        let success = RequestExtensionsSuccess {
            request_id,
            supported_extensions: sequence(granted),
        };
        Ok(success.into())
    }

    /// To be asked before any message other than `RequestExtensions` is handled (EX-25, EX-32), once is enough.
    ///
    /// # Errors
    /// A required extension that the client did not negotiate: close the connection.
    pub fn check_before_other_message(
        &self,
        policy: &ExtensionPolicy,
    ) -> Result<(), ExtensionError> {
        let missing = policy.required.iter().find(|e| !self.is_negotiated(**e));
        missing.map_or(Ok(()), |extension| {
            Err(ExtensionError::RequiredMissing {
                extension: *extension,
            })
        })
    }

    /// Whether both sides agreed on this extension.
    #[inline]
    pub fn is_negotiated(&self, extension: u16) -> bool {
        self.negotiated.contains(&extension)
    }

    /// All that both sides agreed on, ascending.
    pub const fn negotiated(&self) -> &[u16] {
        &self.negotiated
    }
}

/// The first [`MAX_LISTED_EXTENSIONS`].
fn listed(extensions: impl Iterator<Item = u16>) -> Vec<u16> {
    extensions.take(MAX_LISTED_EXTENSIONS).collect()
}

fn sequence(extensions: Vec<u16>) -> Seq064K<'static, u16> {
    extensions
        .try_into()
        .expect("a list is cut to MAX_LISTED_EXTENSIONS, which a sequence holds")
}

/// Where the client's negotiation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientProgress {
    /// Settled: go on, with or without extensions.
    Settled,
    /// The server requires more that this client knows: send [`ClientExtensions::request`] once more (EX-31).
    Retry,
}

/// The client's side of one connection.
///
/// Nothing is sent between the request and its answer (EX-26). A server that does not answer knows no negotiation
/// (EX-29): how long to wait is the owner's decision, [`Self::handle_no_answer`] says whether to go on.
#[derive(Clone, Debug)]
pub struct ClientExtensions {
    wanted: Vec<u16>,
    known: Box<[u16]>,
    required: Box<[u16]>,
    negotiated: Box<[u16]>,
    request_id: u16,
    is_open: bool,
}

impl ClientExtensions {
    /// A client that wants `known` extensions and cannot do without those in `required`.
    pub fn new(known: &[u16], required: &[u16]) -> Self {
        let known = distinct(known.iter().chain(required).copied());
        Self {
            wanted: listed(known.iter().copied()),
            known,
            required: distinct(required.iter().copied()),
            negotiated: Box::default(),
            request_id: 0,
            is_open: false,
        }
    }

    /// The same client, asking only for what it requires until the server asks for more.
    #[must_use]
    pub fn asking_only_for_required(mut self) -> Self {
        self.wanted = listed(self.required.iter().copied());
        self
    }

    /// The request to send right after setup; `None` for a client that wants nothing (EX-34).
    pub fn request(&mut self) -> Option<RequestExtensions<'static>> {
        if self.wanted.is_empty() {
            return None;
        }
        self.request_id = self.request_id.wrapping_add(1);
        self.is_open = true;
        Some(RequestExtensions {
            request_id: self.request_id,
            requested_extensions: sequence(self.wanted.clone()),
        })
    }

    /// Takes the server's answer.
    ///
    /// # Errors
    /// The server refuses or requires what rules this client out; an answer out of turn.
    pub fn handle_answer(
        &mut self,
        answer: &ExtensionNegotiationMessage<'_>,
    ) -> Result<ClientProgress, ExtensionError> {
        use ExtensionNegotiationMessage as M;
        match answer {
            M::RequestExtensionsSuccess(success) => {
                self.take_answer(success.request_id)?;
                let granted = success.supported_extensions.iter();
                // What was not asked for is not granted, whatever the answer says.
                self.negotiated = distinct(granted.filter(|e| self.wanted.contains(e)));
                self.settle()
            }
            M::RequestExtensionsError(error) => {
                self.take_answer(error.request_id)?;
                self.negotiated = Box::default();
                self.handle_error(error)
            }
            M::RequestExtensions(request) => Err(ExtensionError::UnexpectedAnswer {
                request_id: request.request_id,
            }),
        }
    }

    /// The server does not answer: go on without extensions (EX-28), unless some are required here.
    ///
    /// # Errors
    /// This client cannot do without an extension.
    pub fn handle_no_answer(&mut self) -> Result<ClientProgress, ExtensionError> {
        self.is_open = false;
        self.settle()
    }

    /// Whether both sides agreed on this extension.
    pub fn is_negotiated(&self, extension: u16) -> bool {
        self.negotiated.contains(&extension)
    }

    /// Whether an answer is awaited.
    pub const fn is_waiting(&self) -> bool {
        self.is_open
    }

    fn take_answer(&mut self, request_id: u16) -> Result<(), ExtensionError> {
        if !self.is_open || request_id != self.request_id {
            return Err(ExtensionError::UnexpectedAnswer { request_id });
        }
        self.is_open = false;
        Ok(())
    }

    fn handle_error(
        &mut self,
        error: &RequestExtensionsError<'_>,
    ) -> Result<ClientProgress, ExtensionError> {
        let refused = |extension| ExtensionError::Refused { extension };
        let mut missing = error.required_extensions.iter();
        // Asked for already and still refused, or not known here: asking again leads nowhere.
        let hopeless =
            |extension: &u16| !self.known.contains(extension) || self.wanted.contains(extension);
        if let Some(extension) = missing.find(hopeless) {
            return Err(refused(extension));
        }
        let unsupported: Vec<u16> = error.unsupported_extensions.iter().collect();
        if let Some(extension) = self.required.iter().find(|e| unsupported.contains(e)) {
            return Err(refused(*extension));
        }
        if error.required_extensions.is_empty() {
            return self.settle();
        }
        self.wanted
            .retain(|extension| !unsupported.contains(extension));
        self.wanted.extend(error.required_extensions.iter());
        self.wanted = distinct(self.wanted.drain(..)).into_vec();
        Ok(ClientProgress::Retry)
    }

    fn settle(&self) -> Result<ClientProgress, ExtensionError> {
        let missing = self.required.iter().find(|e| !self.is_negotiated(**e));
        missing.map_or(Ok(ClientProgress::Settled), |extension| {
            Err(ExtensionError::Refused {
                extension: *extension,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a negotiation to its end: what both sides agreed on, or why the client gave up.
    fn dialogue(
        policy: &ExtensionPolicy,
        client: &mut ClientExtensions,
    ) -> Result<Vec<u16>, ExtensionError> {
        let mut server = ServerExtensions::default();
        for _ in 0..MAX_REQUESTS {
            let Some(request) = client.request() else {
                break;
            };
            let answer = server.handle_request(policy, &request)?;
            if client.handle_answer(&answer)? == ClientProgress::Settled {
                break;
            }
        }
        server.check_before_other_message(policy)?;
        for extension in server.negotiated() {
            assert!(client.is_negotiated(*extension));
        }
        Ok(server.negotiated().to_vec())
    }

    #[test]
    fn both_sides_agree_or_part() {
        use ExtensionError as E;
        type Case<'a> = (
            [&'a [u16]; 2],
            [&'a [u16]; 2],
            bool,
            Result<&'a [u16], ExtensionError>,
        );
        // Server's supported and required, client's known and required, whether it asks only for the latter.
        let cases: &[Case<'_>] = &[
            ([&[2, 3], &[]], [&[2, 4], &[]], false, Ok(&[2])),
            ([&[2], &[]], [&[2, 2], &[2]], false, Ok(&[2])),
            // Nothing in common, nothing required: on without.
            ([&[2], &[]], [&[4], &[]], false, Ok(&[])),
            ([&[], &[]], [&[], &[]], false, Ok(&[])),
            // The server requires what was not asked for but is known: a second request brings it.
            ([&[2], &[5]], [&[2, 5], &[2]], true, Ok(&[2, 5])),
            ([&[], &[5]], [&[4, 5], &[]], false, Ok(&[5])),
            // The server requires what the client does not know.
            (
                [&[2], &[5]],
                [&[2], &[]],
                false,
                Err(E::Refused { extension: 5 }),
            ),
            // The client never asks.
            (
                [&[2], &[5]],
                [&[], &[]],
                false,
                Err(E::RequiredMissing { extension: 5 }),
            ),
            // The client requires what the server does not have.
            (
                [&[2], &[]],
                [&[2, 4], &[4]],
                false,
                Err(E::Refused { extension: 4 }),
            ),
            (
                [&[], &[]],
                [&[4], &[4]],
                false,
                Err(E::Refused { extension: 4 }),
            ),
        ];
        for (server, client, only_required, expected) in cases {
            let policy = ExtensionPolicy::new(server[0].iter().copied(), server[1].iter().copied());
            let mut client = ClientExtensions::new(client[0], client[1]);
            if *only_required {
                client = client.asking_only_for_required();
            }
            let agreed = dialogue(&policy, &mut client);
            assert_eq!(
                agreed.as_deref(),
                expected.as_ref().copied(),
                "{policy:?} {client:?}"
            );
        }
    }

    #[test]
    fn errors_list_what_is_unsupported_and_what_is_missing() {
        let policy = ExtensionPolicy::new([2], [7]);
        let mut server = ServerExtensions::default();
        let ask = |extensions: &[u16]| RequestExtensions {
            request_id: 9,
            requested_extensions: extensions.to_vec().try_into().unwrap(),
        };
        let ExtensionNegotiationMessage::RequestExtensionsError(error) =
            server.handle_request(&policy, &ask(&[2, 4])).unwrap()
        else {
            panic!("a required extension is missing");
        };
        assert_eq!(error.request_id, 9);
        assert_eq!(error.unsupported_extensions.to_vec(), [4]);
        assert_eq!(error.required_extensions.to_vec(), [7]);
        assert!(!server.is_negotiated(2), "an error grants nothing");
        server.handle_request(&policy, &ask(&[2, 7])).unwrap();
        assert_eq!(server.negotiated(), [2, 7]);
        server.handle_request(&policy, &ask(&[7])).unwrap();
        assert_eq!(server.negotiated(), [7], "the last request counts");
    }

    #[test]
    fn long_lists_are_answered_in_bounded_memory_and_many_requests_end() {
        let policy = ExtensionPolicy::new([2], []);
        let mut server = ServerExtensions::default();
        let request = RequestExtensions {
            request_id: 1,
            requested_extensions: (100..60_000).collect::<Vec<u16>>().try_into().unwrap(),
        };
        for _ in 0..MAX_REQUESTS {
            let ExtensionNegotiationMessage::RequestExtensionsError(error) =
                server.handle_request(&policy, &request).unwrap()
            else {
                panic!("none is supported");
            };
            assert_eq!(error.unsupported_extensions.len(), MAX_LISTED_EXTENSIONS);
        }
        assert_eq!(
            server.handle_request(&policy, &request),
            Err(ExtensionError::TooManyRequests)
        );
    }

    #[test]
    fn answers_out_of_turn_change_nothing_and_silence_means_no_extensions() {
        let mut client = ClientExtensions::new(&[2], &[]);
        let answer = |request_id| {
            ExtensionNegotiationMessage::from(RequestExtensionsSuccess {
                request_id,
                supported_extensions: Vec::from([2u16, 3]).try_into().unwrap(),
            })
        };
        let unexpected = |request_id| Err(ExtensionError::UnexpectedAnswer { request_id });
        assert_eq!(client.handle_answer(&answer(0)), unexpected(0));
        let request_id = client.request().unwrap().request_id;
        assert_eq!(client.handle_answer(&answer(77)), unexpected(77));
        assert!(client.is_waiting() && !client.is_negotiated(2));
        assert_eq!(
            client.handle_answer(&answer(request_id)),
            Ok(ClientProgress::Settled)
        );
        assert!(!client.is_negotiated(3), "it was not asked for");
        assert_eq!(
            client.handle_answer(&answer(request_id)),
            unexpected(request_id)
        );
        assert_eq!(
            ClientExtensions::new(&[2], &[]).handle_no_answer(),
            Ok(ClientProgress::Settled)
        );
        assert!(ClientExtensions::new(&[], &[2]).handle_no_answer().is_err());
    }
}
