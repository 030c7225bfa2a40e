use binary_sv2::{Decodable, Encodable};

#[derive(Encodable, Decodable)]
struct Point(u32, u32);

fn main() {}
