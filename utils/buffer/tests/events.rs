//! With feature `debug` the pool tells `tracing` of each slot that comes and goes, and nothing of what is in it.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use buffer_sv2::{BufferPool, SlabPool, SlabShape};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps the events of the pool, a line each.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "buffer_sv2"
    }

    fn event(&self, event: &Event<'_>) {
        assert_eq!(*event.metadata().level(), Level::TRACE);
        let mut lines = self.0.lock().unwrap();
        event.record(&mut Fields(&mut lines));
        lines.push('\n');
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn slots_that_come_and_go_are_told() {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        let shape = SlabShape {
            slots: 1,
            slot_len: 64,
        };
        let pool = SlabPool::new(shape).unwrap();
        let slot = pool.take(10);
        let from_system = pool.take(10);
        drop(slot);
        drop(from_system);
    });
    let expected = [
        "what=\"taken\" slot=0 len=64",
        "what=\"taken\" len=4096",
        "what=\"returned\" slot=0 len=64",
        "what=\"returned\" len=4096",
    ];
    let lines = lines.0.lock().unwrap();
    assert!(lines.lines().map(str::trim_end).eq(expected), "{lines}");
}
