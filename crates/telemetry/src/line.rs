//! JSON, as far as a line of the access log has it.
//!
//! Answers: how are texts, numbers, times and addresses written? Every request has a line, and a serialiser that could
//! write anything costs more than the rest of the request's own work: what lines are made of is written directly.
//! Never: which keys a line has.

use std::cell::Cell;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// A moment as it is written, with milliseconds.
type Moment = [u8; 24];

/// A line under way.
pub struct Line<'o>(pub &'o mut Vec<u8>);

impl Line<'_> {
    /// What is JSON already: keys, and what stands between values.
    pub fn raw(&mut self, json: &str) -> &mut Self {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    /// What may be absent.
    pub fn some<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.0.extend_from_slice(b"null"),
        }
    }

    /// A text: what is not UTF-8 in it is written as the replacement character.
    pub fn text(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        if is_plain(text) {
            self.0.push(b'"');
            self.0.extend_from_slice(text);
            self.0.push(b'"');
        } else {
            // Writing to a vector cannot fail.
            let _ = serde_json::to_writer(&mut *self.0, &*String::from_utf8_lossy(text));
        }
    }

    pub fn number(&mut self, number: impl Into<u64>) {
        let mut left = number.into();
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
            first -= 1;
            if left == 0 {
                break;
            }
        }
        self.0.extend_from_slice(digits.get(first..).unwrap_or_default());
    }

    /// Whole microseconds as milliseconds, with one decimal at least.
    pub fn millis(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.number(micros / 1000);
        let decimals = [100, 10, 1].map(|place| b'0' + (micros / place % 10) as u8);
        let shown = match decimals {
            [_, b'0', b'0'] => 1,
            [_, _, b'0'] => 2,
            _ => 3,
        };
        self.0.push(b'.');
        self.0.extend(decimals.iter().take(shown));
    }

    /// A moment in UTC: `2025-03-09T07:05:01.042Z`.
    pub fn time(&mut self, time: SystemTime) {
        self.0.push(b'"');
        self.0.extend_from_slice(&moment(time));
        self.0.push(b'"');
    }

    pub fn address(&mut self, address: IpAddr) {
        self.0.push(b'"');
        match address {
            IpAddr::V4(address) => {
                let [first, rest @ ..] = address.octets();
                self.number(first);
                for byte in rest {
                    self.0.push(b'.');
                    self.number(byte);
                }
            }
            // Writing to a vector cannot fail.
            IpAddr::V6(address) => drop(write!(self.0, "{address}")),
        }
        self.0.push(b'"');
    }
}

/// Whether a text stands in JSON as it is, byte for byte.
fn is_plain(text: &[u8]) -> bool {
    let is_odd = |byte: u8| !matches!(byte, b' '..=b'~') | (byte == b'"') | (byte == b'\\');
    // Without a way out in between, so that many bytes are looked at at a time.
    !text.iter().fold(false, |has_odd, byte| has_odd | is_odd(*byte))
}

/// A moment in digits. The requests of one second share all but their milliseconds, so that the last one is remembered.
fn moment(time: SystemTime) -> Moment {
    thread_local! {
        static LAST: Cell<Option<(u64, Moment)>> = const { Cell::new(None) };
    }
    let Ok(since) = time.duration_since(UNIX_EPOCH) else { return digits(time) };
    match LAST.get() {
        Some((second, mut written)) if second == since.as_secs() => {
            place(&mut written, MILLIS, since.subsec_millis());
            written
        }
        _ => {
            let written = digits(time);
            LAST.set(Some((since.as_secs(), written)));
            written
        }
    }
}

/// Where milliseconds stand.
const MILLIS: std::ops::Range<usize> = 20..23;

/// Written digit by digit: a format description read for every line costs more than the rest of the line.
fn digits(time: SystemTime) -> Moment {
    let time = OffsetDateTime::from(time);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    place(&mut text, 0..4, time.year().unsigned_abs());
    place(&mut text, 5..7, u32::from(u8::from(time.month())));
    place(&mut text, 8..10, u32::from(time.day()));
    place(&mut text, 11..13, u32::from(time.hour()));
    place(&mut text, 14..16, u32::from(time.minute()));
    place(&mut text, 17..19, u32::from(time.second()));
    place(&mut text, MILLIS, u32::from(time.millisecond()));
    text
}

fn place(text: &mut Moment, place: std::ops::Range<usize>, mut number: u32) {
    for digit in text.get_mut(place).into_iter().flatten().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Line<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Line(&mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn texts_stay_one_text_and_are_as_the_library_writes_them() {
        for (bytes, expected) in [
            (&b"a\"},{\"status\":200"[..], r#""a\"},{\"status\":200""#),
            (b"two\nlines\r\x00", r#""two\nlines\r\u0000""#),
            ("用户".as_bytes(), "\"用户\""),
            (b"\xff/x", "\"\u{fffd}/x\""),
            (b"", r#""""#),
        ] {
            assert_eq!(written(|line| line.text(bytes)), expected);
        }
        for byte in 0..=u8::MAX {
            let text = [b"sixteen bytes before it, and then "[..].to_vec(), vec![byte]].concat();
            let library = serde_json::to_string(&String::from_utf8_lossy(&text)).unwrap();
            assert_eq!(written(|line| line.text(&text)), library);
        }
    }

    #[test]
    fn numbers_are_as_the_library_writes_them() {
        let digits = (0..64).map(|shift| 1_u64 << shift);
        for number in digits.flat_map(|number| [number, number - 1, u64::MAX - number]) {
            assert_eq!(written(|line| line.number(number)), number.to_string());
        }
        for micros in (0..3_000).chain([10_000, 12_345_678, 999_999_999_999]) {
            let library = serde_json::to_string(&(micros as f64 / 1e3)).unwrap();
            assert_eq!(written(|line| line.millis(Duration::from_micros(micros))), library);
        }
        assert_eq!(written(|line| line.millis(Duration::from_nanos(12_345_678))), "12.345");
    }

    #[test]
    fn addresses_are_as_the_library_writes_them() {
        for address in ["0.0.0.0", "203.0.113.7", "255.255.255.255", "::", "2001:db8::1", "::ffff:1.2.3.4"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(written(|line| line.address(address)), format!("\"{address}\""));
        }
    }

    #[test]
    fn moments_are_told_apart_whatever_was_written_before() {
        let at = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        let second = 1_741_503_901_000;
        for (time, expected) in [
            (at(second + 42), "2025-03-09T07:05:01.042Z"),
            (at(second + 43), "2025-03-09T07:05:01.043Z"),
            (at(second), "2025-03-09T07:05:01.000Z"),
            (at(second + 1_999), "2025-03-09T07:05:02.999Z"),
            (at(second + 7), "2025-03-09T07:05:01.007Z"),
            (at(0), "1970-01-01T00:00:00.000Z"),
            (UNIX_EPOCH - Duration::from_millis(1), "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(written(|line| line.time(time)), format!("\"{expected}\""));
        }
    }
}
