//! Derive macros Encodable and Decodable for stratum-binary-sv2.
