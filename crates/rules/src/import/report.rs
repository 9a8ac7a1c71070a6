//! The parity report: what became of every rule of theirs.

use std::fmt;

use serde::Serialize;

/// How a rule of theirs and what was written for it compare.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The same requests get the same answerer.
    Same,
    /// It is written; what differs.
    Close(String),
    /// Nothing is written; why.
    LeftOut(String),
}

impl Verdict {
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Same => "same",
            Verdict::Close(_) => "close",
            Verdict::LeftOut(_) => "left out",
        }
    }

    pub fn because(&self) -> Option<&str> {
        match self {
            Verdict::Same => None,
            Verdict::Close(text) | Verdict::LeftOut(text) => Some(text),
        }
    }
}

/// One rule of theirs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// In their words, with its place.
    pub rule: String,
    pub verdict: Verdict,
    /// The documents that stand for it.
    pub documents: Vec<String>,
}

#[derive(Clone, Default, Debug)]
pub struct Report {
    /// In the order of the text.
    pub findings: Vec<Finding>,
}

/// How many findings have each verdict.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Debug)]
pub struct Sums {
    pub same: usize,
    pub close: usize,
    pub left_out: usize,
}

impl Report {
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for finding in &self.findings {
            match finding.verdict {
                Verdict::Same => sums.same += 1,
                Verdict::Close(_) => sums.close += 1,
                Verdict::LeftOut(_) => sums.left_out += 1,
            }
        }
        sums
    }

    pub fn to_json(&self) -> serde_json::Value {
        let findings: Vec<_> = self
            .findings
            .iter()
            .map(|finding| {
                serde_json::json!({
                    "rule": finding.rule,
                    "verdict": finding.verdict.word(),
                    "because": finding.verdict.because(),
                    "documents": finding.documents,
                })
            })
            .collect();
        serde_json::json!({"findings": findings, "sums": self.sums()})
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            write!(f, "{:<9} {}", finding.verdict.word(), finding.rule)?;
            if let Some(because) = finding.verdict.because() {
                write!(f, ": {because}")?;
            }
            match finding.documents.as_slice() {
                [] => writeln!(f)?,
                documents => writeln!(f, " [{}]", documents.join(", "))?,
            }
        }
        let Sums { same, close, left_out } = self.sums();
        writeln!(f, "{same} same, {close} close, {left_out} left out")
    }
}
