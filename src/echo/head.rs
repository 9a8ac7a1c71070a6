//! A request's head, as it came.
//!
//! Owns: the request line, the headers, and how the body's end is found. Never lenient: what can be read in two ways is
//! an error.

use std::borrow::Cow;
use std::io::{self, ErrorKind};

/// A request line and headers as they came; what is not UTF-8 is replaced only to be shown.
pub struct Head<'a> {
    pub method: Cow<'a, str>,
    pub target: Cow<'a, str>,
    /// HTTP/1.0 closes by default.
    persistent: bool,
    pub headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// How a body's end is found.
#[derive(PartialEq, Eq, Debug)]
pub enum Framing {
    Length(u64),
    Chunked,
}

impl<'a> Head<'a> {
    pub fn parse(head: &'a [u8]) -> io::Result<Head<'a>> {
        let mut lines =
            head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let mut words = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(protocol), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(malformed("the request line is not three words"));
        };
        let persistent = match protocol {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            _ => return Err(malformed("the protocol is not HTTP/1")),
        };
        let headers = lines.map(header).collect::<io::Result<_>>()?;
        Ok(Head {
            method: String::from_utf8_lossy(method),
            target: String::from_utf8_lossy(target),
            persistent,
            headers,
        })
    }

    pub fn framing(&self) -> io::Result<Framing> {
        let mut lengths = self.values("content-length");
        let mut codings = self.values("transfer-encoding");
        match (lengths.next(), codings.next()) {
            (None, None) => Ok(Framing::Length(0)),
            (Some(length), None) if lengths.all(|other| other == length) => digits(length, 10)
                .map(Framing::Length)
                .ok_or_else(|| malformed("the content-length is not a number")),
            (Some(_), None) => Err(malformed("two content-lengths differ")),
            (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => match codings.next() {
                None => Ok(Framing::Chunked),
                Some(_) => Err(malformed("two transfer-encodings")),
            },
            (None, Some(_)) => Err(malformed("the transfer-encoding is unknown")),
            (Some(_), Some(_)) => Err(malformed("content-length beside transfer-encoding")),
        }
    }

    pub fn keep_alive(&self) -> bool {
        let says = |word: &str| {
            self.values("connection")
                .flat_map(|value| value.split(','))
                .any(|option| option.trim().eq_ignore_ascii_case(word))
        };
        !says("close") && (self.persistent || says("keep-alive"))
    }

    pub fn expects_continue(&self) -> bool {
        self.values("expect").any(|value| value.eq_ignore_ascii_case("100-continue"))
    }

    fn values(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_ref())
    }
}

fn header(line: &[u8]) -> io::Result<(Cow<'_, str>, Cow<'_, str>)> {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = colon
        .and_then(|colon| line.split_at_checked(colon))
        .ok_or_else(|| malformed("a header has no colon"))?;
    if name.is_empty() || name.iter().any(u8::is_ascii_whitespace) {
        return Err(malformed("a header's name is empty or has a space"));
    }
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    Ok((String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
}

pub fn chunk_size(text: &[u8]) -> Option<u64> {
    digits(str::from_utf8(text).ok()?.trim_end(), 16)
}

/// A number of digits alone: `from_str_radix` would accept a sign.
pub fn digits(text: &str, radix: u32) -> Option<u64> {
    let all = text.chars().all(|character| character.is_digit(radix));
    all.then(|| u64::from_str_radix(text, radix).ok()).flatten()
}

/// What the client has to mend; it is answered 400 with this message.
pub fn malformed(message: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message)
}
