//! How much memory a connection takes, and what it does without.

use super::*;
use crate::memory::tests::{peak_of, with_memory_for};
use crate::miner::job::Roll;

/// What one connection with one open channel may hold, in bytes.
const HEAP_LIMIT: usize = 16 * 1024;

/// Everything the server sends in a life of one extended channel: the longest jobs that pools with many payouts send, a block of
/// 4 096 transactions, two future jobs at a time.
fn life(server: &mut Server, request_id: u32) -> Vec<u8> {
    let mut bytes = server.frame(&extended_success(request_id, 2));
    for block in 0..3 {
        for job in 1..=2 {
            bytes.extend(server.frame(&extended_job(2, 10 * block + job, 1800, 12)));
        }
        bytes.extend(server.frame(&tip(2, 10 * block + 1)));
        let mut refreshed = extended_job(2, 10 * block + 3, 2000, 12);
        refreshed.min_ntime = Some(0);
        bytes.extend(server.frame(&refreshed));
    }
    bytes
}

fn share(client: &mut Client, now: Now) -> Result<u32, MinerError> {
    let work = client.work(2, now)?;
    let roll = Roll {
        version: work.version,
        ntime: work.min_ntime,
        nonce: 1,
        extranonce: &[0; 4],
    };
    client.header(&work, &roll)?;
    client.submit(&work, &roll, now)
}

#[test]
fn a_connection_with_a_channel_fits_16_kib() {
    let mut server = Server::default();
    let act2 = {
        let mut client = Client::new(terms(noise()), at(0)).unwrap();
        server.shake_hands(&sent(&mut client), 0..=u32::MAX)
    };
    let setup = server.frame(&setup_success());
    let bytes = life(&mut server, 1);
    let (mut shares, mut idle) = (0, 0);
    let peak = peak_of(|held| {
        let mut client = crate::memory::boxed(Client::new(terms(noise()), at(0)).unwrap()).unwrap();
        let feed = |client: &mut Client, mut bytes: &[u8]| {
            while !bytes.is_empty() {
                let mut taken = 0;
                client.receive(bytes, at(0), &mut taken).unwrap();
                bytes = &bytes[taken..];
                while client.next_event().is_some() {}
                client.sent(usize::MAX);
            }
        };
        feed(&mut client, &act2);
        feed(&mut client, &setup);
        open(&mut client, ChannelKind::Extended, 4);
        client.sent(usize::MAX);
        feed(&mut client, &bytes);
        for _ in 0..20 {
            shares = share(&mut client, at(0)).unwrap();
        }
        client.sent(usize::MAX);
        idle = held();
    });
    assert_eq!(shares, 20);
    std::println!("peak {peak} bytes, {idle} when nothing is under way");
    assert!(peak <= HEAP_LIMIT, "{peak}");
    assert!(idle <= 8 * 1024, "{idle}");
}

/// Makes a call, and once again where memory was refused.
type Insist<'a> = dyn FnMut(&mut dyn FnMut() -> Result<(), MinerError>) + 'a;

/// Does all of it, each call first with memory for `allocations` allocations and then, if it was refused more, once again; gives how
/// often that was.
fn live_with(allocations: usize) -> usize {
    let mut refusals = 0;
    let mut insist = |call: &mut dyn FnMut() -> Result<(), MinerError>| {
        if let Err(error) = with_memory_for(allocations, &mut *call) {
            assert_eq!(error, MinerError::NoMemory);
            refusals += 1;
            call().unwrap();
        }
    };
    let mut server = Server::default();
    let mut client = None;
    insist(&mut || {
        client = Some(Client::new(terms(noise()), at(0))?);
        Ok(())
    });
    let mut client = client.unwrap();
    let act2 = server.shake_hands(&sent(&mut client), 0..=u32::MAX);
    let mut told = Vec::new();
    let mut feed = |client: &mut Client, bytes: &[u8], insist: &mut Insist<'_>| {
        let mut rest = bytes;
        loop {
            insist(&mut || {
                let mut taken = 0;
                let received = client.receive(rest, at(0), &mut taken);
                rest = &rest[taken..];
                received
            });
            told.extend(events(client));
            if rest.is_empty() {
                break;
            }
        }
    };
    feed(&mut client, &act2, &mut insist);
    sent(&mut client);
    feed(&mut client, &server.frame(&setup_success()), &mut insist);
    let mut request_id = 0;
    insist(&mut || {
        let user = "alice".try_into().unwrap();
        let terms = OpenTerms::default();
        request_id = client.open(ChannelKind::Extended, user, &terms, at(0))?;
        Ok(())
    });
    sent(&mut client);
    feed(&mut client, &life(&mut server, request_id), &mut insist);
    let mut number = 0;
    insist(&mut || {
        number = share(&mut client, at(0))?;
        Ok(())
    });
    assert_eq!((request_id, number), (1, 1));
    assert!(told.contains(&Event::Work { channel_id: 2 }));
    assert!(
        !told
            .iter()
            .any(|event| matches!(event, Event::Ended { .. } | Event::Refused { .. }))
    );
    assert_eq!(client.work(2, at(0)).unwrap().job_id, 23);
    refusals
}

#[test]
fn the_want_of_each_allocation_is_survived() {
    let refusals: Vec<_> = (0..8).map(live_with).collect();
    std::println!("{refusals:?}");
    assert!(refusals[0] > 5 && refusals[5] > 0);
    assert_eq!(
        refusals[7], 0,
        "calls need fewer: each of their allocations was refused once"
    );
}
