//! Every order in which threads can meet at a `SlabPool`, and everything that the memory model lets them see.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p stratum-buffer-sv2 --test loom`: loom then takes the place of the atomics,
//! notices accesses to a slot that are not ordered, and a slab that is not freed.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use buffer_sv2::{BufferPool, SlabPool, SlabShape, SlabStorage};
use loom::thread;

fn pool(slots: usize) -> SlabPool {
    SlabPool::new(SlabShape {
        slots,
        slot_len: 64,
    })
    .unwrap()
}

/// Writes to memory and sees nothing else in it.
fn use_it(storage: &mut SlabStorage, mark: u8) {
    storage[0] = mark;
    assert_eq!(storage[0], mark);
}

#[test]
fn one_slot_is_never_two_threads() {
    loom::model(|| {
        let pool = pool(1);
        let other = pool.clone();
        let thread = thread::spawn(move || use_it(&mut other.take(1), 1));
        use_it(&mut pool.take(1), 2);
        thread.join().unwrap();
        let usage = pool.usage();
        assert_eq!((usage.in_use, usage.peak), (0, 1));
        assert!(usage.full <= 1 && usage.too_long == 0);
    });
}

#[test]
fn slots_enough_are_always_found() {
    // Two words of the bitmap, and threads that start at the same one.
    loom::model(|| {
        let pool = pool(3);
        let in_first_word = pool.take(1);
        let threads = [1, 2].map(|mark| {
            let pool = pool.clone();
            thread::spawn(move || {
                let mut storage = pool.take(1);
                use_it(&mut storage, mark);
                storage
            })
        });
        let taken = threads.map(|thread| thread.join().unwrap());
        assert!(in_first_word.is_pooled());
        for (storage, mark) in taken.iter().zip([1, 2]) {
            assert!(storage.is_pooled());
            assert_eq!(storage[0], mark);
        }
        assert_eq!((pool.usage().in_use, pool.usage().full), (3, 0));
    });
}

#[test]
fn what_is_taken_here_is_returned_there() {
    loom::model(|| {
        let pool = pool(1);
        let mut storage = pool.take(1);
        storage[0] = 1;
        let thread = thread::spawn(move || {
            assert_eq!(storage[0], 1);
            use_it(&mut storage, 2);
        });
        // The returned slot, or one of the system: not the one in use.
        use_it(&mut pool.take(1), 3);
        thread.join().unwrap();
        assert!(pool.take(1).is_pooled());
    });
}

#[test]
fn two_slots_return_out_of_order() {
    loom::model(|| {
        let pool = pool(2);
        let (mut first, mut second) = (pool.take(1), pool.take(1));
        let thread = thread::spawn(move || use_it(&mut second, 2));
        use_it(&mut first, 1);
        drop(first);
        let mut again = pool.take(1);
        assert!(again.is_pooled());
        use_it(&mut again, 3);
        thread.join().unwrap();
        assert_eq!(pool.usage().in_use, 1);
    });
}

#[test]
fn the_last_owner_frees_whoever_it_is() {
    loom::model(|| {
        let pool = pool(2);
        let mut storage = pool.take(1);
        let other = pool.clone();
        let threads = [
            thread::spawn(move || use_it(&mut storage, 1)),
            thread::spawn(move || drop(other)),
        ];
        drop(pool);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn the_last_owner_sees_all_that_others_did() {
    loom::model(|| {
        let pool = pool(2);
        let threads = [1, 2].map(|mark| {
            let mut storage = pool.take(1);
            thread::spawn(move || use_it(&mut storage, mark))
        });
        drop(pool);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
