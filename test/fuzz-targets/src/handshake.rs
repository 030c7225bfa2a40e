//! Both sides of the handshake.

use noise_sv2::{
    ACT1_LEN, ACT2_LEN, AuthoritySecretKey, Certificate, EphemeralKey, Initiator, Responder,
    SEALED_HEADER_LEN, StaticKey,
};

const NOW: u32 = 1_700_000_000;

fn authority() -> AuthoritySecretKey {
    AuthoritySecretKey::from_bytes(&[1; 32]).expect("a valid secret")
}

fn static_key() -> StaticKey {
    StaticKey::new(&[2; 32], &[3; 32]).expect("a valid secret")
}

fn ephemeral(secret: u8) -> EphemeralKey {
    EphemeralKey::new(&[secret; 32], &[6; 32]).expect("a valid secret")
}

fn certificate() -> Certificate {
    Certificate::issue(&authority(), &static_key(), NOW..=NOW, &[4; 32])
}

/// The first `N` bytes of `data`, filled up with zeros.
fn padded<const N: usize>(data: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    let len = data.len().min(N);
    bytes[..len].copy_from_slice(&data[..len]);
    bytes
}

/// `data` is how the server's message differs from a good one: accepted only where it does not.
pub(crate) fn initiator(data: &[u8]) {
    let difference: [u8; ACT2_LEN] = padded(data);
    let (client, act1) = Initiator::new(Some(authority().public_key()), ephemeral(5));
    let (_, mut act2) = Responder::new(&static_key(), &certificate())
        .respond(&act1, ephemeral(7))
        .expect("a response");
    for (byte, mask) in act2.iter_mut().zip(difference) {
        *byte ^= mask;
    }
    let accepted = client.finish(&act2, NOW.into(), 0).is_ok();
    assert_eq!(
        accepted,
        difference == [0; ACT2_LEN],
        "a changed message is accepted"
    );

    // The bytes themselves as the message, without a pinned key: no difference to a stranger.
    let (client, _) = Initiator::new(None, ephemeral(5));
    assert!(client.finish(&padded(data), NOW.into(), 0).is_err());
}

/// `data` is a client's message and what it sends next: answered, but nothing is accepted.
pub(crate) fn responder(data: &[u8]) {
    let act1: [u8; ACT1_LEN] = padded(data);
    let (mut transport, act2) = Responder::new(&static_key(), &certificate())
        .respond(&act1, ephemeral(7))
        .expect("every 64 bytes are a key");
    assert_eq!(act2[..ACT1_LEN], ephemeral(7).encoding());
    let next = data.get(ACT1_LEN..).unwrap_or_default();
    let mut header: [u8; SEALED_HEADER_LEN] = padded(next);
    assert!(
        transport.opener.open_header(&mut header).is_err(),
        "a stranger's frame is accepted"
    );
}
