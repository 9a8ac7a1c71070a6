//! What pages themselves refuse, in the words of the program.

use crate::error::Error;

pub fn not_a_revision(text: &str) -> Error {
    Error::BadRequest(format!("`{text}` is not a revision"))
}

pub fn not_a_time(text: &str) -> Error {
    Error::BadRequest(format!("`{text}` is not a time like `2026-11-22T08:00:00Z`"))
}

pub fn not_done_here(what: &str) -> Error {
    Error::BadRequest(format!("`{what}` is not what this page does"))
}

pub fn not_a_role(word: &str) -> Error {
    Error::Invalid(format!("`{word}` is not a role"))
}

pub fn no_such_action() -> Error {
    Error::BadRequest("there is no such action".to_owned())
}

pub fn name_not_typed(name: &str) -> Error {
    Error::Invalid(format!("type `{name}` to complete it"))
}

pub fn no_document_named() -> Error {
    Error::Invalid("name a document, such as `rules/x`".to_owned())
}
