//! Shares, buckets, sizes and durations, as operators write them.

use std::fmt;
use std::time::Duration;

/// Buckets a user can fall into; a share of 100 percent is all of them.
const BUCKETS: u16 = 10_000;

/// A part of the users, in hundredths of a percent: 0 to 10,000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Share(u16);

impl Share {
    pub const ZERO: Share = Share(0);
    pub const ALL: Share = Share(BUCKETS);

    /// Reads a plain decimal number from 0 to 100 with up to two decimals: `10`, `2.5`, `0.01`.
    pub fn parse(text: &str) -> Option<Share> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        // Trailing zeros say nothing, so `2.500` is still two decimals of information.
        let fraction = fraction.trim_end_matches('0');
        if !digits(whole) || fraction.len() > 2 || !(fraction.is_empty() || digits(fraction)) {
            return None;
        }
        let hundredths: u32 = format!("{fraction:0<2}").parse().ok()?;
        let total = whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(hundredths)?;
        u16::try_from(total).ok().filter(|&total| total <= BUCKETS).map(Share)
    }

    /// Reads a share with a percent sign, as the process file and ejection limits write it: `50%`.
    pub fn parse_percent(text: &str) -> Option<Share> {
        Share::parse(text.strip_suffix('%')?)
    }

    /// Hundredths of a percent, 0 to 10,000.
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    /// So many hundredths of a percent; more than all of them are all.
    pub fn from_hundredths(hundredths: u16) -> Share {
        Share(hundredths.min(BUCKETS))
    }

    /// This share of `count`, rounded down.
    pub fn of(self, count: usize) -> usize {
        count.saturating_mul(self.0 as usize) / BUCKETS as usize
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 100.0)
    }
}

/// Where a user's hash falls: 0 to 9,999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Bucket(u16);

impl Bucket {
    /// `(h * 10000) >> 32`, the contract's formula: integers only, so every language agrees.
    pub fn from_hash(hash: u32) -> Bucket {
        Bucket(((u64::from(hash) * u64::from(BUCKETS)) >> 32) as u16)
    }

    pub fn number(self) -> u16 {
        self.0
    }
}

/// A number of bytes: `512`, `64KiB`, `10MiB`, `1GiB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ByteSize(pub u64);

impl ByteSize {
    const UNITS: [(&'static str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

    pub fn parse(text: &str) -> Option<ByteSize> {
        let (number, scale) = Self::UNITS
            .iter()
            .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)))
            .unwrap_or((text, 1));
        parse_digits(number)?.checked_mul(scale).map(ByteSize)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fit = Self::UNITS.iter().find(|(_, scale)| self.0 >= *scale && self.0.is_multiple_of(*scale));
        match fit {
            Some((unit, scale)) => write!(f, "{}{unit}", self.0 / scale),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// Longest duration accepted: far beyond any use, and safe to add to a clock.
const DURATION_LIMIT: Duration = Duration::from_secs(3650 * 86_400);

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads `250ms`, `5s`, `2m`, `1h`, `30d`; `None` when it is none of these or longer than ten years.
pub fn parse_duration(text: &str) -> Option<Duration> {
    // `ms` stands before `m` and `s`, so the longest unit is taken first.
    DURATION_UNITS
        .iter()
        .find_map(|(unit, millis)| {
            let number = parse_digits(text.strip_suffix(unit)?)?;
            number.checked_mul(*millis).map(Duration::from_millis)
        })
        .filter(|duration| *duration <= DURATION_LIMIT)
}

/// Prints a duration the way it is read.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let fit = DURATION_UNITS
        .iter()
        .rev()
        .find(|(_, scale)| millis > 0 && millis.is_multiple_of(u128::from(*scale)));
    match fit {
        Some((unit, scale)) => format!("{}{unit}", millis / u128::from(*scale)),
        None => format!("{millis}ms"),
    }
}

/// So many requests in a stretch of time: `100/s`, `600/m`, `1000/h`, `5000/d`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    count: u32,
    /// The unit's letter; one of [`Rate::UNITS`].
    unit: &'static str,
    per: Duration,
}

impl Rate {
    /// A request a nanosecond: more than any clock here could tell apart.
    const LIMIT: u64 = 1_000_000_000;
    const UNITS: [&'static str; 4] = ["s", "m", "h", "d"];

    pub fn parse(text: &str) -> Option<Rate> {
        let (count, unit) = text.split_once('/')?;
        let unit = Self::UNITS.into_iter().find(|known| *known == unit)?;
        let millis = DURATION_UNITS.iter().find(|(known, _)| *known == unit)?.1;
        let count = parse_digits(count).filter(|count| (1..=Self::LIMIT).contains(count))?;
        Some(Rate { count: u32::try_from(count).ok()?, unit, per: Duration::from_millis(millis) })
    }

    /// Requests in one unit of time.
    pub fn count(self) -> u32 {
        self.count
    }

    /// The distance of two requests at this rate.
    pub fn interval(self) -> Duration {
        self.per / self.count.max(1)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit)
    }
}

fn parse_digits(text: &str) -> Option<u64> {
    // `u64::from_str` would accept a leading `+`.
    text.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_two_decimals_at_most() {
        for (text, expected) in [
            ("0", Some(0)),
            ("10", Some(1000)),
            ("2.5", Some(250)),
            ("0.01", Some(1)),
            ("100", Some(10_000)),
            ("100.00", Some(10_000)),
            ("100.01", None),
            ("0.001", None),
            ("-1", None),
            ("+1", None),
            ("1e1", None),
            ("", None),
            (".5", None),
            ("5.", Some(500)),
        ] {
            assert_eq!(Share::parse(text).map(Share::hundredths), expected, "{text}");
        }
        assert_eq!(Share::parse_percent("50%"), Share::parse("50"));
        assert_eq!(Share::parse_percent("50"), None);
        assert_eq!(Share::parse("2.5").map(|s| s.to_string()).as_deref(), Some("2.5"));
    }

    #[test]
    fn rates_read_and_print() {
        for (text, nanos) in [
            ("100/s", Some(10_000_000)),
            ("1/s", Some(1_000_000_000)),
            ("600/m", Some(100_000_000)),
            ("1000/h", Some(3_600_000_000)),
            ("1/d", Some(86_400_000_000_000)),
            ("1000000000/s", Some(1)),
            ("1000000001/s", None),
            ("0/s", None),
            ("100", None),
            ("100/ms", None),
            ("100/w", None),
            ("1.5/s", None),
            ("-1/s", None),
            ("/s", None),
            ("100/", None),
        ] {
            let read = Rate::parse(text);
            assert_eq!(read.map(|rate| rate.interval().as_nanos()), nanos, "{text}");
            if let Some(rate) = read {
                assert_eq!(rate.to_string(), text);
            }
        }
    }

    #[test]
    fn durations_and_sizes_read_and_print() {
        for (text, millis) in [
            ("250ms", Some(250)),
            ("5s", Some(5_000)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("30d", Some(2_592_000_000)),
            ("5", None),
            ("s", None),
            ("-5s", None),
            ("1.5s", None),
            ("99999999999d", None),
        ] {
            let read = parse_duration(text);
            assert_eq!(read.map(|d| d.as_millis()), millis, "{text}");
            if let Some(duration) = read {
                assert_eq!(format_duration(duration), text);
            }
        }
        for (text, bytes) in [
            ("64KiB", Some(65_536)),
            ("10MiB", Some(10 << 20)),
            ("1GiB", Some(1 << 30)),
            ("512", Some(512)),
            ("512B", Some(512)),
            ("10MB", None),
            ("KiB", None),
        ] {
            assert_eq!(ByteSize::parse(text).map(|s| s.0), bytes, "{text}");
        }
        assert_eq!(ByteSize(65_536).to_string(), "64KiB");
    }
}
