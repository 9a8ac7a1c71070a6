//! One spelling for every path and host, so that a rule cannot be stepped around by writing a path differently.
//!
//! A path has two forms: the *view*, decoded, which conditions and routes see, and the *upstream* form, which keeps
//! the bytes as they came but has the same segments. Owns both normalisations. Never: routing.

use std::fmt::Write as _;
use std::net::Ipv6Addr;

/// A normalised path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    /// Percent-decoded, except `%2F`, `%5C`, and a `%25` before `2F` or `5C`.
    pub view: &'a str,
    /// As the upstream gets it.
    pub upstream: &'a str,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    #[error("a percent escape is broken")]
    BrokenEscape,
    #[error("the path has a control character")]
    Control,
    #[error("the path is not UTF-8")]
    NotUtf8,
    #[error("the path climbs above `/`")]
    Climbs,
    #[error("the path has a fragment")]
    Fragment,
}

/// Room for one path and one host, reused from request to request so that normalising allocates nothing.
#[derive(Default, Debug)]
pub struct PathBuffer {
    view: String,
    upstream: String,
    segment: Vec<u8>,
}

impl PathBuffer {
    /// Normalises a path without its query.
    pub fn normalise<'a>(&'a mut self, raw: &'a [u8]) -> Result<Path<'a>, BadPath> {
        if let Some(path) = already_normal(raw) {
            return Ok(Path { view: path, upstream: path });
        }
        let Some((b'/', rest)) = raw.split_first() else { return Err(BadPath::NotAbsolute) };
        self.view.clear();
        self.upstream.clear();
        // Whether the path ends in a slash so far: an empty last segment, or a dot segment at the end.
        let mut open = true;
        for segment in rest.split(|b| *b == b'/') {
            decode_segment(segment, &mut self.segment)?;
            match self.segment.as_slice() {
                b"" | b"." => open = true,
                b".." => {
                    let parent = self.upstream.rfind('/').ok_or(BadPath::Climbs)?;
                    self.upstream.truncate(parent);
                    self.view.truncate(self.view.rfind('/').unwrap_or(0));
                    open = true;
                }
                decoded => {
                    let decoded = std::str::from_utf8(decoded).map_err(|_| BadPath::NotUtf8)?;
                    self.view.push('/');
                    self.view.push_str(decoded);
                    self.upstream.push('/');
                    push_as_it_came(segment, &mut self.upstream);
                    open = false;
                }
            }
        }
        if open {
            self.view.push('/');
            self.upstream.push('/');
        }
        Ok(Path { view: &self.view, upstream: &self.upstream })
    }
}

/// The path itself where both forms are the same as what came.
fn already_normal(raw: &[u8]) -> Option<&str> {
    let mut previous = 0;
    for (i, &byte) in raw.iter().enumerate() {
        let odd = match byte {
            b'%' | b'\\' | b'#' => true,
            b'/' => previous == b'/',
            b'.' => previous == b'/',
            // A raw space goes on as `%20`, beside an escape or alone.
            _ => !(0x21..0x7f).contains(&byte),
        };
        if odd || (i == 0 && byte != b'/') {
            return None;
        }
        previous = byte;
    }
    (!raw.is_empty()).then(|| std::str::from_utf8(raw).ok())?
}

/// Decodes one segment into `out`, which is what the view shows.
fn decode_segment(segment: &[u8], out: &mut Vec<u8>) -> Result<(), BadPath> {
    out.clear();
    let mut rest = segment;
    while let Some((byte, escaped, after)) = next_byte(rest)? {
        match byte {
            0x00..=0x1f | 0x7f => return Err(BadPath::Control),
            b'#' if !escaped => return Err(BadPath::Fragment),
            b'/' => out.extend_from_slice(b"%2F"),
            b'\\' => out.extend_from_slice(b"%5C"),
            // Shown decoded it would read as an encoded slash or backslash.
            b'%' if spells_separator(after)? => out.extend_from_slice(b"%25"),
            _ => out.push(byte),
        }
        rest = after;
    }
    Ok(())
}

/// A byte decoded, whether it was escaped, and what follows it.
type Next<'t> = (u8, bool, &'t [u8]);

fn next_byte(text: &[u8]) -> Result<Option<Next<'_>>, BadPath> {
    match text {
        [] => Ok(None),
        [b'%', high, low, rest @ ..] => {
            let digit = |b: u8| char::from(b).to_digit(16).ok_or(BadPath::BrokenEscape);
            let byte = digit(*high)? * 16 + digit(*low)?;
            Ok(Some((byte as u8, true, rest)))
        }
        [b'%', ..] => Err(BadPath::BrokenEscape),
        [byte, rest @ ..] => Ok(Some((*byte, false, rest))),
    }
}

/// Whether the text decodes to something that begins with `2F` or `5C`.
fn spells_separator(text: &[u8]) -> Result<bool, BadPath> {
    let Some((first, _, rest)) = next_byte(text)? else { return Ok(false) };
    let Some((second, _, _)) = next_byte(rest)? else { return Ok(false) };
    Ok(matches!((first, second.to_ascii_uppercase()), (b'2', b'F') | (b'5', b'C')))
}

fn push_as_it_came(segment: &[u8], out: &mut String) {
    // Raw bytes beyond ASCII were checked: together with the escapes they are UTF-8, but alone they may be half a
    // character, so each is written as the escape it counts as.
    for &byte in segment {
        match byte {
            b'\\' => out.push_str("%5C"),
            0x21..0x7f => out.push(char::from(byte)),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

/// Writes a text of the view as a path again: what a path cannot carry is escaped, and what the view left escaped
/// stays so.
pub fn encode_view(text: &str, out: &mut String) {
    let bytes = text.as_bytes();
    for (i, &byte) in bytes.iter().enumerate() {
        let rest = bytes.get(i + 1..).unwrap_or_default();
        let stays = || {
            let separator = |rest: &[u8]| rest.starts_with(b"2F") || rest.starts_with(b"5C");
            let shielded = rest.strip_prefix(b"25").is_some_and(|after| {
                after
                    .get(..2)
                    .is_some_and(|two| two.eq_ignore_ascii_case(b"2f") || two.eq_ignore_ascii_case(b"5c"))
            });
            separator(rest) || shielded
        };
        match byte {
            b'%' if stays() => out.push('%'),
            b'/' => out.push('/'),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => out.push(char::from(byte)),
            // pchar of RFC 3986: unreserved, sub-delims, `:` and `@`.
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b','
            | b';' | b'=' | b':' | b'@' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

/// A host taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host<'a> {
    /// Lower case, without port or trailing dot; IPv6 in brackets. Empty where the request names none.
    pub name: &'a str,
    pub port: Option<u16>,
}

/// Normalises what stands in `Host`; `None` when it is no host.
pub fn normalise_host<'a>(raw: &'a [u8], buffer: &'a mut String) -> Option<Host<'a>> {
    let raw = std::str::from_utf8(raw).ok()?;
    let (name, port) = match raw.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']')?;
            let address: Ipv6Addr = inside.parse().ok()?;
            buffer.clear();
            write!(buffer, "[{address}]").ok()?;
            return Some(Host { name: buffer, port: read_port(after)? });
        }
        None => match raw.split_once(':') {
            Some((name, _)) => (name, read_port(raw.get(name.len()..)?)?),
            None => (raw, None),
        },
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let allowed = |b: u8| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b';'
                    | b'='
                    | b'%'
            )
    };
    if !name.bytes().all(allowed) || (name.is_empty() && port.is_some()) {
        return None;
    }
    if !name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Some(Host { name, port });
    }
    buffer.clear();
    buffer.push_str(name);
    buffer.make_ascii_lowercase();
    Some(Host { name: buffer, port })
}

/// `""` and `":"` are no port, `":80"` is one.
fn read_port(text: &str) -> Option<Option<u16>> {
    match text.strip_prefix(':') {
        None if text.is_empty() => Some(None),
        Some("") => Some(None),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok().map(Some),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_has_one_view() {
        use BadPath::*;
        for (raw, expected) in [
            ("/", Ok(("/", "/"))),
            ("/a/b", Ok(("/a/b", "/a/b"))),
            ("/a/b/", Ok(("/a/b/", "/a/b/"))),
            ("//a///b", Ok(("/a/b", "/a/b"))),
            ("/a//", Ok(("/a/", "/a/"))),
            ("/a/./b", Ok(("/a/b", "/a/b"))),
            ("/a/../b", Ok(("/b", "/b"))),
            ("/a/..", Ok(("/", "/"))),
            ("/a/b/..", Ok(("/a/", "/a/"))),
            ("/a/.", Ok(("/a/", "/a/"))),
            ("/a//../b", Ok(("/b", "/b"))),
            ("/a/%2e%2E/b", Ok(("/b", "/b"))),
            ("/a/.%2e", Ok(("/", "/"))),
            ("/.a/..b/c.", Ok(("/.a/..b/c.", "/.a/..b/c."))),
            ("/a%20b", Ok(("/a b", "/a%20b"))),
            ("/a b", Ok(("/a b", "/a%20b"))),
            ("/a b/%61", Ok(("/a b/a", "/a%20b/%61"))),
            ("/%61", Ok(("/a", "/%61"))),
            ("/%E7%94%A8", Ok(("/用", "/%E7%94%A8"))),
            ("/用", Ok(("/用", "/%E7%94%A8"))),
            ("/%e7\u{94}", Err(NotUtf8)),
            ("/a%2fb", Ok(("/a%2Fb", "/a%2fb"))),
            ("/a%5cb", Ok(("/a%5Cb", "/a%5cb"))),
            ("/a\\b", Ok(("/a%5Cb", "/a%5Cb"))),
            ("/a%252fb", Ok(("/a%252fb", "/a%252fb"))),
            ("/a%25%32%46b", Ok(("/a%252Fb", "/a%25%32%46b"))),
            ("/a%25b", Ok(("/a%b", "/a%25b"))),
            ("/100%25", Ok(("/100%", "/100%25"))),
            ("/a;b=c", Ok(("/a;b=c", "/a;b=c"))),
            ("/a%3Fb%23", Ok(("/a?b#", "/a%3Fb%23"))),
            ("/..", Err(Climbs)),
            ("//../a", Err(Climbs)),
            ("/a/../../b", Err(Climbs)),
            ("/%2e%2e", Err(Climbs)),
            ("/a%", Err(BrokenEscape)),
            ("/a%4", Err(BrokenEscape)),
            ("/a%zz", Err(BrokenEscape)),
            ("/a%+1", Err(BrokenEscape)),
            ("/a%00", Err(Control)),
            ("/a%1f", Err(Control)),
            ("/a%7F", Err(Control)),
            ("/a\u{1}", Err(Control)),
            ("/%ff", Err(NotUtf8)),
            ("/%c0%af", Err(NotUtf8)),
            ("/a#b", Err(Fragment)),
            ("a", Err(NotAbsolute)),
            ("", Err(NotAbsolute)),
            ("*", Err(NotAbsolute)),
        ] {
            let mut buffer = PathBuffer::default();
            let found = buffer.normalise(raw.as_bytes()).map(|p| (p.view, p.upstream));
            assert_eq!(found, expected, "{raw}");
        }
        let mut buffer = PathBuffer::default();
        assert_eq!(buffer.normalise(b"/%e7\x94\xa8").map(|p| p.view), Ok("/用"));
        assert_eq!(buffer.normalise(b"/\xff"), Err(NotUtf8));
    }

    #[test]
    fn a_view_becomes_a_path_that_has_this_view() {
        for raw in ["/a b", "/a%2Fb", "/100%25", "/a%252fb", "/a%252Fb", "/用?#", "/a\"<>", "/%5C%255C"] {
            let mut first = PathBuffer::default();
            let escaped: String = raw.replace('?', "%3F").replace('#', "%23");
            let view = first.normalise(escaped.as_bytes()).unwrap().view.to_string();
            let mut encoded = String::new();
            encode_view(&view, &mut encoded);
            let mut second = PathBuffer::default();
            assert_eq!(second.normalise(encoded.as_bytes()).unwrap().view, view, "{raw} {encoded}");
        }
    }

    #[test]
    fn hosts_are_taken_apart() {
        for (raw, expected) in [
            ("Medical.Example.COM:8080", Some(("medical.example.com", Some(8080)))),
            ("a.b.", Some(("a.b", None))),
            ("a.b.:80", Some(("a.b", Some(80)))),
            ("a:", Some(("a", None))),
            ("[::1]:9", Some(("[::1]", Some(9)))),
            ("[2001:DB8::0:1]", Some(("[2001:db8::1]", None))),
            ("", Some(("", None))),
            (":80", None),
            ("a:b", None),
            ("a:99999", None),
            ("a b", None),
            ("a/b", None),
            ("a@b", None),
            ("[::1", None),
            ("[x]", None),
            ("[::1]x", None),
            ("::1", None),
            ("用", None),
        ] {
            let mut buffer = String::new();
            let found = normalise_host(raw.as_bytes(), &mut buffer).map(|h| (h.name, h.port));
            assert_eq!(found, expected, "{raw}");
        }
    }
}
