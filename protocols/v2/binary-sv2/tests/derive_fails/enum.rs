use binary_sv2::{Decodable, Encodable};

#[derive(Encodable, Decodable)]
enum Answer {
    Yes,
    No,
}

fn main() {}
