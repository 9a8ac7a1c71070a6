//! Bytes no one would send, by the thousand: what arrives upstream is one well-formed request after the other, or nothing.
//!
//! The seeds and words are those of the fuzz target `wire`, which searches further; this finds again what was found, and
//! needs no instrumented build. `GRAYGATE_CASES` sets how many are tried, `GRAYGATE_SEED` which.

use std::path::Path;
use std::time::Instant;

use graygate_testing::bytes::{Chance, Ingredients};

use graygate_proxy::request::Way;

use crate::harness::strict::World;

const CASES: u64 = 1_500;

/// Requests to begin with, besides the target's.
const SEEDS: [&[u8]; 2] = [
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

#[test]
fn what_arrives_is_what_someone_sent() {
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (cases, seed) = (number("GRAYGATE_CASES", CASES), number("GRAYGATE_SEED", 0x9e37_79b9_7f4a_7c15));
    let worlds = [World::new(Way::Short), World::new(Way::Pipeline)];
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut ingredients = Ingredients::of_target(&fuzz, "wire", &WORDS);
    ingredients.seeds.extend(SEEDS.map(Vec::from));
    for (seed, world) in
        ingredients.seeds.iter().flat_map(|seed| worlds.each_ref().map(|world| (seed, world)))
    {
        world.check(seed);
    }
    let (mut chance, begun) = (Chance::new(seed), Instant::now());
    for world in worlds.iter().cycle().take(usize::try_from(cases).unwrap()) {
        world.check(&ingredients.mixed(&mut chance));
    }
    eprintln!("{cases} cases in {:?}", begun.elapsed());
}
