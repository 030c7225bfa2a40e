//! The messages as C structs, with a decoder and an encoder each.
