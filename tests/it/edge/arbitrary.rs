//! Bytes nobody would send, by the thousand: what arrives upstream is one well-formed request after the other, or nothing.
//!
//! The seeds and words are those of the fuzz target `wire`, which searches further; this finds again what was found, and
//! needs no instrumented build. `GRAYGATE_CASES` sets how many are tried, `GRAYGATE_SEED` which.

use std::time::Instant;

use crate::harness::strict::World;

const CASES: u64 = 1_500;

/// Requests to begin with.
const SEEDS: [&[u8]; 11] = [
    include_bytes!("../../../fuzz/seeds/wire/get"),
    include_bytes!("../../../fuzz/seeds/wire/two"),
    include_bytes!("../../../fuzz/seeds/wire/chunks"),
    include_bytes!("../../../fuzz/seeds/wire/old"),
    include_bytes!("../../../fuzz/seeds/wire/url"),
    include_bytes!("../../../fuzz/seeds/wire/upgrade"),
    include_bytes!("../../../fuzz/seeds/wire/expect"),
    include_bytes!("../../../fuzz/seeds/wire/both"),
    include_bytes!("../../../fuzz/seeds/wire/feed"),
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// What is put between.
const WORDS: [&[u8]; 30] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\n\n",
    b" ",
    b"\t",
    b"\0",
    b"\xff",
    b":",
    b";",
    b"0",
    b"0\r\n\r\n",
    b"2\r\nab\r\n",
    b"2;x\r\nab\r\n",
    b"Content-Length: 2\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: +2\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Host: b\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Connection: content-length, transfer-encoding\r\n",
    b"Connection: keep-alive\r\n",
    b"Upgrade: websocket\r\n",
    b"http://b/",
    b"HTTP/1.0",
    b"?<\">`",
    b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// Enough chance for a test, and the same every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

fn bytes(chance: &mut Chance) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..1 + chance.below(3)).flat_map(|_| SEEDS[chance.below(SEEDS.len())].to_vec()).collect();
    for _ in 0..chance.below(6) {
        let at = chance.below(bytes.len() + 1);
        let end = (at + chance.below(12)).min(bytes.len());
        match chance.below(6) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, WORDS[chance.below(WORDS.len())].to_vec())),
            2 => drop(bytes.splice(at..end, WORDS[chance.below(WORDS.len())].to_vec())),
            3 => bytes.extend_from_within(at..end),
            4 if at < bytes.len() => bytes[at] = chance.below(256) as u8,
            4 => {}
            _ => bytes.truncate(at.max(8)),
        }
    }
    bytes
}

#[test]
fn what_arrives_is_what_somebody_sent() {
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (cases, seed) = (number("GRAYGATE_CASES", CASES), number("GRAYGATE_SEED", 0x9e37_79b9_7f4a_7c15));
    let world = World::new();
    for seed in SEEDS {
        world.check(seed);
    }
    let (mut chance, begun) = (Chance(seed.max(1)), Instant::now());
    for _ in 0..cases {
        world.check(&bytes(&mut chance));
    }
    eprintln!("{cases} cases in {:?}", begun.elapsed());
}
