//! What is wrong with a document or a setting, and the help that goes with it.

use std::fmt;

/// Something an operator has to mend: which document, where in it, what, and how.
///
/// Messages are lower case, without a full stop, with the operator's text in backticks.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Problem {
    /// The document's identity (`rules/30-typo`), a file's path, or a setting's file.
    pub document: String,
    /// The field's path (`when.all[0].attribute`); empty where it concerns the whole document.
    pub field: String,
    pub message: String,
    /// What to do about it; empty where the message says it all.
    pub help: String,
}

impl Problem {
    /// Message and help as one sentence, for places that carry a single text.
    pub fn sentence(&self) -> String {
        match self.help.is_empty() {
            true => self.message.clone(),
            false => format!("{}; {}", self.message, self.help),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.document)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.sentence())
    }
}

/// The known word nearest to a misspelt one, if it is near enough to be meant.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Above a third of the letters a suggestion is a guess, and a wrong guess misleads.
    let reach = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_near() {
        let known = ["attribute", "all", "any", "not", "equals"];
        for (word, expected) in
            [("atribute", Some("attribute")), ("equal", Some("equals")), ("al", Some("all")), ("zzz", None)]
        {
            assert_eq!(did_you_mean(word, known), expected, "{word}");
        }
    }
}
