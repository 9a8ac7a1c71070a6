//! Patterns built before: building one takes longer than everything else the oracle does.

use std::cell::RefCell;
use std::collections::HashMap;

use regex::{Regex, bytes};

thread_local! {
    static TEXT: RefCell<HashMap<String, Regex>> = RefCell::default();
    static BYTES: RefCell<HashMap<String, bytes::Regex>> = RefCell::default();
}

pub fn pattern(text: &str) -> Regex {
    TEXT.with_borrow_mut(|known| {
        known.entry(text.into()).or_insert_with(|| Regex::new(text).unwrap()).clone()
    })
}

pub fn bytes_pattern(text: &str) -> bytes::Regex {
    BYTES.with_borrow_mut(|known| {
        known.entry(text.into()).or_insert_with(|| bytes::Regex::new(text).unwrap()).clone()
    })
}
