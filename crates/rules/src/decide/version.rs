//! Versions of requests, read and compared without a copy.
//!
//! The `semver` crate keeps a longer pre-release on the heap, which a decision may not use. What is written here is what
//! that crate does, for a version that borrows its text; a test holds the two against each other.

use std::cmp::Ordering;

use semver::{Comparator, Op, VersionReq};

/// A version with an optional leading `v`, whose missing parts read as 0. Build metadata says nothing about order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version<'v> {
    /// Major, minor, patch.
    pub numbers: [u64; 3],
    /// Empty for a release.
    pre: &'v str,
}

impl<'v> Version<'v> {
    pub fn read(value: &'v [u8]) -> Option<Version<'v>> {
        match read_plain(value) {
            Some(numbers) => Some(Version { numbers, pre: "" }),
            None => Version::read_whole(value),
        }
    }

    fn read_whole(value: &'v [u8]) -> Option<Version<'v>> {
        let text = std::str::from_utf8(value).ok()?;
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, build) = match text.split_once('+') {
            Some((text, build)) => (text, Some(build)),
            None => (text, None),
        };
        let (numbers, pre) = match text.split_once('-') {
            Some((numbers, pre)) => (numbers, Some(pre)),
            None => (text, None),
        };
        let numbered = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let is_pre =
            |part: &str| is_identifier(part) && !(numbered(part) && part.len() > 1 && part.starts_with('0'));
        let fits = pre.is_none_or(|pre| pre.split('.').all(is_pre))
            && build.is_none_or(|build| build.split('.').all(is_identifier));
        fits.then_some(Version { numbers: read_parts(numbers)?, pre: pre.unwrap_or_default() })
    }

    /// What orders versions roughly: their numbers, and of the same ones a pre-release before its release.
    pub fn age(&self) -> ([u64; 3], bool) {
        (self.numbers, self.pre.is_empty())
    }

    /// A pre-release is in a range only where the range names a pre-release of the same numbers.
    pub fn is_in(&self, range: &VersionReq) -> bool {
        let names_it = |comparator: &Comparator| {
            let written = [Some(comparator.major), comparator.minor, comparator.patch];
            written == self.numbers.map(Some) && !comparator.pre.is_empty()
        };
        range.comparators.iter().all(|comparator| self.satisfies(comparator))
            && (self.pre.is_empty() || range.comparators.iter().any(names_it))
    }

    fn satisfies(&self, comparator: &Comparator) -> bool {
        let order = self.compare(comparator);
        let Comparator { op, major, minor, patch, .. } = comparator;
        let [own_major, own_minor, _] = self.numbers;
        // A pre-release of something in `7.1` does not count as `7.1`.
        let equal = order.is_eq() && (patch.is_some() || self.pre.is_empty());
        match op {
            Op::Exact | Op::Wildcard => equal,
            Op::Greater => order.is_gt(),
            Op::GreaterEq => order.is_gt() || equal,
            Op::Less => order.is_lt(),
            Op::LessEq => order.is_lt() || equal,
            Op::Tilde => {
                (order.is_gt() || equal)
                    && own_major == *major
                    && minor.is_none_or(|minor| own_minor == minor)
            }
            // The left-most number that is not 0 stays.
            Op::Caret => {
                let same_minor = minor.is_none_or(|minor| own_minor == minor);
                let same_patch = self.numbers.last().copied() == *patch;
                let stays = match (major, minor, patch) {
                    (1.., ..) | (_, None, _) => true,
                    (0, Some(1..), _) | (0, _, None) => same_minor,
                    (0, Some(0), Some(_)) => same_minor && same_patch,
                };
                order.is_ge() && own_major == *major && stays
            }
            _ => false,
        }
    }

    /// How it compares to a comparator as far as that is written: a part left out equals every part.
    fn compare(&self, comparator: &Comparator) -> Ordering {
        let written = [Some(comparator.major), comparator.minor, comparator.patch];
        let numbers = self.numbers.iter().zip(written).map(|(own, other)| match other {
            Some(other) => own.cmp(&other),
            None => Ordering::Equal,
        });
        numbers.fold(Ordering::Equal, Ordering::then).then_with(|| match comparator.patch {
            None => Ordering::Equal,
            Some(_) => compare_pre(self.pre, &comparator.pre),
        })
    }
}

/// A release is above its pre-releases; numbers compare as numbers, and stand below words.
fn compare_pre(a: &str, b: &str) -> Ordering {
    if a.is_empty() || b.is_empty() {
        return a.is_empty().cmp(&b.is_empty());
    }
    let part = |a: &str, b: &str| {
        let numbered = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        match (numbered(a), numbered(b)) {
            (true, true) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
            (false, false) => a.cmp(b),
            (a, b) => b.cmp(&a),
        }
    };
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match part(a, b) {
                Ordering::Equal => {}
                order => return order,
            },
        }
    }
}

fn is_identifier(part: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !part.is_empty() && part.bytes().all(allowed)
}

/// What almost every version is, in one pass: one to three numbers, divided by dots. Whatever else is left to
/// [`Version::read_whole`].
fn read_plain(value: &[u8]) -> Option<[u64; 3]> {
    let value = value.strip_prefix(b"v").unwrap_or(value);
    let mut numbers = [0_u64; 3];
    let mut parts = numbers.iter_mut();
    for part in value.split(|byte| *byte == b'.') {
        let number = parts.next()?;
        if part.is_empty() || (part.len() > 1 && part.first() == Some(&b'0')) {
            return None;
        }
        for digit in part {
            let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
            *number = number.checked_mul(10)?.checked_add(digit.into())?;
        }
    }
    Some(numbers)
}

/// One to three numbers, divided by dots.
fn read_parts(numbers: &str) -> Option<[u64; 3]> {
    let mut parts = [0; 3];
    let mut written = numbers.split('.');
    for (i, part) in parts.iter_mut().enumerate() {
        match written.next() {
            Some(number) => *part = read_part(number)?,
            None if i > 0 => break,
            None => return None,
        }
    }
    written.next().is_none().then_some(parts)
}

/// Digits without leading zeros, as semantic versioning asks for.
fn read_part(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let plain = text == "0" || !text.starts_with('0');
    (digits && plain).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;

    #[test]
    fn versions_may_be_short() {
        for (text, expected) in [
            ("7", Some("7.0.0")),
            ("v7.1", Some("7.1.0")),
            ("7.0.1-beta.2", Some("7.0.1-beta.2")),
            ("7.0.1+build", Some("7.0.1")),
            ("7-rc1", Some("7.0.0-rc1")),
            ("7.0.1+20261122.a-b.007", Some("7.0.1")),
            ("7.0.1-rc-1+b", Some("7.0.1-rc-1")),
            ("7.0.1+", None),
            ("7.0.1+a..b", None),
            ("7.0.1+a_b", None),
            ("7.0.1-rc_1", None),
            ("7.0.1-01", None),
            ("1.2.3.4", None),
            ("", None),
            ("v", None),
            ("V7", None),
            ("07.1", None),
            ("1..2", None),
            ("1.2.", None),
            ("a.b", None),
            ("1.2.3-", None),
            ("99999999999999999999", None),
            (" 1", None),
        ] {
            assert_eq!(Version::read(text.as_bytes()).map(show).as_deref(), expected, "{text}");
        }
    }

    fn show(version: Version<'_>) -> String {
        let [major, minor, patch] = version.numbers;
        let dash = if version.pre.is_empty() { "" } else { "-" };
        format!("{major}.{minor}.{patch}{dash}{}", version.pre)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Every operator, written out in full or in part, means what it means to the crate.
        #[test]
        fn ranges_accept_what_the_crate_accepts(
            comparators in prop::collection::vec(
                (
                    select(vec!["", "=", ">", ">=", "<", "<=", "~", "^"]),
                    prop::collection::vec(0_u64..3, 1..4),
                    select(vec!["", "", "-0", "-1", "-10", "-a", "-a.1", "-a-very-long-one.2"]),
                ),
                1..3,
            ),
            numbers in prop::array::uniform3(0_u64..3),
            pre in select(vec!["", "", "-0", "-2", "-9", "-a", "-a.0", "-a.1.x", "-b", "-a-very-long-one.10"]),
        ) {
            let range = comparators.iter().map(|(op, numbers, pre)| {
                let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
                let pre = if numbers.len() == 3 { pre } else { "" };
                format!("{op}{}{pre}", numbers.join("."))
            });
            let range: VersionReq = range.collect::<Vec<_>>().join(", ").parse().unwrap();
            let [major, minor, patch] = numbers;
            let text = format!("{major}.{minor}.{patch}{pre}");
            let expected = range.matches(&text.parse::<semver::Version>().unwrap());
            prop_assert_eq!(Version::read(text.as_bytes()).unwrap().is_in(&range), expected, "{} {}", range, text);
        }
    }
}
