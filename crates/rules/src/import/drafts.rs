//! Documents being written, and what is said about them.

use std::collections::{BTreeMap, BTreeSet};

use super::Imported;
use super::report::{Finding, Report, Verdict};
use super::yaml::Yaml;
use crate::documents::{DocumentId, Kind, Raw, parse};

/// Longest name that is made out of theirs: document names have 128 bytes, and a suffix may follow.
const NAME_LIMIT: usize = 100;

/// What an import collects.
#[derive(Default, Debug)]
pub struct Drafts {
    documents: BTreeMap<DocumentId, Yaml>,
    report: Report,
}

impl Drafts {
    pub fn note(&mut self, rule: impl Into<String>, verdict: Verdict, documents: Vec<String>) {
        self.report.findings.push(Finding { rule: rule.into(), verdict, documents });
    }

    pub fn same(&mut self, rule: impl Into<String>, documents: Vec<String>) {
        self.note(rule, Verdict::Same, documents);
    }

    pub fn left_out(&mut self, rule: impl Into<String>, because: impl Into<String>) {
        self.note(rule, Verdict::LeftOut(because.into()), Vec::new());
    }

    /// `Same`, or `Close` with everything that differs.
    pub fn judged(&mut self, rule: impl Into<String>, differences: Vec<String>, documents: Vec<String>) {
        let verdict = match differences.is_empty() {
            true => Verdict::Same,
            false => Verdict::Close(differences.join("; ")),
        };
        self.note(rule, verdict, documents);
    }

    /// Writes a document under this name, or one like it that is free; says under which.
    pub fn add(&mut self, kind: Kind, name: &str, document: Yaml) -> String {
        let name = name_of(name);
        let free = |name: &str| DocumentId::of(kind, name).filter(|id| !self.documents.contains_key(id));
        let numbered = || (2..).find_map(|number| free(&format!("{name}-{number}")));
        match free(&name).or_else(numbered) {
            Some(id) => {
                let said = id.to_string();
                self.documents.insert(id, document);
                said
            }
            // No name is left only for kinds that take two parts, which no import writes.
            None => String::new(),
        }
    }

    /// The document of this kind and name, made by `make` where there is none yet.
    pub fn edit(&mut self, kind: Kind, name: &str, edit: impl FnOnce(&mut Yaml)) -> String {
        let Some(id) = DocumentId::of(kind, &name_of(name)) else { return String::new() };
        let said = id.to_string();
        edit(self.documents.entry(id).or_insert_with(Yaml::map));
        said
    }

    pub fn has(&self, kind: Kind, name: &str) -> bool {
        DocumentId::of(kind, &name_of(name)).is_some_and(|id| self.documents.contains_key(&id))
    }

    /// The documents that are well-formed; one that is not would be a mistake of ours, and is told like a left-out rule.
    pub fn finish(mut self) -> Imported {
        let mut documents = BTreeMap::new();
        let mut broken = BTreeSet::new();
        for (id, draft) in self.documents {
            let text = draft.document();
            match parse(&id, &Raw::yaml(text.as_str())) {
                Ok(_) => {
                    documents.insert(id, text);
                }
                Err(problems) => {
                    let why: Vec<_> = problems.iter().map(|problem| problem.to_string()).collect();
                    let verdict = Verdict::LeftOut(format!("it cannot be said here: {}", why.join("; ")));
                    broken.insert(id.to_string());
                    self.report.findings.push(Finding {
                        rule: id.to_string(),
                        verdict,
                        documents: Vec::new(),
                    });
                }
            }
        }
        for finding in &mut self.report.findings {
            if finding.documents.iter().any(|document| broken.contains(document)) {
                finding.documents.retain(|document| !broken.contains(document));
                if finding.documents.is_empty() {
                    finding.verdict =
                        Verdict::LeftOut("what would stand for it cannot be said here; see below".into());
                }
            }
        }
        Imported { documents, report: self.report }
    }
}

/// A name made of theirs: what a name may not have becomes `-`.
pub fn name_of(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = text.chars().map(|c| if fits(c) { c } else { '-' }).take(NAME_LIMIT).collect();
    match name.trim_matches('-') {
        "" => "unnamed".into(),
        name => name.into(),
    }
}
