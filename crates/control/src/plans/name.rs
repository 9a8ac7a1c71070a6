//! The name of a plan as documents have it.

use graygate_rules::documents::{DocumentId, Kind};

/// None where no document can have this name.
pub fn document_of(name: &str) -> Option<DocumentId> {
    DocumentId::of(Kind::Plan, name).filter(|id| !id.name.starts_with('.'))
}
