//! The cost of a sealed frame and of a handshake.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use noise_sv2::{
    AeadCipher, AuthoritySecretKey, Certificate, CipherState, DefaultCipher, EphemeralKey,
    Initiator, Opener, PortableCipher, Responder, SEALED_HEADER_LEN, Sealer, StaticKey, TAG_LEN,
    sealed_payload_len,
};

const KEY: [u8; 32] = [7; 32];

fn message<C: AeadCipher>(c: &mut Criterion, name: &str, len: usize) {
    let mut sealer = CipherState::<C>::new(&KEY);
    let mut opener = CipherState::<C>::new(&KEY);
    let mut buffer = vec![0; len + TAG_LEN];
    c.bench_function(
        &format!("message {len} bytes, seal and open, {name}"),
        |b| {
            b.iter(|| {
                sealer.seal(&[], black_box(&mut buffer)).unwrap();
                opener.open(&[], black_box(&mut buffer)).unwrap();
            });
        },
    );
}

fn frame(c: &mut Criterion, len: usize) {
    let mut sealer = Sealer::<DefaultCipher>::new(CipherState::new(&KEY));
    let mut opener = Opener::<DefaultCipher>::new(CipherState::new(&KEY));
    let mut buffer = vec![0; SEALED_HEADER_LEN + sealed_payload_len(len)];
    c.bench_function(&format!("frame {len} bytes, seal and open"), |b| {
        b.iter(|| {
            sealer.seal_frame(black_box(&mut buffer)).unwrap();
            let (header, payload) = buffer.split_first_chunk_mut().unwrap();
            opener.open_header(header).unwrap();
            opener.open_payload(payload).unwrap();
        });
    });
}

fn ciphers(c: &mut Criterion) {
    message::<DefaultCipher>(c, "default", 50);
    message::<PortableCipher>(c, "portable", 50);
    message::<DefaultCipher>(c, "default", 60_000);
    frame(c, 50);
    frame(c, 60_000);
}

fn handshakes(c: &mut Criterion) {
    let authority = AuthoritySecretKey::from_bytes(&[1; 32]).unwrap();
    let server = StaticKey::new(&[2; 32], &[3; 32]).unwrap();
    let certificate = Certificate::issue(&authority, &server, 0..=100, &[4; 32]);
    let ephemeral = || EphemeralKey::new(&[5; 32], &[6; 32]).unwrap();
    let initiator = || Initiator::new(Some(authority.public_key()), ephemeral());
    let (_, act1) = initiator();

    c.bench_function("handshake, key made ahead", |b| b.iter(ephemeral));
    c.bench_function("handshake, responder", |b| {
        b.iter_batched(
            ephemeral,
            |key| {
                Responder::new(&server, &certificate)
                    .respond(&act1, key)
                    .unwrap()
                    .1
            },
            BatchSize::SmallInput,
        );
    });
    let (_, act2) = Responder::new(&server, &certificate)
        .respond(&act1, ephemeral())
        .unwrap();
    c.bench_function("handshake, initiator", |b| {
        b.iter_batched(
            || initiator().0,
            |waiting| waiting.finish(&act2, 50, 0).unwrap(),
            BatchSize::SmallInput,
        );
    });
    c.bench_function("handshake, certificate issued", |b| {
        b.iter(|| Certificate::issue(&authority, &server, 0..=100, &[4; 32]));
    });
}

criterion_group!(benches, ciphers, handshakes);
criterion_main!(benches);
