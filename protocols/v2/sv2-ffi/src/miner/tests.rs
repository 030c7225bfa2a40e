//! A client in front of a server that is written out.

mod agreement;
mod connection;
mod hostile;
mod memory;
mod vectors;

use std::vec::Vec;

use binary_sv2::{Encodable, Message};
use common_messages_sv2::SetupConnectionSuccess;
use framing_sv2::Header;
use mining_sv2::{
    NewExtendedMiningJob, NewMiningJob, OpenExtendedMiningChannelSuccess,
    OpenStandardMiningChannelSuccess, SetNewPrevHash,
};
use noise_sv2::{
    AuthoritySecretKey, Certificate, EphemeralKey, PortableCipher, Responder, StaticKey, Transport,
};
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::client::OpenTerms;
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::setup::Endpoint;

use crate::miner::client::{Client, Security, Terms};
use crate::miner::error::{End, MinerError};
use crate::miner::rules::Event;

const NBITS: u32 = 0x207f_ffff;
const GROUP: u32 = 1;
const TIMEOUT_SECS: u64 = 5;

/// The moment `secs` seconds after the tests' origin.
fn at(secs: u64) -> Now {
    Now {
        instant: Instant::from_secs(secs),
        unix_secs: 1_700_000_000 + secs,
    }
}

fn authority() -> AuthoritySecretKey {
    AuthoritySecretKey::from_bytes(&[1; 32]).unwrap()
}

fn terms(security: Security) -> Terms<'static> {
    Terms {
        security,
        endpoint: Endpoint {
            vendor: "tests".try_into().unwrap(),
            ..Endpoint::default()
        },
        flags: 0,
        max_payload_len: 8192,
        max_channels: 4,
        answer_timeout: core::time::Duration::from_secs(TIMEOUT_SECS),
    }
}

fn noise() -> Security {
    Security::Noise {
        authority: Some(authority().public_key()),
        key: EphemeralKey::new(&[5; 32], &[6; 32]).unwrap(),
    }
}

/// The server's side of a connection.
#[derive(Default)]
struct Server {
    transport: Option<Transport<PortableCipher>>,
}

impl Server {
    /// The server's part of the handshake, with a certificate for these seconds.
    fn shake_hands(&mut self, act1: &[u8], validity: core::ops::RangeInclusive<u32>) -> Vec<u8> {
        let key = StaticKey::new(&[2; 32], &[3; 32]).unwrap();
        let certificate = Certificate::issue(&authority(), &key, validity, &[4; 32]);
        let responder = Responder::<PortableCipher>::with_cipher(&key, &certificate);
        let ephemeral = EphemeralKey::new(&[7; 32], &[8; 32]).unwrap();
        let (transport, act2) = responder
            .respond(act1.first_chunk().unwrap(), ephemeral)
            .unwrap();
        self.transport = Some(transport);
        act2.to_vec()
    }

    /// A message as it goes over the wire.
    fn frame<T: Message>(&mut self, message: &T) -> Vec<u8> {
        let payload = message.to_vec();
        let header = Header::for_message(&T::KIND, payload.len()).unwrap();
        self.raw(header, &payload)
    }

    fn raw(&mut self, header: Header, payload: &[u8]) -> Vec<u8> {
        let mut frame = header.to_bytes().to_vec();
        let Some(transport) = &mut self.transport else {
            frame.extend_from_slice(payload);
            return frame;
        };
        frame.resize(noise_sv2::SEALED_HEADER_LEN, 0);
        frame.extend_from_slice(payload);
        let len = noise_sv2::SEALED_HEADER_LEN + noise_sv2::sealed_payload_len(payload.len());
        frame.resize(len, 0);
        transport.sealer.seal_frame(&mut frame).unwrap();
        frame
    }
}

/// What is left of an event when its text is copied.
type Told = Event<Vec<u8>>;

fn events(client: &mut Client) -> Vec<Told> {
    let mut events = Vec::new();
    while let Some(event) = client.next_event() {
        events.push(event.map(|text| text.to_vec()));
    }
    events
}

/// Hands all of it over as callers do; gives what was told.
fn receive(client: &mut Client, mut bytes: &[u8], now: Now) -> Vec<Told> {
    let mut told = events(client);
    while !bytes.is_empty() {
        let mut taken = 0;
        let received = client.receive(bytes, now, &mut taken);
        bytes = &bytes[taken..];
        told.extend(events(client));
        match received {
            Ok(()) => assert!(taken > 0),
            Err(error) => {
                assert_eq!(error, MinerError::Ended);
                break;
            }
        }
    }
    told
}

fn sent(client: &mut Client) -> Vec<u8> {
    let bytes = client.outgoing().to_vec();
    client.sent(bytes.len());
    bytes
}

fn setup_success() -> SetupConnectionSuccess {
    SetupConnectionSuccess {
        used_version: 2,
        flags: 0,
    }
}

/// A connection that is ready, and its server.
fn ready(security: Security) -> (Client, Server) {
    let mut server = Server::default();
    let is_noise = matches!(security, Security::Noise { .. });
    let mut client = Client::new(terms(security), at(0)).unwrap();
    let first = sent(&mut client);
    if is_noise {
        let act2 = server.shake_hands(&first, 0..=u32::MAX);
        assert_eq!(receive(&mut client, &act2, at(0)), []);
        assert!(!sent(&mut client).is_empty());
    }
    let told = receive(&mut client, &server.frame(&setup_success()), at(0));
    assert_eq!(told, [Event::Ready { server_flags: 0 }]);
    (client, server)
}

fn open(client: &mut Client, kind: ChannelKind, min_extranonce_size: u16) -> u32 {
    let terms = OpenTerms {
        min_extranonce_size,
        ..OpenTerms::default()
    };
    let user = "alice.rig".try_into().unwrap();
    client.open(kind, user, &terms, at(0)).unwrap()
}

fn standard_success(request_id: u32, channel_id: u32) -> OpenStandardMiningChannelSuccess<'static> {
    OpenStandardMiningChannelSuccess {
        request_id,
        channel_id,
        target: [0xff; 32].into(),
        extranonce_prefix: b"standard".as_slice().try_into().unwrap(),
        group_channel_id: GROUP,
    }
}

fn extended_success(request_id: u32, channel_id: u32) -> OpenExtendedMiningChannelSuccess<'static> {
    OpenExtendedMiningChannelSuccess {
        request_id,
        channel_id,
        target: [0xff; 32].into(),
        extranonce_size: 4,
        extranonce_prefix: b"pool".as_slice().try_into().unwrap(),
        group_channel_id: GROUP,
    }
}

fn standard_job(channel_id: u32, job_id: u32) -> NewMiningJob {
    NewMiningJob {
        channel_id,
        job_id,
        min_ntime: None,
        version: 0x2000_0000,
        merkle_root: [7; 32].into(),
    }
}

fn tip(channel_id: u32, job_id: u32) -> SetNewPrevHash {
    SetNewPrevHash {
        channel_id,
        job_id,
        prev_hash: [9; 32].into(),
        min_ntime: 1_700_000_000,
        nbits: NBITS,
    }
}

/// A job of a coinbase with `suffix_len` bytes behind the extranonce, in a block of 2^`depth` transactions.
fn extended_job(
    channel_id: u32,
    job_id: u32,
    suffix_len: usize,
    depth: usize,
) -> NewExtendedMiningJob<'static> {
    let path: Vec<_> = (0..depth).map(|node| [node as u8; 32].into()).collect();
    NewExtendedMiningJob {
        channel_id,
        job_id,
        min_ntime: None,
        version: 0x2000_0000,
        version_rolling_allowed: true,
        merkle_path: path.try_into().unwrap(),
        coinbase_tx_prefix: std::vec![1; 100].try_into().unwrap(),
        coinbase_tx_suffix: std::vec![2; suffix_len].try_into().unwrap(),
    }
}
