//! What is wrong with a document or a setting, where, and the help that goes with it.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::kind::DocumentId;

/// What has something wrong with it; ordered as its text is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Place {
    Document(DocumentId),
    /// A file, or a key of a store, that is no document.
    Stray(String),
    /// A file of the program's own settings.
    Settings(String),
    /// A whole source of documents: `directory` or `etcd`.
    Source(&'static str),
}

impl Place {
    /// The pieces its text is made of.
    fn pieces(&self) -> [&str; 3] {
        match self {
            Place::Document(id) => [id.kind.folder(), "/", &id.name],
            Place::Stray(text) | Place::Settings(text) => [text, "", ""],
            Place::Source(text) => [text, "", ""],
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Place::Document(_) => 0,
            Place::Stray(_) => 1,
            Place::Settings(_) => 2,
            Place::Source(_) => 3,
        }
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Place) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Place) -> Ordering {
        let (own, others) = (self.pieces(), other.pieces());
        let by_text =
            own.iter().flat_map(|piece| piece.bytes()).cmp(others.iter().flat_map(|piece| piece.bytes()));
        // Two places of one text are still two.
        by_text.then_with(|| self.rank().cmp(&other.rank()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces().iter().try_for_each(|piece| f.write_str(piece))
    }
}

/// A bare text is the name of a file of settings; everything else says what it is.
impl From<String> for Place {
    fn from(file: String) -> Place {
        Place::Settings(file)
    }
}

impl From<&str> for Place {
    fn from(file: &str) -> Place {
        Place::Settings(file.to_owned())
    }
}

impl From<&DocumentId> for Place {
    fn from(id: &DocumentId) -> Place {
        Place::Document(id.clone())
    }
}

/// Something an operator has to mend: which document, where in it, what, and how.
///
/// Messages are lower case, without a full stop, with the operator's text in backticks. The line takes no part in
/// comparisons: a problem that an edit above it has moved is the same problem.
#[derive(Clone, Debug)]
pub struct Problem {
    pub place: Place,
    /// Where the field is written, from 1; `None` where no single line is to blame.
    pub line: Option<usize>,
    /// The field's path (`when.all[0].attribute`); empty where it concerns the whole document.
    pub field: String,
    pub message: String,
    /// What to do about it; empty where the message says it all.
    pub help: String,
}

impl Problem {
    /// A problem of a place as a whole, or of what is no text with lines.
    pub fn at(
        place: impl Into<Place>,
        field: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        let (place, field) = (place.into(), field.into());
        Problem { place, line: None, field, message: message.into(), help: help.into() }
    }

    /// The document's identity (`rules/30-typo`), a stray's path, a file of settings, or a source.
    pub fn document(&self) -> String {
        self.place.to_string()
    }

    fn key(&self) -> (&Place, &str, &str, &str) {
        (&self.place, &self.field, &self.message, &self.help)
    }

    /// Message and help as one sentence, for places that carry a single text.
    pub fn sentence(&self) -> String {
        match self.help.is_empty() {
            true => self.message.clone(),
            false => format!("{}; {}", self.message, self.help),
        }
    }
}

impl PartialEq for Problem {
    fn eq(&self, other: &Problem) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Problem {}

impl PartialOrd for Problem {
    fn partial_cmp(&self, other: &Problem) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Problem {
    fn cmp(&self, other: &Problem) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Hash for Problem {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.place)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        f.write_str(" ")?;
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
