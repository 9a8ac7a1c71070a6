//! What the pages say, in English and Chinese.
//!
//! Owns: every word and sentence of the console, each with both languages side by side, so that one that is missing does
//! not compile. Never: what documents, plans and people are called; those are the operators' own words.

mod errors;
mod pages;
mod plans;
mod shell;

use crate::report::Language;

impl Language {
    pub const ALL: [Language; 2] = [Language::English, Language::Chinese];

    /// For the `lang` attribute.
    pub fn tag(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Chinese => "zh-Hans",
        }
    }

    /// The first of the browser's languages that there is; the order is that of their weights.
    pub fn accepted(header: &str) -> Language {
        let mut wanted: Vec<(f32, Language)> = header.split(',').filter_map(weighed).collect();
        wanted.sort_by(|left, right| right.0.total_cmp(&left.0));
        wanted.first().map_or(Language::English, |(_, lang)| *lang)
    }
}

fn weighed(item: &str) -> Option<(f32, Language)> {
    let mut parts = item.trim().split(';');
    let primary = parts.next()?.split(['-', '_']).next()?.to_ascii_lowercase();
    let weight = parts.find_map(|part| part.trim().strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
    Some((weight, Language::parse(&primary)?)).filter(|_| weight > 0.0)
}

/// Words without figures: a name, English, Chinese.
macro_rules! words {
    ($($name:ident $en:literal $zh:literal)*) => {
        impl $crate::report::Language {
            $(pub fn $name(self) -> &'static str {
                match self {
                    $crate::report::Language::English => $en,
                    $crate::report::Language::Chinese => $zh,
                }
            })*
        }
        #[cfg(test)]
        pub(super) const WORDS: &[(&str, &str, &str)] = &[$((stringify!($name), $en, $zh)),*];
    };
}

/// Sentences around figures and names.
macro_rules! sentences {
    ($($name:ident($($arg:ident),+) $en:literal $zh:literal)*) => {
        impl $crate::report::Language {
            $(#[allow(clippy::too_many_arguments, reason = "a sentence has as many places as it needs")]
            pub fn $name(self, $($arg: impl std::fmt::Display),+) -> String {
                match self {
                    $crate::report::Language::English => format!($en),
                    $crate::report::Language::Chinese => format!($zh),
                }
            })*
        }
        #[cfg(test)]
        pub(super) const SENTENCES: &[(&str, &str, &str)] = &[$((stringify!($name), $en, $zh)),*];
    };
}

use {sentences, words};

#[cfg(test)]
mod tests {
    use super::*;

    /// What is the same in both languages: names and units.
    const SAME: [&str; 3] = ["p50", "p99", "other_language"];

    #[test]
    fn every_word_is_there_in_both_languages() {
        let tables = [
            shell::WORDS,
            shell::SENTENCES,
            pages::WORDS,
            pages::SENTENCES,
            plans::WORDS,
            plans::SENTENCES,
            errors::WORDS,
            errors::SENTENCES,
        ];
        for (name, en, zh) in tables.into_iter().flatten().filter(|(name, ..)| !SAME.contains(name)) {
            let is_han = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
            assert!(is_han(zh), "`{name}` has no Chinese: {zh:?}");
            assert!(!en.is_empty() && !is_han(en), "`{name}` has no English: {en:?}");
        }
    }

    #[test]
    fn the_browser_chooses_by_weight() {
        for (header, lang) in [
            ("", Language::English),
            ("zh-CN,zh;q=0.9,en;q=0.8", Language::Chinese),
            ("en-GB, zh;q=0.5", Language::English),
            ("de, zh;q=0.5, en;q=0.4", Language::Chinese),
            ("zh;q=0, en;q=0.1", Language::English),
            ("fr", Language::English),
        ] {
            assert_eq!(Language::accepted(header), lang, "{header}");
        }
    }
}
