//! Randomness of the operating system.

/// Bytes from the operating system's cryptographic random source.
///
/// # Panics
/// When the operating system has none, as no supported one does after boot.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has a random source");
    bytes
}

/// A number from the operating system's cryptographic random source.
///
/// # Panics
/// As [`random_bytes`].
pub fn random_u32() -> u32 {
    u32::from_le_bytes(random_bytes())
}
