//! Plain words: what the glossary gave up stays away, in code, comments and pages.
//!
//! A word is banned because a reader from elsewhere stumbles over it, or because two words stood for one idea. To ban one
//! more, add it here and mend what the test then names.

use std::path::Path;

use super::pages::root;

/// The word, in lower case, and what to say instead. Names in code count by their parts: `WardId` has `ward`.
const BANNED: [(&str, &str); 15] = [
    ("anew", "again"),
    ("dear", "expensive"),
    ("anybody", "the noun: any client, any caller"),
    ("everybody", "the noun: every user"),
    ("nobody", "the noun: no client, no instance"),
    ("somebody", "the noun: a client, another process"),
    ("whoever", "the noun: the caller that, the user who"),
    ("worn", "stale of an index, label of an instance"),
    ("wear", "carry a label"),
    ("wears", "carries a label"),
    ("ward", "ejection group"),
    ("homes", "Maglev table"),
    ("desk", "listener handoff"),
    ("seat", "held lease"),
    ("door", "module interface, entry point"),
];

/// Where plain words are held.
const HELD: [&str; 24] = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "Makefile",
    "docs",
    "conf",
    ".ci",
    "crates/rules/src",
    "crates/proxy/src",
    "crates/telemetry/src",
    "crates/store/src",
    "crates/testing/src",
    "src",
    "benches",
    "loadtest/runner",
    "loadtest/instructions.rs",
    "loadtest/bare-pingora.rs",
    "loadtest/bench-table.rs",
    "crates/judge",
    "crates/control",
    "crates/messages",
    "tests",
    "fuzz/targets",
    "fuzz/checks",
];
/// Says which words are banned.
const EXCEPT: [&str; 2] = ["docs/glossary.md", "tests/it/readme/words.rs"];

/// The words of a text in lower case: `WardId` and `ward_id` are `ward` and `id`.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in line.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase()) {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().unwrap().extend(c.to_lowercase());
        }
        before = c;
    }
    words
}

fn check(path: &Path, found: &mut Vec<String>) {
    let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_string();
    if EXCEPT.contains(&name.as_str()) {
        return;
    }
    if path.is_dir() {
        let mut entries: Vec<_> =
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| check(entry, found));
        return;
    }
    // A picture is no text.
    let Ok(text) = std::fs::read_to_string(path) else { return };
    for (i, line) in text.lines().enumerate() {
        for word in words(line) {
            if let Some((_, instead)) = BANNED.iter().find(|(banned, _)| *banned == word) {
                found.push(format!("{name}:{}: `{word}`; say {instead}", i + 1));
            }
        }
    }
}

#[test]
fn banned_words_stay_away() {
    let mut found = Vec::new();
    HELD.iter().for_each(|name| check(&root().join(name), &mut found));
    assert!(found.is_empty(), "{}", found.join("\n"));
}
