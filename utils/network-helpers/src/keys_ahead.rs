//! Ephemeral keys made while there is nothing else to do, so that many clients that come at once wait less.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use noise_sv2::EphemeralKey;

use crate::handshake::key_from;

/// Keys kept, about 200 bytes each. When more clients come at once, the keys of the others are made with their handshakes.
pub(crate) const KEYS_AHEAD_MAX: usize = 1024;

/// Time without a handshake after which keys are made again.
const QUIET: Duration = Duration::from_millis(50);

/// A supply of keys, refilled by a thread of its own that ends with it.
pub(crate) struct KeysAhead(Arc<Shared>);

#[derive(Default)]
struct Shared {
    supply: Mutex<Supply>,
    /// The supply is no longer full, or no longer needed.
    changed: Condvar,
}

#[derive(Default)]
struct Supply {
    keys: Vec<EphemeralKey>,
    taken: u64,
    is_over: bool,
}

impl KeysAhead {
    pub(crate) fn new() -> Self {
        let shared = Arc::<Shared>::default();
        let to_fill = shared.clone();
        let named = thread::Builder::new().name("keys".to_owned());
        if let Err(error) = named.spawn(move || to_fill.refill()) {
            tracing::warn!(%error, "no thread for keys: each handshake makes its own; check the limits of this user (ulimit -u)");
        }
        Self(shared)
    }

    /// A key that nobody else gets; made now if there is none left.
    pub(crate) fn take(&self) -> EphemeralKey {
        let mut supply = self.0.supply();
        let was_full = supply.keys.len() >= KEYS_AHEAD_MAX;
        supply.taken += 1;
        let key = supply.keys.pop();
        drop(supply);
        if was_full {
            self.0.changed.notify_one();
        }
        key.unwrap_or_else(|| key_from(EphemeralKey::new))
    }
}

impl Drop for KeysAhead {
    fn drop(&mut self) {
        self.0.supply().is_over = true;
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn supply(&self) -> MutexGuard<'_, Supply> {
        // Nothing in here can panic between two writes that belong together.
        self.supply.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refill(&self) {
        loop {
            let supply = self
                .changed
                .wait_while(self.supply(), |supply| {
                    supply.keys.len() >= KEYS_AHEAD_MAX && !supply.is_over
                })
                .unwrap_or_else(PoisonError::into_inner);
            if supply.is_over {
                return;
            }
            let taken = supply.taken;
            drop(supply);
            // A sleep and not a wait, so that a burst of handshakes does not wake this thread each time.
            thread::sleep(QUIET);
            while self.supply().wants_key(taken) {
                let key = key_from(EphemeralKey::new);
                self.supply().keys.push(key);
            }
        }
    }
}

impl Supply {
    /// Whether there is room, and no handshake since `taken` were.
    fn wants_key(&self, taken: u64) -> bool {
        self.keys.len() < KEYS_AHEAD_MAX && self.taken == taken && !self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_only_for_room_in_silence_and_while_wanted() {
        let mut supply = Supply::default();
        assert!(supply.wants_key(0));
        assert!(!supply.wants_key(1), "a handshake came meanwhile");
        supply.is_over = true;
        assert!(!supply.wants_key(0));
        supply.is_over = false;
        let key = || EphemeralKey::new(&[1; 32], &[2; 32]).unwrap();
        supply.keys.resize_with(KEYS_AHEAD_MAX, key);
        assert!(!supply.wants_key(0));
    }

    #[test]
    fn each_key_is_given_once() {
        // Without a thread, so that the supply is what the test put there.
        let ahead = KeysAhead(Arc::default());
        let made = EphemeralKey::new(&[1; 32], &[2; 32]).unwrap();
        let encoding = made.encoding();
        ahead.0.supply().keys.push(made);
        let [first, second, third] = [(); 3].map(|()| ahead.take().encoding());
        assert_eq!(first, encoding);
        assert!(second != encoding && third != encoding && second != third);
    }
}
