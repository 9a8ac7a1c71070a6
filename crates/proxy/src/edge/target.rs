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
    let escaped = [head.get(..range.start)?, kept, written.as_bytes(), head.get(range.end..)?].concat();
    (escaped != head).then_some(escaped)
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
