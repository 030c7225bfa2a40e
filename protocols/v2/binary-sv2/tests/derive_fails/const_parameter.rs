use binary_sv2::{Decodable, Encodable};

#[derive(Encodable, Decodable)]
struct Padded<const N: usize> {
    value: u32,
}

fn main() {}
