use binary_sv2::{Decodable, Encodable};

#[derive(Encodable, Decodable)]
struct Wrapper<T> {
    value: T,
}

fn main() {}
