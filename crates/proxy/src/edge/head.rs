//! The head of a request, looked at before the framework sees it.
//!
//! Whatever could be read in two ways is refused here, so that what goes upstream is what was decided on. Owns the
//! limits on heads and how many bytes of body follow one. Never: IO.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::LazyLock;

use http::Version;
use pingora::http::authority::{RawTargetAuthority, raw_target_authority};

use super::settings::Limits;
use super::target::{self, authority};
use graygate_rules::vocab::ErrorReason;

/// What was found of a head in the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Head {
    /// More bytes are needed.
    Partial,
    Complete(Complete),
    Refused(ErrorReason),
}

/// A head that is all there and can be read in one way.
#[derive(Debug, PartialEq, Eq)]
pub struct Complete {
    /// Bytes of the head, its blank line included.
    pub length: usize,
    pub body: Body,
    /// The same head as upstreams can read it, where it differs.
    pub rewritten: Option<Vec<u8>>,
    /// Where its parts are; in what was written again, if anything was.
    pub lines: Lines,
    /// Whether nothing in it asks for more than an answer: HTTP/1.1, a body of known length or none, and no word that
    /// changes how the connection goes on but whether it does.
    pub is_plain: bool,
}

/// Where the parts of a head are.
#[derive(Debug, PartialEq, Eq)]
pub struct Lines {
    /// Bytes of the head, its blank line included.
    pub length: usize,
    pub method: Span,
    pub target: Span,
    pub version: Version,
    pub fields: Vec<Line>,
    /// Whether a field concerns this connection alone.
    pub has_hop_by_hop: bool,
    /// Whether the client wants the connection to end behind the answer.
    pub is_last: bool,
}

/// One field's name and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    pub name: Span,
    pub value: Span,
}

impl Line {
    /// Where the line is, its end included, if it is written as we would.
    #[inline]
    pub fn whole(self, head: &[u8]) -> Option<Range<usize>> {
        let behind_name = self.name.end as usize;
        let is_usual =
            self.value.start as usize == behind_name + 2 && head.get(behind_name + 1) == Some(&b' ');
        let end = self.value.end as usize;
        let is_usual = is_usual && head.get(end..end + 2) == Some(b"\r\n");
        is_usual.then_some(self.name.start as usize..end + 2)
    }
}

/// A part of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Of a part that lies in `whole`.
    pub fn of(part: &[u8], whole: &[u8]) -> Span {
        let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
        // Heads are far shorter than four gigabytes.
        Span { start: start as u32, end: (start + part.len()) as u32 }
    }

    #[inline]
    pub fn within(self, whole: &[u8]) -> &[u8] {
        whole.get(self.range()).unwrap_or_default()
    }

    pub fn length(self) -> usize {
        self.range().len()
    }

    #[inline]
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The body that follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Bytes(u64),
    /// Its end is only found while reading it.
    Chunked,
}

/// Room for headers on the stack; the limit of the settings cannot be larger.
pub const HEADERS_LIMIT: usize = 256;

const END: &[u8] = b"\r\n\r\n";

/// Looks for [`END`]; to make one costs as much as to look.
static ENDS: LazyLock<memchr::memmem::Finder<'static>> = LazyLock::new(|| memchr::memmem::Finder::new(END));

/// Looks for a head in `bytes`, of which `seen` were looked at before.
pub fn find(bytes: &[u8], seen: usize, limits: &Limits) -> Head {
    // As every wait for a head begins.
    if bytes.is_empty() {
        return Head::Partial;
    }
    // An empty line or two before a request is allowed; an endless row of them is not a request.
    let from = seen.saturating_sub(END.len() - 1);
    let found = bytes.get(from..).and_then(|rest| ENDS.find(rest));
    let length = found.map(|at| from + at + END.len());
    if length.unwrap_or(bytes.len()) as u64 > limits.header_bytes.0 {
        return Head::Refused(ErrorReason::HeadersTooLarge);
    }
    match length.and_then(|length| bytes.get(..length)) {
        Some(head) => match target::escaped(head) {
            None => read(head, limits.headers),
            // One that is written again is as long as the one that came.
            Some(escaped) => match read(&escaped, limits.headers) {
                Head::Complete(found) => Head::Complete(Complete {
                    length: head.len(),
                    rewritten: found.rewritten.or(Some(escaped)),
                    is_plain: false,
                    ..found
                }),
                refused => refused,
            },
        },
        // Lines that end without a carriage return would never end for us, though others might read them.
        None if memchr::memmem::find(bytes, b"\n\n").is_some() => Head::Refused(ErrorReason::BadRequest),
        None => Head::Partial,
    }
}

fn read(head: &[u8], most_headers: usize) -> Head {
    const REFUSED: Head = Head::Refused(ErrorReason::BadRequest);
    // Left as it is: to clear room for all the headers there could be costs more than to read those there are.
    let mut room = [const { MaybeUninit::uninit() }; HEADERS_LIMIT];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut room) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Head::Refused(ErrorReason::HeadersTooLarge),
        _ => return REFUSED,
    }
    if request.headers.len() > most_headers {
        return Head::Refused(ErrorReason::HeadersTooLarge);
    }
    if request.path.is_some_and(|target| target.len() > target::LIMIT) {
        return Head::Refused(ErrorReason::HeadersTooLarge);
    }
    // A line that ends with a bare line feed is one header to us and part of another to the next reader.
    if has_bare_line_feed(head) || request.method == Some("CONNECT") {
        return REFUSED;
    }
    let new = request.version == Some(1);
    let said = Said::of(request.headers);
    match (said.host_is_clear(new) && target_is_clear(request.path.unwrap_or_default()), said.body(new)) {
        (true, Some(body)) => {
            // Nearly every request says a path.
            let is_path = request.path.is_some_and(|target| target.starts_with('/'));
            let rewritten = if is_path { None } else { origin_form(head) };
            let (lines, is_plain) = match &rewritten {
                None => lines(head, &request),
                Some(head) => (read_again(head), false),
            };
            let Some(lines) = lines else { return REFUSED };
            let is_plain = is_plain && body != Body::Chunked;
            Head::Complete(Complete { length: head.len(), body, rewritten, lines, is_plain })
        }
        _ => REFUSED,
    }
}

fn has_bare_line_feed(head: &[u8]) -> bool {
    let behind = head.get(1..).unwrap_or_default();
    let is_bare = |(before, byte): (&u8, &u8)| (*byte == b'\n') & (*before != b'\r');
    // Without a way out in between, so that many bytes are looked at at a time.
    let has_bare = head.iter().zip(behind).fold(false, |has, pair| has | is_bare(pair));
    has_bare || head.first() == Some(&b'\n')
}

/// What fields say that may be said once: of the message's end, and of whom it is for.
#[derive(Default)]
struct Said<'h> {
    host: Once<'h>,
    coding: Once<'h>,
    length: Once<'h>,
}

/// A field that may be there once.
#[derive(Default)]
enum Once<'h> {
    #[default]
    Absent,
    Said(&'h [u8]),
    Again,
}

impl<'h> Once<'h> {
    fn say(&mut self, value: &'h [u8]) {
        *self = if let Once::Absent = self { Once::Said(value) } else { Once::Again };
    }
}

impl<'h> Said<'h> {
    fn of(fields: &[httparse::Header<'h>]) -> Said<'h> {
        let mut said = Said::default();
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            match field.name.len() {
                4 if is("host") => said.host.say(field.value),
                14 if is("content-length") => said.length.say(field.value),
                17 if is("transfer-encoding") => said.coding.say(field.value),
                _ => {}
            }
        }
        said
    }

    /// One `Host`, which HTTP/1.1 has to send, and nothing in it that could be taken for another authority.
    fn host_is_clear(&self, new: bool) -> bool {
        match self.host {
            Once::Absent => !new,
            Once::Said(host) => !host.contains(&b'@'),
            Once::Again => false,
        }
    }

    /// How the body is framed; `None` where it can be read in two ways.
    fn body(&self, new: bool) -> Option<Body> {
        match (&self.coding, &self.length) {
            (Once::Absent, Once::Absent) => Some(Body::Bytes(0)),
            (Once::Absent, Once::Said(length)) => {
                let length = length.trim_ascii();
                let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
                let length = std::str::from_utf8(length).ok().filter(|_| digits)?.parse().ok()?;
                Some(Body::Bytes(length))
            }
            (Once::Said(coding), Once::Absent) => {
                let is_chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
                (is_chunked && new).then_some(Body::Chunked)
            }
            _ => None,
        }
    }
}

/// The framework refuses the same targets, and would answer in its own words, uncounted.
fn target_is_clear(target: &str) -> bool {
    // The framework would cut it there in silence.
    if target.as_bytes().contains(&b'#') {
        return false;
    }
    match raw_target_authority(target.as_bytes()) {
        RawTargetAuthority::None => true,
        RawTargetAuthority::AmbiguousAuthority => false,
        RawTargetAuthority::Absolute { authority: raw, .. } => {
            let known = authority(target.as_bytes()) == Some(raw);
            known && !raw.contains(&b'@') && http::uri::Authority::try_from(raw).is_ok()
        }
    }
}

/// The head with a path instead of a whole URL, whose authority takes the place of `Host` (RFC 9112, 3.2.2); `None`
/// for a head that has a path already. Written again, so that no upstream can choose the other host.
fn origin_form(head: &[u8]) -> Option<Vec<u8>> {
    let mut room = [httparse::EMPTY_HEADER; HEADERS_LIMIT];
    let mut request = httparse::Request::new(&mut room);
    request.parse(head).ok()?;
    let target = request.path?.as_bytes();
    let RawTargetAuthority::Absolute { authority, path_and_query, .. } = raw_target_authority(target) else {
        return None;
    };
    let slash: &[u8] = if path_and_query.first() == Some(&b'/') { b"" } else { b"/" };
    let version: &[u8] =
        if request.version == Some(0) { b" HTTP/1.0\r\nHost: " } else { b" HTTP/1.1\r\nHost: " };
    let method = request.method?.as_bytes();
    let mut written = [method, b" ", slash, path_and_query, version, authority, b"\r\n"].concat();
    for header in request.headers.iter().filter(|header| !header.name.eq_ignore_ascii_case("host")) {
        written.extend([header.name.as_bytes(), b": ", header.value, b"\r\n"].concat());
    }
    written.extend(b"\r\n");
    Some(written)
}

/// What a field's name says about the connection it came on.
enum Concern {
    /// Nothing.
    Message,
    /// It is for this connection, and changes nothing.
    Hop,
    /// The `Connection` itself.
    Options,
    /// The connection goes on otherwise than with an answer and the next request.
    Change,
}

fn concern(name: &str) -> Concern {
    // Told apart by their lengths first: nearly every field is none of them.
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        10 if is("connection") => Concern::Options,
        2 if is("te") => Concern::Hop,
        7 if is("trailer") => Concern::Hop,
        10 if is("keep-alive") => Concern::Hop,
        16 if is("proxy-connection") => Concern::Hop,
        18 if is("proxy-authenticate") => Concern::Hop,
        19 if is("proxy-authorization") => Concern::Hop,
        6 if is("expect") => Concern::Change,
        7 if is("upgrade") => Concern::Change,
        14 if is("http2-settings") => Concern::Change,
        _ => Concern::Message,
    }
}

/// Where the parts of a head are that we wrote.
fn read_again(head: &[u8]) -> Option<Lines> {
    let mut room = [httparse::EMPTY_HEADER; HEADERS_LIMIT];
    let mut request = httparse::Request::new(&mut room);
    request.parse(head).ok()?;
    lines(head, &request).0
}

/// Where the parts of a head are, and whether it is plain but for its body.
fn lines(head: &[u8], request: &httparse::Request<'_, '_>) -> (Option<Lines>, bool) {
    let is_new = request.version == Some(1);
    let mut is_plain = is_new && request.path.is_some_and(|target| target.starts_with('/'));
    let mut has_hop_by_hop = false;
    let mut options = Options::default();
    let mut fields = Vec::with_capacity(request.headers.len());
    for field in request.headers.iter() {
        match concern(field.name) {
            Concern::Message => {}
            Concern::Hop => has_hop_by_hop = true,
            Concern::Options => {
                has_hop_by_hop = true;
                options.read(field.value);
            }
            Concern::Change => is_plain = false,
        }
        fields.push(Line { name: Span::of(field.name.as_bytes(), head), value: Span::of(field.value, head) });
    }
    let parts = request.method.zip(request.path);
    let lines = parts.map(|(method, target)| Lines {
        length: head.len(),
        method: Span::of(method.as_bytes(), head),
        target: Span::of(target.as_bytes(), head),
        version: if is_new { Version::HTTP_11 } else { Version::HTTP_10 },
        fields,
        has_hop_by_hop,
        is_last: options.closes || !(is_new || options.keeps),
    });
    (lines, is_plain && !options.has_more)
}

/// What a head's `Connection` says.
#[derive(Default)]
struct Options {
    closes: bool,
    keeps: bool,
    /// It says more than that.
    has_more: bool,
}

impl Options {
    fn read(&mut self, line: &[u8]) {
        for option in line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            match option {
                [] => {}
                _ if option.eq_ignore_ascii_case(b"close") => self.closes = true,
                _ if option.eq_ignore_ascii_case(b"keep-alive") => self.keeps = true,
                _ => self.has_more = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graygate_rules::vocab::ByteSize;

    fn limits(bytes: u64, headers: usize) -> Limits {
        Limits { header_bytes: ByteSize(bytes), headers, ..Limits::default() }
    }

    type Found = Result<Option<(usize, Body)>, ErrorReason>;

    /// Where a head ends, and how its body is framed.
    fn found(head: &[u8], limits: &Limits) -> Found {
        match find(head, 0, limits) {
            Head::Partial => Ok(None),
            Head::Complete(found) => Ok(Some((found.length, found.body))),
            Head::Refused(reason) => Err(reason),
        }
    }

    fn rewritten(head: &[u8]) -> Option<String> {
        match find(head, 0, &limits(1000, 5)) {
            Head::Complete(found) => found.rewritten.map(|head| String::from_utf8(head).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    fn check(head: &str, expected: Found) {
        assert_eq!(found(head.as_bytes(), &limits(1000, 5)), expected, "{head:?}");
    }

    #[test]
    fn clear_heads_are_taken() {
        for (head, body) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Body::Bytes(0)),
            ("GET / HTTP/1.0\r\n\r\n", Body::Bytes(0)),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n", Body::Bytes(12)),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", Body::Chunked),
            ("GET /用 HTTP/1.1\r\nHost: a\r\n\r\n", Body::Bytes(0)),
        ] {
            check(head, Ok(Some((head.len(), body))));
        }
        let two = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\n";
        check(two, Ok(Some((27, Body::Bytes(0)))));
        check("GET / HTTP/1.1\r\nHost: a\r\n", Ok(None));
        check("", Ok(None));
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET http://u@a/ HTTP/1.1\r\nHost: u@a\r\n\r\n",
            "GET http:/\\a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "GET /\r\nHost: a\r\n\r\n",
            "GET / / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "\x16\x03\x01\r\n\r\n",
        ] {
            check(head, Err(ErrorReason::BadRequest));
        }
    }

    #[test]
    fn a_whole_url_becomes_a_path_and_its_host() {
        for (line, host, expected) in [
            ("GET http://a:80/x?y HTTP/1.1", "b", "GET /x?y HTTP/1.1\r\nHost: a:80"),
            ("GET HTTPS://A HTTP/1.1", "a", "GET / HTTP/1.1\r\nHost: A"),
            ("PUT http://a?q HTTP/1.0", "b", "PUT /?q HTTP/1.0\r\nHost: a"),
        ] {
            let head = format!("{line}\r\nX: 1\r\nhost: {host}\r\nY:  2\r\n\r\n");
            let expected = format!("{expected}\r\nX: 1\r\nY: 2\r\n\r\n");
            assert_eq!(rewritten(head.as_bytes()), Some(expected));
        }
        assert_eq!(rewritten(b"GET /http://a/ HTTP/1.1\r\nHost: b\r\n\r\n"), None);
    }

    #[test]
    fn targets_no_uri_can_hold_are_escaped() {
        for (target, expected) in [
            (&b"/x?q=<b>"[..], "/x?q=%3Cb%3E"),
            (b"/<a>`?\"`", "/%3Ca%3E%60?%22`"),
            (b"/\xff?\xc3\xa4\xc3", "/%FF?\u{e4}%C3"),
            (b"http://a/<?<", "/%3C?%3C"),
        ] {
            let head = [b"GET ", target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            assert_eq!(rewritten(&head), Some(format!("GET {expected} HTTP/1.1\r\nHost: a\r\n\r\n")));
        }
        assert_eq!(
            rewritten("GET /\u{7528}?{\"}' HTTP/1.1\r\nHost: a\r\n\r\n".replace('"', "|").as_bytes()),
            None
        );
        check("GET http://a<b/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(ErrorReason::BadRequest));
    }

    #[test]
    fn heads_say_where_their_parts_are_and_whether_they_are_plain() {
        let read = |rest: &str| {
            let head = format!("{rest}\r\n\r\nmore");
            match find(head.as_bytes(), 0, &limits(1000, 9)) {
                Head::Complete(found) => (found, head),
                other => panic!("{other:?}"),
            }
        };
        let (found, head) = read("GET /a?b HTTP/1.1\r\nHost: h\r\nX-Name:  v w \r\nConnection: Close");
        let lines = found.lines;
        let told = |span: Span| std::str::from_utf8(span.within(head.as_bytes())).unwrap();
        assert_eq!((told(lines.method), told(lines.target)), ("GET", "/a?b"));
        let fields: Vec<_> = lines.fields.iter().map(|line| (told(line.name), told(line.value))).collect();
        assert_eq!(fields, [("Host", "h"), ("X-Name", "v w"), ("Connection", "Close")]);
        assert!(found.is_plain && lines.is_last && lines.has_hop_by_hop && lines.length == head.len() - 4);
        for (field, is_last, has_hop_by_hop) in [
            ("Accept: */*", false, false),
            ("Connection: keep-alive", false, true),
            ("Connection: keep-alive , close", true, true),
            ("TE: trailers", false, true),
            ("proxy-authorization: x", false, true),
            ("Content-Length: 3", false, false),
        ] {
            let (found, _) = read(&format!("PUT / HTTP/1.1\r\nHost: h\r\n{field}"));
            let lines = found.lines;
            assert!(found.is_plain, "{field}");
            assert_eq!((lines.is_last, lines.has_hop_by_hop), (is_last, has_hop_by_hop), "{field}");
        }
        for (head, is_last) in [
            ("GET / HTTP/1.0\r\nHost: h", true),
            ("GET / HTTP/1.0\r\nConnection: keep-alive", false),
            ("GET / HTTP/1.0\r\nConnection: keep-alive, close", true),
            ("GET http://h/ HTTP/1.1\r\nHost: h", false),
            ("OPTIONS * HTTP/1.1\r\nHost: h", false),
            ("GET /< HTTP/1.1\r\nHost: h", false),
            ("GET / HTTP/1.1\r\nHost: h\r\nConnection: x-own", false),
            ("GET / HTTP/1.1\r\nHost: h\r\nConnection: x-own, close", true),
            ("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket", false),
            ("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c", false),
            ("GET / HTTP/1.1\r\nHost: h\r\nHTTP2-Settings: AA", false),
            ("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue", false),
            ("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked", false),
        ] {
            let (found, _) = read(head);
            assert_eq!((found.is_plain, found.lines.is_last), (false, is_last), "{head}");
        }
    }

    #[test]
    fn parts_of_a_head_that_is_written_again_are_in_what_was_written() {
        for (head, target) in [
            ("GET http://h/a HTTP/1.1\r\nHost: x\r\n\r\n", "/a"),
            ("GET /< HTTP/1.1\r\nHost: h\r\n\r\n", "/%3C"),
            ("GET http://h/< HTTP/1.1\r\nHost: x\r\n\r\n", "/%3C"),
        ] {
            let Head::Complete(found) = find(head.as_bytes(), 0, &limits(1000, 9)) else { panic!("{head}") };
            let written = found.rewritten.unwrap();
            let [host] = &found.lines.fields[..] else { panic!("{head}") };
            assert_eq!(found.lines.target.within(&written), target.as_bytes());
            assert_eq!(host.value.within(&written), b"h");
            assert_eq!((found.length, found.lines.length), (head.len(), written.len()));
        }
    }

    #[test]
    fn large_heads_are_refused() {
        let large = Err(ErrorReason::HeadersTooLarge);
        assert_eq!(found(&[b'a'; 1001], &limits(1000, 5)), large);
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(5));
        assert_eq!(found(many.as_bytes(), &limits(1000, 5)), large);
        let far = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(300));
        assert_eq!(found(far.as_bytes(), &limits(10_000, 256)), large);
    }
}
