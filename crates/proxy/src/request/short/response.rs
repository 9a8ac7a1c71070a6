//! The head of a response.
//!
//! Answers: is it here, how is its body framed, and may its connection carry another request? Reads what the framework
//! reads, and refuses what it refuses. Never: IO, or what the client is told.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, Version, header};
use pingora::http::{IntoCaseHeaderName as _, ResponseHeader};
use pingora::{Error, ErrorType, Result};

use crate::edge::{ChunkScanner, HEADERS_LIMIT, Line, Span};

/// Longest head of a response, as in the framework.
const HEAD_LIMIT: usize = 1 << 20;

/// A response's head that is all there; its parts are places in the bytes it was read from.
pub struct Head {
    /// Bytes of the head, its blank line included.
    pub length: usize,
    pub status: u16,
    pub version: Version,
    pub phrase: Span,
    pub fields: Vec<Line>,
    pub framing: Framing,
    /// What is said of the framing, which is not always what counts.
    pub has: Fields,
    /// The upstream keeps the connection.
    pub keeps: bool,
}

/// Fields that decide how the response is passed on.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Fields {
    pub transfer_encoding: bool,
    /// `Connection` names other fields.
    pub nominations: bool,
    /// A value goes over several lines.
    pub folds: bool,
}

/// How a body ends.
#[derive(Clone, Debug)]
pub enum Framing {
    /// There is none.
    Empty,
    Bytes(u64),
    Chunked(ChunkScanner),
    /// With the connection.
    Close,
}

/// Whom a response answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// `HEAD`: whatever is said of a body, none follows.
    Head,
    Other,
}

fn invalid(what: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, what).into_up()
}

/// Looks for a head at the beginning of `bytes`; `None`: more are needed.
pub fn find(bytes: &[u8], asked: Asked) -> Result<Option<Head>> {
    let mut parser = httparse::ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    parser.allow_obsolete_multiline_headers_in_responses(true);
    let mut room = [const { MaybeUninit::uninit() }; HEADERS_LIMIT];
    let mut response = httparse::Response::new(&mut []);
    let parsed = parser.parse_response_with_uninit_headers(&mut response, bytes, &mut room);
    let length = match parsed.map_err(|_| invalid("the head of the response is malformed"))? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial if bytes.len() > HEAD_LIMIT => {
            return Err(invalid("the head of the response is too long"));
        }
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.filter(|code| (100..1000).contains(code));
    let status = status.ok_or_else(|| invalid("the response has no status"))?;
    let version = if response.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut said = Said::of(response.headers)?;
    let head = bytes.get(..length).unwrap_or_default();
    said.has.folds = memchr::memchr_iter(b'\n', head).count() != response.headers.len() + 2;
    let framing = said.framing(status, asked);
    let span = |part: &[u8]| Span::of(part, bytes);
    let mut fields = Vec::with_capacity(response.headers.len());
    for field in response.headers.iter() {
        fields.push(Line { name: span(field.name.as_bytes()), value: span(field.value) });
    }
    let keeps = match (&framing, version) {
        (Framing::Close, _) => false,
        (_, Version::HTTP_10) => said.keep_alive && !said.close && !said.has.transfer_encoding,
        _ => !said.close,
    };
    Ok(Some(Head {
        length,
        status,
        version,
        phrase: span(response.reason.unwrap_or_default().as_bytes()),
        fields,
        framing,
        has: said.has,
        keeps,
    }))
}

/// What a head says about its body and its connection.
#[derive(Default)]
struct Said {
    has: Fields,
    is_chunked: bool,
    length: Option<u64>,
    close: bool,
    keep_alive: bool,
}

impl Said {
    fn of(fields: &[httparse::Header<'_>]) -> Result<Said> {
        let mut said = Said::default();
        let mut lengths = None;
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            match field.name.len() {
                10 if is("connection") => said.option(field.value),
                14 if is("content-length") => lengths = Some(length(field.value, lengths)?),
                17 if is("transfer-encoding") => {
                    said.has.transfer_encoding = true;
                    // Elements may be empty (RFC 9110, 5.6.1).
                    let mut last = field.value.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                    if let Some(last) = last.find(|coding| !coding.is_empty()) {
                        said.is_chunked = last.eq_ignore_ascii_case(b"chunked");
                    }
                }
                _ => {}
            }
        }
        said.length = lengths;
        Ok(said)
    }

    fn option(&mut self, options: &[u8]) {
        for option in options.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            match option {
                [] => {}
                _ if option.eq_ignore_ascii_case(b"close") => self.close = true,
                _ if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                _ => self.has.nominations = true,
            }
        }
    }

    /// RFC 9112, section 6.3.
    fn framing(&self, status: u16, asked: Asked) -> Framing {
        match (status, self.length) {
            (100..200 | 204 | 304, _) => Framing::Empty,
            _ if asked == Asked::Head => Framing::Empty,
            _ if self.is_chunked => Framing::Chunked(ChunkScanner::default()),
            (_, Some(length)) if !self.has.transfer_encoding => Framing::Bytes(length),
            _ => Framing::Close,
        }
    }
}

/// One `Content-Length`, which may be said again as long as it stays the same.
fn length(value: &[u8], before: Option<u64>) -> Result<u64> {
    let mut agreed = before;
    for one in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        let digits = !one.is_empty() && one.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(one).ok().filter(|_| digits).and_then(|digits| digits.parse().ok());
        match (length, agreed) {
            (Some(length), None) => agreed = Some(length),
            (Some(length), Some(before)) if length == before => {}
            _ => return Err(invalid("the length of the response is not one number")),
        }
    }
    agreed.ok_or_else(|| invalid("the response has an empty length"))
}

impl Head {
    /// The head as the framework has it, for the code that changes or judges it. `bytes`: what it was read from.
    pub fn header(&self, bytes: &[u8]) -> Result<ResponseHeader> {
        let mut header = ResponseHeader::build(self.status, Some(self.fields.len() + 4))?;
        header.set_version(self.version);
        let phrase = std::str::from_utf8(self.phrase.within(bytes)).ok();
        header.set_reason_phrase(phrase)?;
        for line in &self.fields {
            let name = Bytes::copy_from_slice(line.name.within(bytes)).into_case_header_name();
            let value = one_line(line.value.within(bytes))
                .ok_or_else(|| invalid("a field of the response is malformed"))?;
            header.append_header(name, value).map_err(|error| error.into_up())?;
        }
        if self.has.transfer_encoding {
            header.remove_header(&header::CONTENT_LENGTH);
        }
        Ok(header)
    }

    /// The same for a client that is told every name in lower case, and no words beside the status.
    pub fn lower_header(&self, bytes: &[u8]) -> Result<ResponseHeader> {
        let malformed = || invalid("a field of the response is malformed");
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = StatusCode::from_u16(self.status).map_err(|_| malformed())?;
        parts.headers.reserve(self.fields.len() + 4);
        for line in &self.fields {
            let name = HeaderName::from_bytes(line.name.within(bytes)).map_err(|_| malformed())?;
            let value = one_line(line.value.within(bytes)).ok_or_else(malformed)?;
            parts.headers.append(name, value);
        }
        if self.has.transfer_encoding {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        Ok(parts.into())
    }
}

/// A field's value; one over several lines, which no server should send any more, is one line for us (RFC 9112, 5.2).
fn one_line(value: &[u8]) -> Option<HeaderValue> {
    HeaderValue::from_bytes(value).ok().or_else(|| {
        let joined: Vec<u8> =
            value.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
        HeaderValue::from_bytes(&joined).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str, asked: Asked) -> Option<Head> {
        find(text.as_bytes(), asked).unwrap()
    }

    #[test]
    fn framing_is_what_the_standard_says() {
        for (text, asked, expected, keeps) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Asked::Other, "Bytes(3)", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Asked::Head, "Empty", true),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\nContent-Length: 3\r\n\r\n",
                Asked::Other,
                "Bytes(3)",
                true,
            ),
            ("HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n", Asked::Other, "Empty", true),
            ("HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n", Asked::Other, "Empty", true),
            ("HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", Asked::Other, "Empty", true),
            ("HTTP/1.1 200 OK\r\n\r\n", Asked::Other, "Close", false),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 3\r\n\r\n",
                Asked::Other,
                "Close",
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\n",
                Asked::Other,
                "Bytes(3)",
                false,
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", Asked::Other, "Bytes(3)", false),
            (
                "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 3\r\n\r\n",
                Asked::Other,
                "Bytes(3)",
                true,
            ),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 3\r\n\r\n",
                Asked::Other,
                "Bytes(3)",
                false,
            ),
        ] {
            let head = head(text, asked).unwrap();
            assert_eq!((format!("{:?}", head.framing), head.keeps), (expected.into(), keeps), "{text}");
            assert_eq!(head.length, text.len());
        }
        for codings in ["gzip, Chunked", "gzip, chunked, ,", "chunked\r\nTransfer-Encoding: "] {
            let text =
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {codings}\r\nContent-Length: 3\r\n\r\n");
            let chunked = head(&text, Asked::Other);
            assert!(matches!(chunked.unwrap().framing, Framing::Chunked(_)), "{codings}");
        }
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "SMTP\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        ] {
            let error = find(text.as_bytes(), Asked::Other).err().unwrap();
            assert_eq!(*error.etype(), ErrorType::InvalidHTTPHeader, "{text}");
        }
    }

    #[test]
    fn a_head_that_is_not_whole_needs_more() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        for end in 0..text.len() {
            assert!(head(&text[..end], Asked::Other).is_none());
        }
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_LIMIT));
        assert!(find(long.as_bytes(), Asked::Other).is_err());
    }

    #[test]
    fn the_header_keeps_names_order_and_words() {
        let text = "HTTP/1.0 299 Quite Fine\r\nX-Own: a\r\nset-cookie: b\r\nSet-Cookie: c\r\n\r\n";
        let header = head(text, Asked::Other).unwrap().header(text.as_bytes()).unwrap();
        let mut wire = Vec::new();
        header.header_to_h1_wire(&mut wire);
        assert_eq!(wire, b"X-Own: a\r\nset-cookie: b\r\nSet-Cookie: c\r\n");
        assert_eq!((header.version, header.get_reason_phrase()), (Version::HTTP_10, Some("Quite Fine")));
    }
}
