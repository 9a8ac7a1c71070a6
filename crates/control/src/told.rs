//! What is told in English all through the program, in Chinese: problems with their remedies, why a rule matched, why a plan
//! moved or waits, why something is refused, and what notices say.
//!
//! Owns: one table of sentences, each with places for figures and names, and finding the one that a text was made of. The
//! API and logs go on in English, which scripts read; pages, and notices of channels in Chinese, tell both. Never: what operators wrote themselves,
//! which stands between backticks and stays as it is. A sentence of the program that is missing here fails a test.

mod decisions;
mod documents;
mod plans;
mod refusals;

use std::sync::LazyLock;

use maud::{Markup, html};

use crate::report::Language;

/// English with `{}` for each place, and Chinese with the numbers of the places.
type Sentence = (&'static str, &'static str);

/// What stands between the parts of a text that was put together.
const JOINT: &str = "; ";
/// Places within places: a text is as deep as this.
const DEPTH: usize = 4;

/// All sentences; those with more words of their own first, so that the closest one is found.
static SENTENCES: LazyLock<Vec<(Vec<&'static str>, &'static str)>> = LazyLock::new(|| {
    let all = [documents::SENTENCES, decisions::SENTENCES, plans::SENTENCES, refusals::SENTENCES];
    let mut sentences: Vec<(Vec<&str>, &str)> = all
        .into_iter()
        .flatten()
        .map(|(english, chinese)| (english.split("{}").collect(), *chinese))
        .collect();
    sentences
        .sort_by_key(|(pieces, _)| std::cmp::Reverse(pieces.iter().map(|piece| piece.len()).sum::<usize>()));
    sentences
});

impl Language {
    /// A text of the program; none where it is someone's own, or in this language already.
    pub fn retold(self, text: &str) -> Option<String> {
        match self {
            Language::English => None,
            Language::Chinese => chinese(text, DEPTH),
        }
    }

    /// A text of the program in this language, as it is where it is someone's own.
    pub fn tell(self, text: &str) -> Markup {
        match self.retold(text) {
            Some(told) => html! { (told) },
            None if self == Language::English => html! { (text) },
            None => html! { span lang="en" { (text) } },
        }
    }
}

fn chinese(text: &str, depth: usize) -> Option<String> {
    if depth == 0 || text.is_empty() {
        return None;
    }
    let parts: Vec<&str> = text.split(JOINT).collect();
    let told: Vec<Option<String>> = parts.iter().map(|part| whole(part, depth)).collect();
    let is_any = told.iter().any(Option::is_some);
    // A sentence may have the joint within it, and then its parts are none.
    if told.iter().any(Option::is_none)
        && let Some((pieces, told)) = matching(text, depth)
        && (!is_any || pieces.iter().any(|piece| piece.contains(JOINT)))
    {
        return Some(told);
    }
    let told = told.into_iter().zip(parts).map(|(told, part)| told.unwrap_or_else(|| part.to_owned()));
    is_any.then(|| told.collect::<Vec<_>>().join("；"))
}

fn whole(text: &str, depth: usize) -> Option<String> {
    matching(text, depth).map(|(_, told)| told)
}

/// The sentence a text was made of, and the text in Chinese.
fn matching(text: &str, depth: usize) -> Option<(&'static [&'static str], String)> {
    SENTENCES.iter().find_map(|(pieces, chinese)| {
        let places = places(pieces, text)?;
        Some((pieces.as_slice(), fill(chinese, &places, depth)))
    })
}

/// What stands in the places of a sentence, if a text was made of it.
fn places<'t>(pieces: &[&str], text: &'t str) -> Option<Vec<&'t str>> {
    let (first, rest) = pieces.split_first()?;
    let mut left = text.strip_prefix(first)?;
    let mut found = Vec::with_capacity(rest.len());
    for (index, piece) in rest.iter().enumerate() {
        let is_last = index + 1 == rest.len();
        let at = match (is_last, piece.is_empty()) {
            (true, true) => left.len(),
            (true, false) => {
                left.len().checked_sub(piece.len()).filter(|at| left.get(*at..) == Some(piece))?
            }
            (false, _) => left.find(piece)?,
        };
        found.push(left.get(..at)?);
        left = left.get(at + piece.len()..)?;
    }
    left.is_empty().then_some(found)
}

/// Places between backticks are someone's own words; others may be words of the program.
fn fill(chinese: &str, places: &[&str], depth: usize) -> String {
    let mut told = chinese.to_owned();
    for (index, place) in places.iter().enumerate() {
        let mark = format!("{{{index}}}");
        let is_own = told.contains(&format!("`{mark}`"));
        let inner = if is_own { None } else { self::chinese(place, depth - 1) };
        told = told.replace(&mark, inner.as_deref().unwrap_or(place));
    }
    told
}

#[cfg(test)]
mod tests;
