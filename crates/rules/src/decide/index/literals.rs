//! Texts that a value must have for a pattern to match it whole.
//!
//! Answers: under which texts can a pattern be looked up, so that it is asked only where it may match? Read from the
//! syntax tree, in the manner of trigram indexes for code search. Never: a text that is only likely.

use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::decide::pattern::parse;
use crate::decide::text::fold;

/// Texts of one set: beyond this they tell little, and each is a key.
const TEXTS: usize = 64;
/// Bytes of one text.
const TEXT_BYTES: usize = 64;
/// A class of more characters than this is any character.
const CLASS: usize = 4;
/// How often a repetition of a fixed number is written out.
const REPEATED: u32 = 4;
/// Sets of texts between a beginning and an end that are offered.
const INNER: usize = 6;

/// Each set holds the alternatives of which a matching value has one.
#[derive(Default, Debug)]
pub struct Texts {
    /// Whether the texts are those of values whose case is folded.
    pub fold: bool,
    /// The value is one of these.
    pub whole: Option<Set>,
    /// Whether each of `whole` matches. Not where case was folded, nor where the pattern asks what stands around a place:
    /// `$ab` has the text `ab`, and matches nothing.
    pub exact: bool,
    pub beginning: Option<Set>,
    pub end: Option<Set>,
    pub inner: Vec<Set>,
}

pub type Set = Box<[Box<[u8]>]>;

fn folds(pattern: &str) -> bool {
    pattern.starts_with("(?i)")
}

impl Texts {
    /// Those of an anchored pattern.
    pub fn read(pattern: &str) -> Texts {
        parse(pattern).map(|tree| Texts::of(&tree, folds(pattern))).unwrap_or_default()
    }

    fn of(tree: &Hir, fold: bool) -> Texts {
        let part = Part::of(tree, fold);
        let useful = |texts: Vec<Vec<u8>>| -> Option<Set> {
            (!texts.iter().any(Vec::is_empty)).then(|| texts.into_iter().map(Into::into).collect())
        };
        let mut inner: Vec<Set> = part.inner.into_iter().filter_map(useful).collect();
        inner.sort_by(|a, b| shortest(b).cmp(&shortest(a)).then(a.cmp(b)));
        inner.dedup();
        match part.whole {
            Some(texts) => {
                let whole = Some(texts.into_iter().map(Into::into).collect());
                Texts { fold, whole, exact: !fold && !looks_around(tree), ..Texts::default() }
            }
            None => {
                let (beginning, end) = (useful(part.beginning), useful(part.end));
                // Where a text stands tells more than that it is there.
                inner.retain(|set| beginning.as_ref() != Some(set) && end.as_ref() != Some(set));
                inner.truncate(INNER);
                Texts { fold, whole: None, exact: false, beginning, end, inner }
            }
        }
    }
}

/// Whether anything but the two anchors asks what stands around a place.
fn looks_around(tree: &Hir) -> bool {
    let HirKind::Concat(parts) = tree.kind() else { return true };
    let [first, between @ .., last] = parts.as_slice() else { return true };
    let anchored =
        matches!(first.kind(), HirKind::Look(Look::Start)) && matches!(last.kind(), HirKind::Look(Look::End));
    !anchored || between.iter().any(|part| !part.properties().look_set().is_empty())
}

/// Bytes of the shortest text: how much the set tells.
pub fn shortest(set: &[Box<[u8]>]) -> usize {
    set.iter().map(|text| text.len()).min().unwrap_or(0)
}

/// What is known of everything a part of a pattern matches. An empty text says nothing.
#[derive(Clone)]
struct Part {
    whole: Option<Vec<Vec<u8>>>,
    beginning: Vec<Vec<u8>>,
    end: Vec<Vec<u8>>,
    inner: Vec<Vec<Vec<u8>>>,
}

impl Part {
    fn unknown() -> Part {
        Part { whole: None, beginning: vec![Vec::new()], end: vec![Vec::new()], inner: Vec::new() }
    }

    fn whole(mut texts: Vec<Vec<u8>>) -> Part {
        texts.sort_unstable();
        texts.dedup();
        Part { whole: Some(texts.clone()), beginning: texts.clone(), end: texts, inner: Vec::new() }
    }

    fn of(tree: &Hir, folds: bool) -> Part {
        match tree.kind() {
            HirKind::Empty | HirKind::Look(_) => Part::whole(vec![Vec::new()]),
            HirKind::Literal(literal) => match (folds, literal.0.len() <= TEXT_BYTES) {
                (_, false) => Part::long(&literal.0, folds),
                (true, _) => folded(&literal.0).map_or_else(Part::unknown, |text| Part::whole(vec![text])),
                (false, _) => Part::whole(vec![literal.0.to_vec()]),
            },
            HirKind::Class(class) => characters(class, folds).map_or_else(Part::unknown, Part::whole),
            HirKind::Capture(capture) => Part::of(&capture.sub, folds),
            HirKind::Repetition(repeated) => {
                let part = Part::of(&repeated.sub, folds);
                match (repeated.min, repeated.max) {
                    (0, Some(1)) => part.or(Part::whole(vec![Vec::new()])),
                    (0, _) => Part::unknown(),
                    (min, max) if max == Some(min) && min <= REPEATED => {
                        (1..min).fold(part.clone(), |all, _| all.then(part.clone()))
                    }
                    _ => Part { whole: None, ..part },
                }
            }
            HirKind::Concat(parts) => {
                parts.iter().fold(Part::whole(vec![Vec::new()]), |all, part| all.then(Part::of(part, folds)))
            }
            HirKind::Alternation(parts) => {
                let parts = parts.iter().map(|part| Part::of(part, folds));
                parts.reduce(Part::or).unwrap_or_else(Part::unknown)
            }
        }
    }

    /// A text that is too long to be kept begins and ends with shorter ones.
    fn long(text: &[u8], folds: bool) -> Part {
        let cut = |piece: Option<&[u8]>| match (folds, piece) {
            (false, Some(piece)) => vec![piece.to_vec()],
            // A cut may go through a character, whose halves fold to nothing.
            (true, Some(piece)) if piece.is_ascii() => vec![piece.to_ascii_lowercase()],
            _ => vec![Vec::new()],
        };
        Part {
            whole: None,
            beginning: cut(text.get(..TEXT_BYTES)),
            end: cut(text.get(text.len().saturating_sub(TEXT_BYTES)..)),
            inner: Vec::new(),
        }
    }

    /// One behind the other.
    fn then(self, next: Part) -> Part {
        let both = self.whole.as_ref().zip(next.whole.as_ref());
        if let Some(texts) = both.and_then(|(a, b)| joined(a, b)) {
            return Part::whole(texts);
        }
        let mut inner = self.inner;
        inner.extend(next.inner);
        let beginning = match self.whole {
            Some(whole) => joined(&whole, &next.beginning).unwrap_or(whole),
            None => self.beginning,
        };
        let end = match next.whole {
            Some(whole) => joined(&self.end, &whole).unwrap_or_else(|| {
                inner.push(self.end.clone());
                whole
            }),
            // The end of the first can grow no more.
            None => {
                inner.push(joined(&self.end, &next.beginning).unwrap_or(self.end));
                next.end
            }
        };
        Part { whole: None, beginning, end, inner }
    }

    /// One or the other.
    fn or(self, other: Part) -> Part {
        let either = |a: &[Vec<u8>], b: &[Vec<u8>]| {
            let texts = [a, b].concat();
            (texts.len() <= TEXTS).then_some(texts)
        };
        let whole = self.whole.as_ref().zip(other.whole.as_ref()).and_then(|(a, b)| either(a, b));
        if let Some(texts) = whole {
            return Part::whole(texts);
        }
        let inner = either(&self.best(), &other.best());
        let unknown = || vec![Vec::new()];
        Part {
            whole: None,
            beginning: either(&self.beginning, &other.beginning).unwrap_or_else(unknown),
            end: either(&self.end, &other.end).unwrap_or_else(unknown),
            inner: inner.into_iter().collect(),
        }
    }

    /// The set that tells most.
    fn best(&self) -> Vec<Vec<u8>> {
        let least = |set: &[Vec<u8>]| set.iter().map(Vec::len).min().unwrap_or(0);
        let sets = self.inner.iter().chain([&self.beginning, &self.end]);
        sets.max_by_key(|set| least(set)).cloned().unwrap_or_default()
    }
}

/// Every text of the one before every text of the other; `None` where that is too many or too long.
fn joined(a: &[Vec<u8>], b: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let longest = |texts: &[Vec<u8>]| texts.iter().map(Vec::len).max().unwrap_or(0);
    let fits = a.len() * b.len() <= TEXTS && longest(a) + longest(b) <= TEXT_BYTES;
    fits.then(|| a.iter().flat_map(|a| b.iter().map(move |b| [&a[..], &b[..]].concat())).collect())
}

/// The characters of a small class, each as a text.
fn characters(class: &Class, folds: bool) -> Option<Vec<Vec<u8>>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    match class {
        Class::Unicode(class) => {
            for c in class.iter().flat_map(|range| range.start()..=range.end()) {
                let text = c.encode_utf8(&mut [0; 4]).as_bytes().to_vec();
                let text = if folds { folded(&text)? } else { text };
                if !found.contains(&text) {
                    found.push(text);
                }
                if found.len() > CLASS {
                    return None;
                }
            }
        }
        Class::Bytes(class) => {
            for byte in class.iter().flat_map(|range| range.start()..=range.end()) {
                let text = if folds { folded(&[byte])? } else { vec![byte] };
                if !found.contains(&text) {
                    found.push(text);
                }
                if found.len() > CLASS {
                    return None;
                }
            }
        }
    }
    // A class of nothing matches nothing; no key is needed for that.
    (!found.is_empty()).then_some(found)
}

/// `None` for bytes that are no text: how they fold depends on what stands beside them.
fn folded(text: &[u8]) -> Option<Vec<u8>> {
    std::str::from_utf8(text).ok()?;
    let mut out = Vec::new();
    fold(text, &mut out);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(set: &[Box<[u8]>]) -> String {
        set.iter().map(|text| text.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
    }

    fn texts(pattern: &str) -> Texts {
        Texts::read(pattern)
    }

    #[test]
    fn texts_are_those_that_every_match_has() {
        for (pattern, whole, beginning, end, inner) in [
            ("a|bc", "a bc", "", "", ""),
            ("(foo|bar)[12]?", "bar bar1 bar2 foo foo1 foo2", "", "", ""),
            ("t5|org-[a-z]+-5", "", "t5 org-", "t5 -5", ""),
            ("/(api|v1)/[a-z]+/\\d+", "", "/api/ /v1/", "", ""),
            (".*MicroMessenger/8\\..*", "", "", "", "MicroMessenger/8."),
            ("/p7/(?<org>[^/]+)/api", "", "/p7/", "/api", ""),
            ("[a-z]+", "", "", "", ""),
            (".*", "", "", "", ""),
            ("(ab){2}c+", "", "ababc", "c", ""),
            ("(?:x+y|z.*y)", "", "x z", "", ""),
            ("用户.*", "", "\\xe7\\x94\\xa8\\xe6\\x88\\xb7", "", ""),
        ] {
            let texts = texts(&format!(r"\A(?:{pattern})\z"));
            let told = |set: Option<&Set>| set.map_or(String::new(), |set| show(set));
            let found =
                [told(texts.whole.as_ref()), told(texts.beginning.as_ref()), told(texts.end.as_ref())];
            assert_eq!(found[..2], [whole, beginning], "{pattern}");
            if !end.is_empty() {
                assert_eq!(found[2], end, "{pattern}");
            }
            if !inner.is_empty() {
                assert_eq!(told(texts.inner.first()), inner, "{pattern}");
            }
        }
        let texts = texts(r"(?i)\A(?:ÄB[0-9]+Kelvin)\z");
        assert!(texts.fold && !texts.exact);
        for (pattern, exact) in
            [("ab|c", true), ("", true), ("$ab", false), ("a\\bb", false), ("x|$+ab", false), ("(^a)", false)]
        {
            assert_eq!(self::texts(&format!(r"\A(?:{pattern})\z")).exact, exact, "{pattern}");
        }
        assert_eq!(texts.beginning.as_deref().map(show), Some("\\xc3\\xa4b".into()));
        assert_eq!(texts.end.as_deref().map(show), Some("kelvin".into()));
    }
}
