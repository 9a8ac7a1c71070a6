//! What operators write, as types: one file a kind.
//!
//! Answers: is this document well-formed, and what does it say? Unknown fields, unknown operators and wrong types
//! are problems with a place; nothing is skipped in silence. Owns: the raw [`DocumentSet`], the parsed
//! [`Document`], and the reader of operators' text. Never: IO, references between documents (the compiler's work).

mod assets;
mod closure;
mod condition;
mod discover;
pub mod edit;
pub mod fields;
mod instance;
mod lanes;
mod limit;
mod list;
mod mirror;
pub mod owner;
pub mod plan;
mod print;
mod route;
mod rule;
mod service;
mod set;
pub mod text;
pub mod write;

pub use assets::Assets;
pub use closure::Closure;
pub use condition::{Condition, Match, Operator, Pattern, read_attribute};
pub use discover::{Discover, Weighing};
pub use instance::Instance;
pub use lanes::MessageLanes;
pub use list::ListPart;
pub use owner::Owner;
pub use plan::Plan;
pub use route::{HostPattern, PathPattern, PathRewrite, Redirect, Rewrite, Route, Target, TimeoutOverrides};
pub use rule::{Outcome, Rule};
pub use service::{
    Balance, Fallback, HealthCheck, HealthCheckKind, IssueCookie, Outlier, Pin, Protocol, Service, Tls,
};
pub use set::{Body, Difference, DocumentSet, Documents, Format, Raw};

use crate::vocab::Problem;
pub use crate::vocab::{DocumentId, Kind};
use fields::{Field, Notes};
use text::Syntax;

/// A well-formed document.
#[derive(Clone, Debug)]
pub enum Document {
    Route(Box<Route>),
    Service(Box<Service>),
    Rule(Rule),
    List(ListPart),
    Instance(Instance),
    Plan(Box<Plan>),
    Closure(Closure),
    Messages(MessageLanes),
}

/// Reads one document; the error holds everything that is wrong with it.
pub fn parse(id: &DocumentId, raw: &Raw) -> Result<Document, Vec<Problem>> {
    let notes = Notes::of(id);
    let document = match id.kind {
        Kind::List => read_list(raw, &notes),
        _ => read_tree(id, raw, &notes),
    };
    match document {
        Some(document) if notes.is_empty() => Ok(document),
        _ => Err(notes.into_problems()),
    }
}

const NOT_UTF8: (&str, &str) = ("the text is not UTF-8", "save it as UTF-8");

fn read_list(raw: &Raw, notes: &Notes) -> Option<Document> {
    let part = ListPart::read(&raw.body);
    if part.is_none() {
        notes.note("", NOT_UTF8.0, NOT_UTF8.1);
    }
    part.map(Document::List)
}

fn read_tree(id: &DocumentId, raw: &Raw, notes: &Notes) -> Option<Document> {
    let Ok(text) = std::str::from_utf8(&raw.body) else {
        notes.note("", NOT_UTF8.0, NOT_UTF8.1);
        return None;
    };
    let syntax = match raw.format {
        Format::Json => Syntax::Json,
        Format::Yaml | Format::List => Syntax::Yaml,
    };
    let node = match text::parse(text, syntax) {
        Ok(node) => node,
        Err(error) => {
            notes.note_on(Some(error.line), "", error.message, "");
            return None;
        }
    };
    let root = Field::root(&node, notes);
    Some(match id.kind {
        Kind::Route => Document::Route(Box::new(Route::read(&root)?)),
        Kind::Service => Document::Service(Box::new(Service::read(&root)?)),
        Kind::Rule => Document::Rule(Rule::read(&root)?),
        Kind::Instance => Document::Instance(Instance::read(&root)?),
        Kind::Plan => Document::Plan(Box::new(Plan::read(id, &root)?)),
        Kind::Closure => Document::Closure(Closure::read(id, &root)?),
        Kind::Messages => Document::Messages(MessageLanes::read(&root)?),
        Kind::List => return None,
    })
}

#[cfg(test)]
mod tests;
