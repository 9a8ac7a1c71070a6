//! Any bytes as a response of an upstream, the first of them saying whether `HEAD` was asked: a second reader, written
//! line by line from RFC 9112, finds the same head, framing and end, in whatever pieces the bytes come.

use graygate_proxy::edge::ChunkScanner;
use graygate_proxy::request::{Asked, Framing, find_response};

/// Below this no limit on size lines and trailers is met.
const SHORT: usize = 4_000;

pub fn check(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else { return };
    let asked = if first % 2 == 0 { Asked::Other } else { Asked::Head };
    check_chunks(bytes);
    let Ok(Some(found)) = find_response(bytes, asked) else { return };
    let seen = Seen::of(bytes, asked == Asked::Head);
    let framing = match found.framing {
        Framing::Empty => End::Head,
        Framing::Bytes(count) => End::Bytes(count),
        Framing::Chunked(_) => End::Chunks,
        Framing::Close => End::Close,
    };
    let found_here = Seen { length: found.length, status: found.status, end: framing, keeps: found.keeps };
    assert_eq!(Some(found_here), seen);
    for end in (0..found.length).step_by(1 + found.length / 64) {
        assert!(matches!(find_response(&bytes[..end], asked), Ok(None)), "{end} bytes are a head");
    }
    // What it is made of may still be refused, but not by a panic.
    let _ = found.header(bytes);
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Head,
    Bytes(u64),
    Chunks,
    Close,
}

/// What the second reader sees.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    length: usize,
    status: u16,
    end: End,
    keeps: bool,
}

impl Seen {
    fn of(bytes: &[u8], is_head: bool) -> Option<Seen> {
        let mut rest = bytes;
        let mut start = &b""[..];
        while start.is_empty() {
            start = line(&mut rest)?;
        }
        let is_new = start.starts_with(b"HTTP/1.1 ");
        if !is_new && !start.starts_with(b"HTTP/1.0 ") {
            return None;
        }
        let status: u16 = std::str::from_utf8(start.get(9..12)?).ok()?.parse().ok()?;
        let mut fields = Vec::<(Vec<u8>, Vec<u8>)>::new();
        loop {
            match line(&mut rest)? {
                [] => break,
                folded @ [b' ' | b'\t', ..] => fields.last_mut()?.1.extend(folded),
                field => {
                    let colon = field.iter().position(|byte| *byte == b':')?;
                    let name = field[..colon].trim_ascii().to_ascii_lowercase();
                    fields.push((name, field[colon + 1..].to_vec()));
                }
            }
        }
        let words = |name: &str| {
            let values = fields.iter().filter(|(own, _)| own == name.as_bytes()).map(|(_, value)| value);
            let words = values.flat_map(|value| value.split(|byte| *byte == b','));
            words.map(|word| word.trim_ascii().to_ascii_lowercase()).collect::<Vec<_>>()
        };
        let codings = words("transfer-encoding");
        let is_coded = fields.iter().any(|(name, _)| name == b"transfer-encoding");
        let lengths = words("content-length");
        let end = match status {
            100..200 | 204 | 304 => End::Head,
            _ if is_head => End::Head,
            _ if is_coded => match codings.iter().rfind(|coding| !coding.is_empty()) {
                Some(last) if last == b"chunked" => End::Chunks,
                _ => End::Close,
            },
            _ => match lengths.first() {
                Some(length) if lengths.iter().all(|other| count(other) == count(length)) => {
                    End::Bytes(count(length)?)
                }
                Some(_) => return None,
                None => End::Close,
            },
        };
        let options = words("connection");
        let says = |option: &str| options.iter().any(|own| own == option.as_bytes());
        let keeps = end != End::Close && !says("close") && (is_new || (says("keep-alive") && !is_coded));
        Some(Seen { length: bytes.len() - rest.len(), status, end, keeps })
    }
}

fn count(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

/// The next line, whose end may lack its carriage return.
fn line<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let line = &rest[..end];
    *rest = &rest[end + 1..];
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

fn check_chunks(bytes: &[u8]) {
    for size in [1, 2, 7, bytes.len().max(1)] {
        let mut scanner = ChunkScanner::default();
        let mut found = None;
        for (number, piece) in bytes.chunks(size).enumerate() {
            match scanner.scan(piece) {
                Ok(None) => {}
                Ok(Some(end)) => {
                    found = Some((number * size + end, scanner.content()));
                    break;
                }
                Err(_) => break,
            }
        }
        if found.is_some() || bytes.len() < SHORT {
            assert_eq!(found, chunks(bytes), "in pieces of {size}");
        }
    }
}

/// Where a chunked body ends, and how much it carries (RFC 9112, 7.1).
fn chunks(bytes: &[u8]) -> Option<(usize, u64)> {
    let (mut rest, mut content) = (bytes, 0);
    loop {
        let line = strict_line(&mut rest)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let behind = line[digits..].trim_ascii_start();
        if digits == 0 || digits > 15 || !(behind.is_empty() || behind[0] == b';') {
            return None;
        }
        let size = u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        content += size;
        rest = rest.get(usize::try_from(size).ok()?..)?.strip_prefix(b"\r\n")?;
    }
    loop {
        let line = strict_line(&mut rest)?;
        if line.is_empty() {
            return Some((bytes.len() - rest.len(), content));
        }
        let name = &line[..line.iter().position(|byte| *byte == b':')?];
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        if name.is_empty() || !name.iter().all(is_token) {
            return None;
        }
    }
}

/// The next line, of nothing but text.
fn strict_line<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let line = &rest[..end];
    *rest = &rest[end + 2..];
    line.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)).then_some(line)
}
