use binary_sv2::Encodable;

struct Opaque;

#[derive(Encodable)]
struct Carrier {
    number: u32,
    opaque: Opaque,
}

fn main() {}
