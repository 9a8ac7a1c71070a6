//! Random requests from the alphabets of the documents: the same seed gives the same requests.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Ask;
use super::cases::{FOLDED, NUMBERS, TEXTS};
use super::dice::Dice;

const SEGMENTS: [&str; 30] = [
    "a",
    "a",
    "a",
    "b",
    "b",
    "ab",
    "A",
    "%61",
    "用户",
    "%E7%94%A8%E6%88%B7",
    "a b",
    "a%20b",
    "a%2Fb",
    "a%2fb",
    "a%5cb",
    "a\\b",
    "a",
    "b",
    "a",
    "b",
    "%25",
    "%252F",
    "%25%32f",
    "x;y=1",
    "",
    ".",
    "..",
    "%2e",
    ".%2E",
    "a%3Fb%23",
];
const BAD_SEGMENTS: [&str; 8] = ["%", "%4", "%zz", "%00", "a\u{1}", "%ff", "a#b", "%7F"];

/// One request.
pub fn ask(dice: &mut Dice) -> Ask {
    let inherited = dice.chance(8).then(|| dice.pick(&["gray", "release", "v2", "unknown"]).to_string());
    let word = dice.chance(14).then(|| {
        let version = dice.pick(&["gray", "release", "v2", "unknown"]);
        let services = dice.pick(&["*", "*", "s1", "s2,s1", "other"]);
        format!("1 {version} {services} 99 a tester")
    });
    let bad = dice.chance(30);
    Ask {
        method: dice.pick(&["GET", "GET", "POST", "get"]).into(),
        scheme: dice.pick(&["http", "https"]),
        host: dice
            .pick(&[
                "a.test",
                "A.Test:8080",
                "a.test.",
                "b.a.test",
                "c.b.a.test:80",
                "test",
                "x.test",
                "[::1]:443",
                "[0:0::1]",
                "",
                "other",
                "a.test:443",
                "a.test",
                "b.a.test",
                "c.b.a.test",
                "b.a.test:9",
                "a.test",
                if bad { "a b" } else { "a.test:" },
                if bad { "a.test:x" } else { "[::1]" },
            ])
            .into(),
        path: path(dice),
        query: dice.chance(60).then(|| query(dice)),
        headers: headers(dice),
        client: dice.pick(&["10.0.0.1", "10.1.9.9", "192.168.0.1", "2001:db8::1", "::1"]).parse().unwrap(),
        located: dice.chance(80),
        trusted: dice.chance(50),
        inherited,
        word,
        now: i128::from(dice.below(4) as u32) * 1_000_000_000 - i128::from(dice.below(2) as u32),
        fresh: dice.chance(70).then(|| dice.pick(&["fresh-1", "fresh-2", "fresh-3"]).to_string()),
    }
}

fn path(dice: &mut Dice) -> Vec<u8> {
    let mut path = String::new();
    for _ in 0..1 + dice.below(4) {
        path.push('/');
        path.push_str(match dice.chance(1) {
            true => dice.pick(&BAD_SEGMENTS),
            false => dice.pick(&SEGMENTS),
        });
    }
    let mut bytes = path.into_bytes();
    match dice.below(200) {
        0 => bytes.extend(b"\xff"),
        1 => bytes = b"a".to_vec(),
        2 => bytes = b"/%E7\x94%A8".to_vec(),
        _ => {}
    }
    bytes
}

fn query(dice: &mut Dice) -> String {
    let mut pairs = Vec::new();
    for _ in 0..dice.below(4) {
        let name = dice.pick(&["q", "%71", "a+b", "a%20b", "x", ""]);
        let value = match dice.below(3) {
            0 => dice.pick(&NUMBERS).to_string(),
            1 => percent_encoding::utf8_percent_encode(dice.pick(&TEXTS), percent_encoding::NON_ALPHANUMERIC)
                .to_string(),
            _ => dice.pick(&["a", "%zz", "%", "a+b", "%C3", "", "user1"]).to_string(),
        };
        pairs.push(match dice.chance(80) {
            true => format!("{name}={value}"),
            false => name.to_string(),
        });
    }
    pairs.join("&")
}

fn headers(dice: &mut Dice) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in ["x-a", "x-a", "x-b", "x-dev"] {
        if dice.chance(40) {
            headers.append(HeaderName::from_static(name), header_value(dice));
        }
    }
    if dice.chance(50) {
        let version =
            dice.pick(&["7", "v7.1", "7.1.0-rc.1", "8.0.0", "7.0.1+b", "07", "1.2.3.4", "V7", "6.9"]);
        headers.append("x-v", HeaderValue::from_static(version));
    }
    if dice.chance(60) {
        headers.append("x-f", HeaderValue::from_bytes(dice.pick(&FOLDED).as_bytes()).unwrap());
    }
    if dice.chance(60) {
        headers.append("x-n", HeaderValue::from_static(dice.pick(&NUMBERS)));
    }
    for _ in 0..2 {
        if dice.chance(30) {
            let pairs: Vec<String> = (0..1 + dice.below(3))
                .map(|_| {
                    let name = dice.pick(&["uid", "gg", "other", "UID"]);
                    format!("{name}={}", dice.pick(&["user1", "", "\"a\"", "a", "7", "x=y"]))
                })
                .collect();
            headers.append("cookie", HeaderValue::from_str(&pairs.join("; ")).unwrap());
        }
    }
    headers
}

fn header_value(dice: &mut Dice) -> HeaderValue {
    let bytes: &[u8] = match dice.below(12) {
        0 => b"\xffa",
        1 => b"a\xc3",
        2 | 3 => dice.pick(&NUMBERS).as_bytes(),
        _ => dice.pick(&TEXTS).as_bytes(),
    };
    HeaderValue::from_bytes(bytes).unwrap()
}
