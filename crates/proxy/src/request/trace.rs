//! What joins everything behind the edge: the request's id, and its W3C trace context where it came without a good one.

use std::cell::RefCell;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use rand::rngs::SmallRng;
use rand::{RngExt as _, make_rng};

use super::head::RequestHead;
use graygate_rules::decide::text;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A whole `traceparent` of version 00; later ones may go on behind it.
const LENGTH: usize = 55;

/// Ids of requests only have to differ; what may not be guessed is drawn from the system's chance.
pub fn draw() -> u128 {
    thread_local! {
        static DICE: RefCell<SmallRng> = RefCell::new(make_rng());
    }
    DICE.with_borrow_mut(|dice| dice.random())
}

/// A context for a request that comes without a good one; `None` leaves what it has alone. It is not sampled: nothing
/// records here, and a service that does decides for itself.
pub fn fresh(head: &impl RequestHead, draw: impl Fn() -> u128) -> Option<HeaderValue> {
    if is_good(head) {
        return None;
    }
    // All zeros would be no context.
    let (trace, parent) = (hex::<32>(draw().max(1)), hex::<16>((draw() >> 64).max(1)));
    let text = [b"00-", &trace[..], b"-", &parent[..], b"-00"].concat();
    HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
}

/// Gives the upstream's request its context. The `tracestate` belongs to its `traceparent`, and goes with a bad one.
pub fn set(request: &mut impl RequestHead, context: HeaderValue) {
    request.remove(&TRACESTATE);
    request.set(TRACEPARENT.clone(), context);
}

/// The request's id, made where it has none, so that rules can hash it and the upstream can log it.
pub fn request_id(request: &mut impl RequestHead) -> HeaderValue {
    if let Some(id) = request.shared(&REQUEST_ID).filter(|id| !id.is_empty()) {
        return id;
    }
    let id = hex::<32>(draw());
    let id = HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("none"));
    request.set(REQUEST_ID, id.clone());
    id
}

/// Gives a request the id it was decided with.
pub fn set_request_id(request: &mut impl RequestHead, id: &HeaderValue) {
    if request.value(&REQUEST_ID).is_none_or(<[u8]>::is_empty) {
        request.set(REQUEST_ID, id.clone());
    }
}

/// The last `N` hexadecimal digits of a number.
pub fn hex<const N: usize>(number: u128) -> [u8; N] {
    let mut digits = [b'0'; N];
    for (shift, places) in (0..u128::BITS).step_by(32).zip(digits.rchunks_mut(8)) {
        let eight = eight_digits((number >> shift) as u32);
        if let Some(last) = eight.get(eight.len() - places.len()..) {
            places.copy_from_slice(last);
        }
    }
    digits
}

/// A number's digits, all at once: each to a byte of its own, then what it takes from there to its letter.
fn eight_digits(number: u32) -> [u8; 8] {
    const LETTERS: u64 = (b'a' - b'0' - 10) as u64;
    let mut digits = u64::from(number);
    digits = (digits << 16 | digits) & 0x0000_ffff_0000_ffff;
    digits = (digits << 8 | digits) & 0x00ff_00ff_00ff_00ff;
    digits = (digits << 4 | digits) & 0x0f0f_0f0f_0f0f_0f0f;
    let above_nine = ((digits + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (digits + 0x3030_3030_3030_3030 + above_nine * LETTERS).to_be_bytes()
}

fn is_good(head: &impl RequestHead) -> bool {
    let mut lines = head.values(&TRACEPARENT);
    match (lines.next(), lines.next()) {
        (Some(line), None) => text(line).is_some_and(is_context),
        _ => false,
    }
}

fn is_context(text: &str) -> bool {
    let Some((context, more)) = text.split_at_checked(LENGTH) else { return false };
    let parts: Vec<&str> = context.split('-').collect();
    let [version, trace, parent, flags] = parts.as_slice() else { return false };
    let is_hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |text: &str, length| is_hex(text, length) && text.bytes().any(|b| b != b'0');
    let ends = more.is_empty() || (*version != "00" && more.starts_with('-'));
    ends && is_hex(version, 2)
        && *version != "ff"
        && is_id(trace, 32)
        && is_id(parent, 16)
        && is_hex(flags, 2)
}

#[cfg(test)]
mod tests {
    use pingora::http::RequestHeader;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn contexts_are_told_from_what_is_none() {
        let zeros = "0".repeat(32);
        let (upper, longer) = (GOOD.to_uppercase(), format!("{GOOD}-x"));
        let (later, invalid) = (format!("cc{}-what", &GOOD[2..]), format!("ff{}", &GOOD[2..]));
        let traceless = format!("00-{zeros}{}", &GOOD[35..]);
        for (text, expected) in [
            (GOOD, true),
            (&*later, true),
            (&*upper, false),
            (&*longer, false),
            (&*invalid, false),
            (&*traceless, false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false),
            (&GOOD[..54], false),
            ("", false),
            ("\u{fc}", false),
        ] {
            assert_eq!(is_context(text), expected, "{text}");
        }
    }

    #[test]
    fn hexadecimal_is_as_the_library_writes_it() {
        for number in [0, 1, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210, u128::MAX] {
            assert_eq!(String::from_utf8_lossy(&hex::<32>(number)), format!("{number:032x}"));
        }
        assert_eq!(hex::<4>(0xabcdef), *b"cdef");
        assert_eq!(hex::<33>(0xa), *b"00000000000000000000000000000000a");
    }

    #[test]
    fn a_bad_context_goes_with_its_state() {
        for (lines, kept) in [(&[GOOD][..], true), (&[], false), (&["x"], false), (&[GOOD, GOOD], false)] {
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            for line in lines {
                request.append_header(&TRACEPARENT, *line).unwrap();
            }
            request.insert_header(TRACESTATE, "a=b").unwrap();
            if let Some(context) = fresh(&request, || 1) {
                set(&mut request, context);
            }
            let fresh = format!("00-{:032x}-{:016x}-00", 1, 1);
            assert_eq!(request.headers[&TRACEPARENT], if kept { GOOD } else { &fresh });
            assert_eq!(request.headers.get_all(&TRACEPARENT).iter().count(), 1);
            assert_eq!(request.headers.contains_key(&TRACESTATE), kept);
        }
    }
}
