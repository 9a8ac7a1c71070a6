//! The target of a request line: where its authority is, and what of it the framework's URIs cannot hold.
//!
//! Browsers and tools send bytes that RFC 3986 has no place for, in queries above all, and other servers pass them on.
//! The framework refuses them in its own words before anything is counted; here they are percent-encoded first, which
//! every reader of a URI takes for the same. Never: decides what a path means.

use std::fmt::Write as _;
use std::ops::Range;

/// Longest target: the framework's URIs count their bytes in sixteen bits.
pub const LIMIT: usize = 60_000;

/// The authority of a target that is a whole URL.
pub fn authority(target: &[u8]) -> Option<&[u8]> {
    let after = |scheme: &[u8]| {
        target.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme))?;
        target.get(scheme.len()..)
    };
    let rest = after(b"http://").or_else(|| after(b"https://"))?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    rest.get(..end)
}

/// The head with its target percent-encoded; `None` where it can stay as it is, as nearly always.
pub fn escaped(head: &[u8]) -> Option<Vec<u8>> {
    let range = place(head)?;
    let target = head.get(range.clone())?;
    if target.iter().all(|b| b.is_ascii() && !matches!(b, b'<' | b'>' | b'"' | b'`')) {
        return None;
    }
    let local = authority(target).map_or(0, |authority| target.len() - behind(target, authority).len());
    let (kept, local) = target.split_at_checked(local)?;
    let written = encoded(local);
    let escaped = [head.get(..range.start)?, kept, written.as_bytes(), head.get(range.end..)?].concat();
    (escaped != head).then_some(escaped)
}

/// What becomes of a `:path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    AsItIs,
    Escaped(String),
    /// HTTP/1 could not even say it.
    Refused,
}

/// Holds a `:path` against what HTTP/1 takes.
pub fn over_http2(path: &[u8]) -> Target {
    let begins = path.first() == Some(&b'/') || path == b"*";
    // The framework would cut it at a `#` in silence.
    if !begins || path.iter().any(|b| matches!(b, 0..=b' ' | b'#' | 0x7f)) {
        return Target::Refused;
    }
    if path.iter().all(|b| b.is_ascii() && !matches!(b, b'<' | b'>' | b'"' | b'`')) {
        return Target::AsItIs;
    }
    let encoded = encoded(path);
    match encoded.as_bytes() == path {
        true => Target::AsItIs,
        false if encoded.len() > LIMIT => Target::Refused,
        false => Target::Escaped(encoded),
    }
}

/// A path and its query, percent-encoded where the framework needs it.
fn encoded(local: &[u8]) -> String {
    let mut written = String::new();
    let mut is_query = false;
    for piece in local.utf8_chunks() {
        for c in piece.valid().chars() {
            is_query |= c == '?';
            match is_allowed(c, is_query) {
                true => written.push(c),
                false => escape(c as u8, &mut written),
            }
        }
        piece.invalid().iter().for_each(|byte| escape(*byte, &mut written));
    }
    written
}

/// Between the first two spaces.
fn place(head: &[u8]) -> Option<Range<usize>> {
    let start = memchr::memchr(b' ', head)? + 1;
    let length = memchr::memchr2(b' ', b'\r', head.get(start..)?)?;
    Some(start..start + length)
}

/// What of a target stands behind its authority.
fn behind<'t>(target: &'t [u8], authority: &[u8]) -> &'t [u8] {
    let scheme = target.iter().position(|b| *b == b':').map_or(0, |at| at + "://".len());
    target.get(scheme + authority.len()..).unwrap_or_default()
}

/// As the URL standard's path and query states have it, but for quotation marks in paths, which the framework takes.
fn is_allowed(c: char, is_query: bool) -> bool {
    match c {
        '<' | '>' => false,
        '"' => !is_query,
        '`' => is_query,
        _ => true,
    }
}

fn escape(byte: u8, written: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(written, "%{byte:02X}");
}

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;

    use super::*;

    #[test]
    fn every_path_is_one_the_framework_takes_whole_or_refused() {
        for byte in 0..=u8::MAX {
            for path in [&[b'/', byte][..], &[b'/', b'a', byte, b'b'], &[b'/', b'?', byte], &[byte]] {
                let taken = match over_http2(path) {
                    Target::AsItIs => path.to_vec(),
                    Target::Escaped(escaped) => escaped.into_bytes(),
                    Target::Refused => continue,
                };
                let parsed =
                    PathAndQuery::try_from(&taken[..]).map(|parsed| parsed.as_str().as_bytes().to_vec());
                assert_eq!(parsed.ok(), Some(taken), "{}", path.escape_ascii());
            }
        }
        for (path, expected) in [
            (&b"/x?q=<b>"[..], Target::Escaped("/x?q=%3Cb%3E".into())),
            (b"/<a>`?\"`", Target::Escaped("/%3Ca%3E%60?%22`".into())),
            (b"/\xff?\xc3\xa4\xc3", Target::Escaped("/%FF?\u{e4}%C3".into())),
            ("/\u{7528}\"?`".as_bytes(), Target::AsItIs),
            (b"*", Target::AsItIs),
            (b"", Target::Refused),
            (b"a", Target::Refused),
            (b"http://a/", Target::Refused),
            (b"/a b", Target::Refused),
            (b"/?#", Target::Refused),
        ] {
            assert_eq!(over_http2(path), expected, "{}", path.escape_ascii());
        }
        let long = [&b"/?"[..], &[b'<'; LIMIT / 2]].concat();
        assert_eq!(over_http2(&long), Target::Refused);
    }
}
