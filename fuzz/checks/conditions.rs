//! Any text as the condition of a rule, and any values of what it may look at: the program and the oracle agree.
//! A zero byte ends the condition, the header's value, the path, and the query.

use super::shared::{ask, compiled, set};
use crate::oracle::Oracle;
use crate::oracle::program::decided;
use graygate_rules::documents::Raw;
use http::HeaderValue;

pub fn check(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0);
    let Some(condition) = parts.next().and_then(|part| str::from_utf8(part).ok()) else { return };
    let mut ask = ask();
    if let Some(value) = parts.next().and_then(|part| HeaderValue::from_bytes(part).ok()) {
        ask.headers.insert("x-a", value);
    }
    if let Some(path) = parts.next() {
        ask.path = path.to_vec();
    }
    ask.query = parts.next().and_then(|part| String::from_utf8(part.to_vec()).ok());
    let set = set(&[("rules/x", Raw::yaml(format!("version: gray\nwhen: {condition}").as_str()))]);
    let compiled = compiled(&set);
    // What only the compiler can refuse, a list that is not there for instance, the oracle does not know.
    if compiled.problems.is_empty() {
        let mut oracle = Oracle::default();
        oracle.take(&set);
        assert_eq!(oracle.judge(&ask), decided(&compiled, &ask));
    }
}
