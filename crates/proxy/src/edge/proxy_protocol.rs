//! The PROXY protocol: a balancer in io says whose connection it passes on.
//!
//! Answers: whose connection is this? Strict: on a listener that expects the header nothing else is a connection.

use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxyHeader};

use super::client_io::ClientIo;

/// Longest header with extensions that is waited for.
const LONGEST: usize = 4 << 10;
const CONFIG: ParseConfig = ParseConfig { include_tlvs: false, allow_v1: true, allow_v2: true };

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Partial,
    /// Bytes of the header, and the client it announces; `None`: the balancer speaks for itself (its health checks).
    Header(usize, Option<SocketAddr>),
    Broken,
}

/// Takes the header off a connection and believes it. False: there is none, or a broken one.
pub async fn accept(io: &mut ClientIo) -> bool {
    loop {
        match find(io.ahead()) {
            Found::Header(length, client) => {
                io.skip(length);
                if let Some(client) = client {
                    io.announce(client);
                }
                return true;
            }
            Found::Broken => return false,
            Found::Partial if io.ahead().len() > LONGEST => return false,
            Found::Partial => {}
        }
        if !io.read_ahead().await.is_ok_and(|count| count > 0) {
            return false;
        }
    }
}

fn find(bytes: &[u8]) -> Found {
    // The parser says what it thinks of a first line only when enough of it is there.
    const STARTS: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];
    let begins = |start: &&[u8]| bytes.iter().zip(start.iter()).all(|(a, b)| a == b);
    let first = |wanted| bytes.iter().position(|b| *b == wanted).unwrap_or(usize::MAX);
    let is_bare = bytes.starts_with(b"P") && first(b'\n') < first(b'\r');
    if is_bare || !STARTS.iter().any(begins) {
        return Found::Broken;
    }
    match ProxyHeader::parse(bytes, CONFIG) {
        Ok((header, length)) => {
            let client = header.proxied_address().map(|address| address.source);
            Found::Header(length, client)
        }
        Err(Error::BufferTooShort) => Found::Partial,
        Err(_) => Found::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_whole_and_nothing_else_is_one() {
        let v1 = |text: &str| find(text.as_bytes());
        let client: SocketAddr = "203.0.113.7:4711".parse().unwrap();
        assert_eq!(v1("PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\nGET"), Found::Header(41, Some(client)));
        let client = "[2001:db8::7]:4711".parse().unwrap();
        assert_eq!(v1("PROXY TCP6 2001:db8::7 ::1 4711 80\r\n"), Found::Header(36, Some(client)));
        assert_eq!(v1("PROXY UNKNOWN\r\n"), Found::Header(15, None));
        for partial in ["", "P", "PROXY TCP4 203.0.113.7 10.0", "PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r"] {
            assert_eq!(v1(partial), Found::Partial, "{partial:?}");
        }
        for broken in [
            "GET / HTTP/1.1\r\n",
            "PROXYxTCP4 203.0.113.7 10.0.0.1 4711 80\r\n",
            "PROXY TCP4 203.0.113.700 10.0.0.1 4711 80\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\n\n\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 99999 80\r\n",
            "PROXY UDP4 203.0.113.7 10.0.0.1 4711 80\r\n",
            "\x16\x03\x01",
        ] {
            assert_eq!(v1(broken), Found::Broken, "{broken:?}");
        }
        let long = format!("PROXY TCP4 {}", "1".repeat(200));
        assert_eq!(v1(&long), Found::Broken);
    }

    #[test]
    fn the_binary_form_is_read() {
        let start = b"\r\n\r\n\0\r\nQUIT\n";
        let addresses = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x67, 0, 80];
        let header = [&start[..], &[0x21, 0x11, 0, 12], &addresses].concat();
        let client = "203.0.113.7:4711".parse().unwrap();
        assert_eq!(find(&header), Found::Header(28, Some(client)));
        for end in 1..header.len() {
            assert_eq!(find(&header[..end]), Found::Partial, "{end}");
        }
        assert_eq!(find(&[&start[..], &[0x20, 0, 0, 0]].concat()), Found::Header(16, None));
        assert_eq!(find(&[&start[..], &[0x31, 0x11, 0, 12], &addresses].concat()), Found::Broken);
    }
}
