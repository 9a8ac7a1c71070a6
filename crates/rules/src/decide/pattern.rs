//! A regular expression over one value. Never: sets of patterns, and the texts a pattern is looked up by (`index`).

use memchr::memmem::Finder;
use regex::bytes::Regex;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Dot, Hir, HirKind, Look, Repetition};

/// A pattern, anchored at both ends.
#[derive(Debug)]
pub struct Pattern {
    /// Its text says everything, flags too, so that it can be built again inside a set.
    pub regex: Regex,
    /// The pattern is this text with any line around it: searching a long value for a text is ten times cheaper.
    around: Option<Box<Finder<'static>>>,
}

impl Pattern {
    pub fn of(regex: Regex) -> Pattern {
        let tree = parse(regex.as_str());
        let around = tree.as_ref().and_then(around).map(|text| Box::new(Finder::new(text).into_owned()));
        Pattern { around, regex }
    }

    pub fn is_match(&self, value: &[u8]) -> bool {
        match &self.around {
            Some(text) => text.find(value).is_some() && is_line(value),
            None => self.regex.is_match(value),
        }
    }
}

/// The syntax tree; `None` for a pattern that does not compile either.
pub(super) fn parse(pattern: &str) -> Option<Hir> {
    ParserBuilder::new().utf8(false).build().parse(pattern).ok()
}

/// The text of a pattern `.*text.*`.
fn around(tree: &Hir) -> Option<&[u8]> {
    let HirKind::Concat(parts) = tree.kind() else { return None };
    match parts.iter().map(Hir::kind).collect::<Vec<_>>()[..] {
        [
            HirKind::Look(Look::Start),
            HirKind::Repetition(before),
            HirKind::Literal(text),
            HirKind::Repetition(after),
            HirKind::Look(Look::End),
        ] if [before, after].into_iter().all(is_any_line) => Some(&text.0),
        _ => None,
    }
}

/// Whether it is `.*`.
fn is_any_line(repeated: &Repetition) -> bool {
    (repeated.min, repeated.max) == (0, None) && *repeated.sub == Hir::dot(Dot::AnyCharExceptLF)
}

/// Whether `.*` matches it.
fn is_line(value: &[u8]) -> bool {
    memchr::memchr(b'\n', value).is_none() && std::str::from_utf8(value).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_anything_around_it_is_searched_for() {
        for (pattern, searched) in [
            (".*ab.*", true),
            ("(?:.*)ab.*?", true),
            (".*a|b.*", false),
            (".*ab", false),
            (".*(ab).*", false),
            (".+ab.*", false),
            ("(?s).*ab.*", false),
            ("(?-u:.*)ab.*", false),
            ("(?i).*ab.*", false),
            ("(?i).*12.*", true),
            ("[^\\n]*ab.*", true),
            (".{0,9}ab.*", false),
        ] {
            let regex = Regex::new(&format!(r"\A(?:{pattern})\z")).unwrap();
            let read = Pattern::of(regex.clone());
            assert_eq!(read.around.is_some(), searched, "{pattern}");
            for value in [
                &b"ab"[..],
                b"xaby",
                b"a",
                b"",
                b"x\nab",
                b"ab\n",
                b"ab\xff",
                b"\xc3ab",
                b"\xc3\xa4ab",
                b"AB",
                b"x12",
                b"ab\r",
            ] {
                assert_eq!(read.is_match(value), regex.is_match(value), "{pattern} {}", value.escape_ascii());
            }
        }
    }
}
