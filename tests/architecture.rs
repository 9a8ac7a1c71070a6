//! The map of the rooms, held against what the files really import.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, in lines without its tests.
const LINE_LIMIT: usize = 700;

/// Each room and the rooms it may use; a new arrow is a decision, and is drawn here and in `src/lib.rs`.
///
/// `config` reads the operator's text with the reader of `documents`, and fills the `Settings` of the rooms it names.
const ARROWS: [(&str, &[&str]); 14] = [
    ("vocab", &[]),
    ("documents", &["vocab"]),
    ("decide", &["vocab"]),
    ("compile", &["documents", "decide", "pools", "vocab"]),
    ("replay", &["decide", "vocab"]),
    ("sources", &["documents", "vocab"]),
    ("pools", &["vocab", "telemetry"]),
    ("live", &["compile", "decide", "pools", "documents", "telemetry", "vocab"]),
    ("proxy", &["live", "decide", "pools", "telemetry", "vocab"]),
    ("telemetry", &["vocab"]),
    ("admin", &["live", "compile", "documents", "telemetry", "vocab"]),
    ("echo", &["vocab"]),
    (
        "commands",
        &[
            "node",
            "config",
            "echo",
            "sources",
            "compile",
            "decide",
            "documents",
            "live",
            "pools",
            "proxy",
            "replay",
            "telemetry",
            "vocab",
        ],
    ),
    ("config", &["documents", "decide", "sources", "proxy", "telemetry", "admin", "live", "pools", "vocab"]),
];
/// Wiring: may use everything.
const WIRING: [&str; 1] = ["node"];

/// Words a room's code may not have, beyond the rooms it may not use.
const ABSENT: [(&str, &[&str]); 4] = [
    (
        "decide",
        &[
            "serde",
            "tokio",
            "pingora",
            "SystemTime",
            "Instant",
            "rand::",
            "Mutex",
            "RwLock",
            "std::fs",
            "std::net::Tcp",
        ],
    ),
    ("replay", &["tokio", "pingora", "std::fs", "SystemTime", "Instant", "rand::"]),
    ("documents", &["tokio", "pingora", "std::fs", "SystemTime", "Instant"]),
    ("compile", &["tokio", "pingora", "std::fs", "SystemTime", "Instant"]),
];

const BANNED_NAMES: [&str; 7] = ["manager", "helper", "util", "common", "info", "data", "process"];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The room a file is in; `None` for `lib.rs` and `main.rs`.
    fn room(&self) -> Option<&str> {
        let mut parts = self.path.components().map(|part| part.as_os_str().to_str().unwrap());
        let first = parts.next()?;
        parts.next().map(|_| first)
    }

    fn is_tests(&self) -> bool {
        let mut parts = self.path.components().map(|part| part.as_os_str().to_str().unwrap());
        parts.any(|part| part == "tests" || part == "tests.rs")
    }

    /// The lines before the tests, which stand last, without comments.
    fn code(&self) -> Vec<&str> {
        let end = self.text.find("#[cfg(test)]\nmod tests").unwrap_or(self.text.len());
        self.text[..end].lines().map(|line| line.split("//").next().unwrap_or_default()).collect()
    }

    /// What leads from this file's module to the top of the crate.
    fn way_up(&self) -> String {
        let names = self.path.with_extension("");
        let depth = names.components().count() - usize::from(names.ends_with("mod"));
        "super::".repeat(depth)
    }

    /// The rooms it names, as `crate::room` or inside `use crate::{...}`.
    fn used_rooms(&self) -> BTreeSet<String> {
        let code = self.code().join("\n").replace(&self.way_up(), "crate::");
        let mut found = BTreeSet::new();
        for behind in code.split("crate::").skip(1) {
            let group = match behind.strip_prefix('{') {
                Some(group) => top_level(group),
                None => vec![behind],
            };
            for item in group {
                let word = item.trim().split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap();
                found.insert(word.to_string());
            }
        }
        found
    }
}

/// The items of a braced import, without what stands in braces inside it.
fn top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&group[start..at]);
                return items;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.push(Source { path: path.strip_prefix(&root).unwrap().into(), text });
            }
        }
    }
    assert!(sources.len() > 20, "the sources are not where they are looked for");
    sources
}

fn check(rule: impl Fn(&Source) -> Vec<String>) {
    let broken: Vec<String> = sources()
        .iter()
        .flat_map(|source| rule(source).into_iter().map(|what| format!("{}: {what}", source.path.display())))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn rooms_use_only_what_the_map_allows() {
    let rooms: Vec<&str> = ARROWS.iter().map(|(room, _)| *room).chain(WIRING).collect();
    check(|source| {
        let Some(room) = source.room().filter(|room| !WIRING.contains(room)) else { return Vec::new() };
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else {
            return vec![format!("the room `{room}` is not on the map")];
        };
        if source.is_tests() {
            return Vec::new();
        }
        let used = source.used_rooms();
        let forbidden = used.iter().filter(|used| {
            rooms.contains(&used.as_str()) && used.as_str() != room && !allowed.contains(&used.as_str())
        });
        forbidden.map(|used| format!("`{room}` may not use `{used}`")).collect()
    });
}

#[test]
fn imports_are_found_in_every_spelling() {
    let text = "use crate::vocab::Name;\nuse crate::{decide::{self, Path}, pools};\nlet x = crate::live::y();\n\
                use super::super::proxy::Z;\nuse super::near;\n\
                // crate::sources\n#[cfg(test)]\nmod tests { use crate::admin; }";
    let source = Source { path: "room/file.rs".into(), text: text.into() };
    let found: Vec<String> = source.used_rooms().into_iter().collect();
    assert_eq!(found, ["decide", "live", "pools", "proxy", "vocab"]);
    assert_eq!(source.room(), Some("room"));
    assert_eq!(Source { path: "lib.rs".into(), text: String::new() }.room(), None);
}

#[test]
fn pure_rooms_have_no_clock_no_chance_and_no_locks() {
    check(|source| {
        let absent = ABSENT.iter().find(|(room, _)| Some(*room) == source.room() && !source.is_tests());
        let code = source.code().join("\n");
        let named =
            absent.into_iter().flat_map(|(_, words)| words.iter()).filter(|word| code.contains(**word));
        named.map(|word| format!("`{word}` has no place here")).collect()
    });
}

#[test]
fn every_room_says_what_it_is() {
    check(|source| {
        let file = source.path.file_name().unwrap();
        let door = file == "mod.rs" || file == "lib.rs";
        match door && !source.text.starts_with("//!") {
            true => vec!["a module's door begins with a `//!` header".into()],
            false => Vec::new(),
        }
    });
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        assert!(!path.is_dir() || path.join("mod.rs").is_file(), "{} has no mod.rs", path.display());
    }
}

#[test]
fn files_are_short_and_named_for_what_they_own() {
    check(|source| {
        let mut broken = Vec::new();
        let lines = source.code().len();
        if lines > LINE_LIMIT && !source.is_tests() {
            broken.push(format!("{lines} lines without tests, more than {LINE_LIMIT}"));
        }
        let names = source.path.with_extension("");
        for name in names.components().map(|part| part.as_os_str().to_str().unwrap()) {
            let plain = name.strip_suffix('s').unwrap_or(name);
            let numbered = name.len() > 1 && name.ends_with(|c: char| c.is_ascii_digit());
            if BANNED_NAMES.contains(&plain)
                || BANNED_NAMES.contains(&name)
                || name.starts_with("new_")
                || (numbered && name != "h2")
            {
                broken.push(format!("`{name}` says nothing about what the file owns"));
            }
        }
        broken
    });
}
