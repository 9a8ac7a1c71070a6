//! What is wrong with the documents, collected as the stages come across it.

use crate::documents::DocumentId;
use crate::vocab::Problem;

#[derive(Clone, Default, Debug)]
pub struct Findings(Vec<Problem>);

/// What is found in one document.
pub struct DocumentFindings<'f> {
    findings: &'f mut Findings,
    document: &'f DocumentId,
}

impl Findings {
    pub fn of<'f>(&'f mut self, document: &'f DocumentId) -> DocumentFindings<'f> {
        DocumentFindings { findings: self, document }
    }

    /// Adds problems that say themselves where they are.
    pub fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        self.0.extend(problems);
    }

    /// Takes in what another found.
    pub fn join(&mut self, other: Findings) {
        self.0.extend(other.0);
    }

    /// All of them in the order of their documents, each once.
    pub fn into_problems(mut self) -> Vec<Problem> {
        self.0.sort();
        self.0.dedup();
        self.0
    }
}

impl DocumentFindings<'_> {
    pub fn add(&mut self, field: &str, message: impl Into<String>, help: impl Into<String>) {
        self.findings.0.push(Problem::at(self.document, field, message, help));
    }
}
