use binary_sv2::{Decodable, Encodable, Str0255};

#[derive(Encodable, Decodable)]
struct Pair<'a, 'b> {
    left: Str0255<'a>,
    right: Str0255<'b>,
}

fn main() {}
