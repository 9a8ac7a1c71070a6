//! Requests at given times against limits: tables of cases, `governor` beside, and many keys.

use std::time::{Duration, Instant};

use governor::clock::{Clock as _, FakeRelativeClock};
use governor::{Quota, RateLimiter};
use proptest::prelude::*;

use super::gcra::Gcra;
use super::table::Table;
use super::*;
use graygate_rules::vocab::{Attribute, DocumentId, Limit, Rate};

fn limit(rate: &str, burst: u32, by: Option<&str>) -> Limit {
    let by = by.map(|by| [Attribute::parse(by).unwrap()].into());
    Limit { rate: Rate::parse(rate).unwrap(), burst, by }
}

fn document(name: &str) -> DocumentId {
    DocumentId::parse(name).unwrap()
}

#[test]
fn a_burst_passes_and_then_the_rate() {
    let epoch = Instant::now();
    let limiter = Limits::new(epoch).limiter(&document("routes/r"), &limit("10/s", 3, None));
    for (millis, wait) in [
        (0, None),
        (0, None),
        (0, None),
        (0, Some(100)),
        (99, Some(1)),
        (100, None),
        (100, Some(100)),
        // What was refused costs nothing.
        (200, None),
        (10_000, None),
        (10_000, None),
        (10_000, None),
        (10_000, Some(100)),
    ] {
        let found = limiter.pass(None, epoch + Duration::from_millis(millis));
        assert_eq!(found.err().map(|refusal| refusal.wait.as_millis()), wait, "{millis}");
    }
}

#[test]
fn keys_have_limits_of_their_own_and_none_has_no_limit() {
    let epoch = Instant::now();
    let limits = Limits::new(epoch);
    let limiter = limits.limiter(&document("services/s"), &limit("1/m", 1, Some("header:x-user")));
    let other = limits.limiter(&document("routes/s"), &limit("1/m", 1, Some("header:x-user")));
    let passes = |limiter: &Limiter, key: Option<&[u8]>| limiter.pass(key, epoch).is_ok();
    assert!(passes(&limiter, Some(b"li")));
    assert!(!passes(&limiter, Some(b"li")));
    assert!(passes(&limiter, Some(b"wang")));
    assert!(passes(&other, Some(b"li")), "another document's limit");
    assert!((0..100).all(|_| passes(&limiter, None)));
    assert_eq!(limits.keys(epoch), 3);
    assert_eq!(limits.keys(epoch + Duration::from_secs(61)), 0);
}

#[test]
fn a_change_of_documents_gives_no_client_more() {
    let epoch = Instant::now();
    let limits = Limits::new(epoch);
    for by in [None, Some("ip")] {
        let id = document("services/s");
        let key = by.map(|_| &b"10.0.0.1"[..]);
        let before = limits.limiter(&id, &limit("1/m", 2, by));
        assert!(before.pass(key, epoch).is_ok() && before.pass(key, epoch).is_ok());
        let after = limits.limiter(&id, &limit("2/m", 2, by));
        assert!(after.pass(key, epoch).is_err());
        assert!(after.pass(key, epoch + Duration::from_secs(90)).is_ok());
        drop((before, after));
        limits.sweep();
    }
    assert!(limits.limiter(&document("services/s"), &limit("1/m", 1, None)).pass(None, epoch).is_ok());
}

#[test]
fn the_wait_is_told_in_whole_seconds() {
    for (millis, seconds) in [(1, 1), (999, 1), (1000, 1), (1001, 2), (59_000, 59)] {
        assert_eq!(Refusal { wait: Duration::from_millis(millis) }.seconds(), seconds);
    }
}

proptest! {
    /// The same requests pass as with the library that people know.
    #[test]
    fn it_decides_as_governor_does(
        count in 1_u32..2000,
        burst in 1_u32..50,
        pauses in prop::collection::vec(0_u64..50_000_000, 1..200),
    ) {
        let clock = FakeRelativeClock::default();
        let count = std::num::NonZeroU32::new(count).unwrap();
        let quota = Quota::per_second(count).allow_burst(burst.try_into().unwrap());
        let governor = RateLimiter::direct_with_clock(quota, clock.clone());
        let gcra = Gcra::new(Duration::from_secs(1) / count.get(), burst);
        let (mut due, mut now) = (0, 1);
        for pause in pauses {
            clock.advance(Duration::from_nanos(pause));
            now += pause;
            let expected = governor.check().map_err(|refusal| refusal.wait_time_from(clock.now()));
            let found = gcra.pass(due, now);
            due = found.unwrap_or(due);
            prop_assert_eq!(found.map(drop), expected.map(drop));
        }
    }
}

/// Mixes a number into a hash.
fn key(number: u64) -> u64 {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

fn remember(table: &Table, number: u64, now: u64, due: u64) -> u64 {
    let mut known = 0;
    let _ = table.update(key(number), now, |before| {
        known = before;
        Ok::<_, ()>(due)
    });
    known
}

fn known(table: &Table, numbers: std::ops::Range<u64>) -> f64 {
    let total = numbers.end - numbers.start;
    let known = numbers.filter(|number| {
        let mut found = false;
        let _ = table.update(key(*number), 1, |due| {
            found = due > 0;
            Err(())
        });
        found
    });
    known.count() as f64 / total as f64
}

#[test]
fn as_many_keys_as_there_is_room_for_are_remembered() {
    let (table, keys) = Table::small();
    let count = keys as u64 * 3 / 4;
    for number in 0..count {
        assert_eq!(remember(&table, number, 1, 1_000_000 + number), 0, "{number}");
    }
    // A group of slots may be full while others have room.
    assert!(known(&table, 0..count) > 0.9, "{}", known(&table, 0..count));
}

#[test]
fn the_oldest_go_first_and_memory_is_bounded() {
    let (table, keys) = Table::small();
    let count = keys as u64 * 10;
    for number in 0..count {
        remember(&table, number, 1, 1_000_000 + number);
    }
    assert!(table.room() <= keys, "{}", table.room());
    assert!(table.keys(1) <= keys);
    let kept = keys as u64;
    assert!(known(&table, count - kept / 2..count) > 0.99);
    assert!(known(&table, 0..count - 2 * kept) < 0.01);
    assert_eq!(Table::default().room(), 0, "a process without limits has no memory for keys");
    const { assert!(KEYS_LIMIT > 990_000 && KEYS_LIMIT <= 1_000_000) };
}

#[test]
fn keys_that_are_due_leave_room_without_more_memory() {
    let table = Table::default();
    for number in 0..200_000 {
        // Each is due a thousand requests later.
        remember(&table, number, number + 1, number + 1000);
    }
    assert!(table.room() < 64 * 1024, "{}", table.room());
}
