use binary_sv2::Decodable;

struct Opaque;

#[derive(Decodable)]
struct Carrier {
    number: u32,
    opaque: Opaque,
}

fn main() {}
