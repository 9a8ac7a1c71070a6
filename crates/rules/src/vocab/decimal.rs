//! Numbers as operators and clients write them, compared exactly at any size.

use std::cmp::Ordering;

/// An optional sign, digits and an optional fraction, borrowed from its text; nothing is rounded or allocated.
#[derive(Clone, Copy, Debug)]
pub struct Decimal<'a> {
    negative: bool,
    /// Without leading zeros.
    whole: &'a [u8],
    /// Without trailing zeros.
    fraction: &'a [u8],
}

impl<'a> Decimal<'a> {
    pub fn parse(text: &'a [u8]) -> Option<Decimal<'a>> {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let (whole, fraction) = match digits.iter().position(|b| *b == b'.') {
            Some(dot) => {
                let (whole, rest) = digits.split_at_checked(dot)?;
                let fraction = rest.get(1..)?;
                (!fraction.is_empty()).then_some((whole, fraction))?
            }
            None => (digits, &b""[..]),
        };
        let all_digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let leading = whole.iter().take_while(|b| **b == b'0').count();
        let trailing = fraction.iter().rev().take_while(|b| **b == b'0').count();
        let whole = whole.get(leading..)?;
        let fraction = fraction.get(..fraction.len() - trailing)?;
        let zero = whole.is_empty() && fraction.is_empty();
        Some(Decimal { negative: negative && !zero, whole, fraction })
    }

    /// The whole part, as far as it can be counted: of two numbers the smaller never has the larger one.
    pub fn whole(&self) -> i128 {
        let digit = |b: &u8| i128::from(b - b'0');
        let magnitude = match self.whole.len() {
            0..=38 => self.whole.iter().fold(0, |sum, b| sum * 10 + digit(b)),
            _ => i128::MAX,
        };
        if self.negative { -magnitude } else { magnitude }
    }

    pub fn compare(&self, other: &Decimal<'_>) -> Ordering {
        let magnitude = self
            .whole
            .len()
            .cmp(&other.whole.len())
            .then_with(|| self.whole.cmp(other.whole))
            // Without trailing zeros, comparing fractions byte by byte is comparing their values.
            .then_with(|| self.fraction.cmp(other.fraction));
        match (self.negative, other.negative) {
            (false, false) => magnitude,
            (true, true) => magnitude.reverse(),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

/// How a number is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    AtLeast,
    Above,
    AtMost,
    Below,
}

impl Comparison {
    /// Whether a value that compares like this to the operand is accepted.
    pub fn accepts(self, ordering: Ordering) -> bool {
        match self {
            Comparison::AtLeast => ordering.is_ge(),
            Comparison::Above => ordering.is_gt(),
            Comparison::AtMost => ordering.is_le(),
            Comparison::Below => ordering.is_lt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_exactly() {
        use Ordering::*;
        for (a, b, expected) in [
            ("1", "2", Some(Less)),
            ("10", "9", Some(Greater)),
            ("-10", "9", Some(Less)),
            ("-10", "-9", Some(Less)),
            ("007", "7.0", Some(Equal)),
            ("-0", "+0.00", Some(Equal)),
            ("1.5", "1.50", Some(Equal)),
            ("1.05", "1.5", Some(Less)),
            ("0.1", "0.09", Some(Greater)),
            ("123456789012345678901234567890", "123456789012345678901234567891", Some(Less)),
            ("", "1", None),
            ("1e3", "1", None),
            ("1.", "1", None),
            (".5", "1", None),
            ("--1", "1", None),
            (" 1", "1", None),
            ("0x1", "1", None),
        ] {
            let found =
                Decimal::parse(a.as_bytes()).and_then(|a| Some(a.compare(&Decimal::parse(b.as_bytes())?)));
            assert_eq!(found, expected, "{a} {b}");
        }
    }
}
