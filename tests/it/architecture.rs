//! The map of the rooms, held against what the files really import.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, in lines without its tests.
const LINE_LIMIT: usize = 600;
/// Files that are longer still; the list may only shrink.
const LONGER: [&str; 0] = [];

/// Each room and the rooms it may use; a new arrow is a decision, and is drawn here and in `docs/inside/map.md`.
///
/// `config` reads the operator's text with the reader of `documents`, and fills the `Settings` of the rooms it names.
const ARROWS: &[(&str, &[&str])] = &[
    ("vocab", &[]),
    ("documents", &["vocab"]),
    ("decide", &["vocab"]),
    ("spec", &["vocab"]),
    ("compile", &["documents", "decide", "spec", "vocab"]),
    ("explain", &["decide", "vocab"]),
    ("replay", &["decide", "vocab"]),
    ("import", &["documents", "vocab"]),
    ("store", &["documents", "telemetry", "vocab"]),
    ("pools", &["spec", "vocab", "telemetry"]),
    ("limits", &["vocab"]),
    ("mirror", &["metrics", "pools", "spec", "vocab"]),
    (
        "live",
        &[
            "compile",
            "decide",
            "limits",
            "mirror",
            "pools",
            "spec",
            "documents",
            "metrics",
            "telemetry",
            "vocab",
        ],
    ),
    ("responses", &["vocab"]),
    ("edge", &["responses", "metrics", "telemetry", "vocab"]),
    ("observe", &["vocab"]),
    (
        "request",
        &[
            "live",
            "decide",
            "limits",
            "mirror",
            "observe",
            "pools",
            "spec",
            "edge",
            "responses",
            "metrics",
            "telemetry",
            "vocab",
        ],
    ),
    ("telemetry", &["vocab"]),
    ("metrics", &["telemetry", "vocab"]),
    ("admin", &["limits", "live", "explain", "compile", "documents", "metrics", "observe", "vocab"]),
    ("echo", &["vocab"]),
    (
        "commands",
        &[
            "node",
            "config",
            "control",
            "echo",
            "store",
            "compile",
            "decide",
            "documents",
            "explain",
            "edge",
            "judge",
            "messages",
            "replay",
            "import",
            "vocab",
        ],
    ),
    (
        "config",
        &["documents", "decide", "store", "edge", "request", "telemetry", "admin", "live", "pools", "vocab"],
    ),
    ("judge", &[]),
    ("messages", &["spec", "store", "telemetry", "vocab"]),
    (
        "control",
        &[
            "store",
            "judge",
            "documents",
            "compile",
            "explain",
            "replay",
            "import",
            "spec",
            "decide",
            "telemetry",
            "vocab",
        ],
    ),
];
/// Crates that are one room; in the others each folder is one.
const WHOLE: [&str; 6] = ["telemetry", "store", "judge", "control", "messages", "testing"];
/// Wiring: may use everything.
const WIRING: [&str; 1] = ["node"];

/// Words a room's code may not have, beyond the rooms it may not use.
const ABSENT: &[(&str, &[&str])] = &[
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
    ("import", &["tokio", "pingora", "std::fs", "SystemTime", "Instant", "rand::"]),
    ("replay", &["tokio", "pingora", "std::fs", "SystemTime", "Instant", "rand::"]),
    ("documents", &["tokio", "pingora", "std::fs", "SystemTime", "Instant"]),
    ("spec", &["tokio", "pingora", "rustls::", "std::fs", "SystemTime", "Instant"]),
    ("compile", &["tokio", "pingora", "rustls::", "std::fs", "SystemTime", "Instant"]),
    ("explain", &["tokio", "pingora", "std::fs", "SystemTime", "Instant"]),
];

/// Names that end with a digit because the protocol does.
const PROTOCOLS: [&str; 2] = ["h1", "h2"];
const BANNED_NAMES: [&str; 7] = ["manager", "helper", "util", "common", "info", "data", "process"];

struct Source {
    /// The crate it is in, in our short name of it; the root package is `graygate`.
    home: &'static str,
    /// From the crate's `src`.
    path: PathBuf,
    text: String,
}

impl Source {
    fn parts(&self) -> Vec<&str> {
        self.path.components().map(|part| part.as_os_str().to_str().unwrap()).collect()
    }

    /// The room a file is in, or is by itself; `None` for `lib.rs` and `main.rs` of a crate with several.
    fn room(&self) -> Option<&str> {
        if WHOLE.contains(&self.home) {
            return Some(self.home);
        }
        let first = *self.parts().first()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        Some(name).filter(|name| !["lib", "main"].contains(name))
    }

    fn is_tests(&self) -> bool {
        self.parts().iter().any(|part| *part == "tests" || *part == "tests.rs")
    }

    /// The lines before the tests, which stand last, without comments.
    fn code(&self) -> Vec<&str> {
        let end = self.text.find("#[cfg(test)]\nmod tests").unwrap_or(self.text.len());
        self.text[..end].lines().map(|line| line.split("//").next().unwrap_or_default()).collect()
    }

    /// Its module, from the top of the crate.
    fn module(&self) -> Vec<String> {
        let names = self.path.with_extension("");
        let names = names.components().map(|part| part.as_os_str().to_str().unwrap().to_string());
        names.filter(|name| !["mod", "lib", "main"].contains(&name.as_str())).collect()
    }

    /// Its code without texts in quotes and what says who may see an item, with every `super::` and `self::` spelt out from the top of the crate.
    fn absolute_code(&self) -> String {
        let module = self.module();
        let supers = regex::Regex::new(r"\b(super::)+").unwrap();
        let neither = regex::Regex::new("\"[^\"\n]*\"|pub\\(in [^)]*\\)").unwrap();
        let code = self.code().join("\n");
        let code = neither.replace_all(&code, "");
        let spelt = supers.replace_all(&code, |found: &regex::Captures<'_>| {
            let up = found[0].len() / "super::".len();
            let above: Vec<&str> =
                module.iter().take(module.len().saturating_sub(up)).map(String::as_str).collect();
            ["crate"].into_iter().chain(above).map(|part| format!("{part}::")).collect::<String>()
        });
        let own = ["crate"].into_iter().chain(module.iter().map(String::as_str));
        let own: String = own.map(|part| format!("{part}::")).collect();
        regex::Regex::new(r"\bself::").unwrap().replace_all(&spelt, own.as_str()).into_owned()
    }

    /// Where its room begins: the modules that all its files are under.
    fn room_module(&self) -> Vec<String> {
        let depth = usize::from(!WHOLE.contains(&self.home));
        self.module().into_iter().take(depth).collect()
    }

    /// The modules it names, from the top of the crate: what stands behind `crate::`, and in a folder's interface, what it
    /// takes from its own files.
    fn named_modules(&self) -> Vec<Vec<String>> {
        let code = self.absolute_code();
        let mut named = paths_behind(&code, "crate::");
        let from_own = paths_behind(&code, "use ").into_iter().map(|path| [self.module(), path].concat());
        named.extend(from_own);
        named
    }

    /// The rooms it names, as `crate::room`, `graygate_crate::room`, or inside braces behind either.
    fn used_rooms(&self) -> BTreeSet<String> {
        let code = self.absolute_code();
        let mut used = BTreeSet::new();
        if !WHOLE.contains(&self.home) {
            used.extend(named_behind(&code, "crate::"));
        }
        for (name, _) in CRATES {
            let spelt = format!("graygate_{name}");
            if WHOLE.contains(&name) && code.contains(&spelt) {
                used.insert(name.to_string());
            }
            used.extend(named_behind(&code, &format!("{spelt}::")));
        }
        used
    }
}

/// The first word of each path behind `start`, inside braces too.
fn named_behind(code: &str, start: &str) -> BTreeSet<String> {
    paths_behind(code, start).into_iter().filter_map(|path| path.into_iter().next()).collect()
}

/// Every path behind `start`, those inside braces one by one.
fn paths_behind(code: &str, start: &str) -> Vec<Vec<String>> {
    code.split(start).skip(1).flat_map(paths).collect()
}

/// The paths a text begins with: several where they stand in braces.
fn paths(text: &str) -> Vec<Vec<String>> {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        return top_level(group).into_iter().flat_map(paths).collect();
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    match rest.strip_prefix("::") {
        Some(rest) => paths(rest).into_iter().map(|path| [vec![word.to_string()], path].concat()).collect(),
        None => vec![vec![word.to_string()]],
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

/// Every crate by its short name, with the folder of its sources.
const CRATES: [(&str, &str); 8] = [
    ("graygate", "src"),
    ("rules", "crates/rules/src"),
    ("judge", "crates/judge/src"),
    ("telemetry", "crates/telemetry/src"),
    ("store", "crates/store/src"),
    ("proxy", "crates/proxy/src"),
    ("control", "crates/control/src"),
    ("messages", "crates/messages/src"),
];

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for (home, folder) in CRATES {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&path).unwrap();
                    sources.push(Source { home, path: path.strip_prefix(&root).unwrap().into(), text });
                }
            }
        }
    }
    assert!(sources.len() > 100, "the sources are not where they are looked for");
    sources
}

fn check(rule: impl Fn(&Source) -> Vec<String>) {
    let broken: Vec<String> = sources()
        .iter()
        .flat_map(|source| {
            rule(source).into_iter().map(|what| format!("{} {}: {what}", source.home, source.path.display()))
        })
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

/// A file, by its module, and those of its room that it uses.
type Uses = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

/// The files of each room, with what each uses of the others: a path means the deepest file on its way.
fn uses_by_room(sources: &[Source]) -> BTreeMap<String, Uses> {
    let sources: Vec<&Source> = sources.iter().filter(|source| !source.is_tests()).collect();
    let mut rooms: BTreeMap<String, Uses> = BTreeMap::new();
    for source in &sources {
        let Some(room) = source.room() else { continue };
        let of_room = sources.iter().filter(|other| other.home == source.home && other.room() == Some(room));
        let files: BTreeSet<Vec<String>> = of_room.map(|other| other.module()).collect();
        let floor = source.room_module().len();
        let used = source.named_modules().into_iter().filter_map(|path| {
            let lengths = (floor..=path.len()).rev();
            lengths.map(|length| path[..length].to_vec()).find(|module| files.contains(module))
        });
        let used = used.filter(|module| *module != source.module()).collect();
        rooms.entry(room.into()).or_default().insert(source.module(), used);
    }
    rooms
}

/// The files that can be reached from themselves.
fn in_rings(uses: &Uses) -> Vec<String> {
    let reaches_itself = |file: &Vec<String>| {
        let mut reached: BTreeSet<&Vec<String>> = BTreeSet::new();
        let mut next = vec![file];
        while let Some(at) = next.pop() {
            next.extend(uses.get(at).into_iter().flatten().filter(|used| reached.insert(used)));
        }
        reached.contains(file)
    };
    uses.keys().filter(|file| reaches_itself(file)).map(|file| file.join("::")).collect()
}

#[test]
fn files_of_a_room_use_each_other_one_way() {
    for (room, uses) in uses_by_room(&sources()) {
        let rings = in_rings(&uses);
        assert!(rings.is_empty(), "`{room}` has a ring among {rings:?}");
    }
}

#[test]
fn rings_are_found_in_folders_and_through_doors() {
    let ring = |files: &[(&str, &str)]| {
        let file =
            |(path, text): &(&str, &str)| Source { home: "rules", path: path.into(), text: (*text).into() };
        let sources: Vec<Source> = files.iter().map(file).collect();
        in_rings(&uses_by_room(&sources)["room"])
    };
    for (files, expected) in [
        (
            vec![
                ("room/a.rs", "use super::b::B;"),
                ("room/b.rs", "use super::c::{self, C};"),
                ("room/c.rs", ""),
            ],
            vec![],
        ),
        (
            vec![("room/a.rs", "use super::b::B;"), ("room/b.rs", "fn f() { crate::room::a::g() }")],
            vec!["room::a", "room::b"],
        ),
        (
            vec![
                ("room/deep/a.rs", "use super::super::b::B;"),
                ("room/deep/c.rs", "use crate::{room::{deep::a::A, b}, other};"),
                ("room/b.rs", "use super::deep::c::C;"),
            ],
            vec!["room::b", "room::deep::a", "room::deep::c"],
        ),
        (
            vec![("room/mod.rs", "mod a;\npub use a::A;"), ("room/a.rs", "use super::helping;")],
            vec!["room", "room::a"],
        ),
        (
            vec![("room/mod.rs", "mod a;\npub use self::a::A;"), ("room/a.rs", "use super::helping;")],
            vec!["room", "room::a"],
        ),
        (
            vec![("room/mod.rs", "mod a;\npub use a::A;"), ("room/a.rs", "pub(in crate::room) fn f() {}")],
            vec![],
        ),
        (
            vec![
                ("room/mod.rs", "mod a;\nmod b;\npub use a::A;"),
                ("room/a.rs", "use super::b::B;"),
                ("room/b.rs", ""),
            ],
            vec![],
        ),
    ] {
        assert_eq!(ring(&files), expected, "{files:?}");
    }
}

#[test]
fn imports_are_found_in_every_spelling() {
    let source = |path: &str, text: &str| Source { home: "rules", path: path.into(), text: text.into() };
    let text = "use graygate_rules::vocab::Name;\nuse crate::{decide::{self, Path}, pools};\nlet x = graygate_store::y();\n\
                use super::super::proxy::Z;\nuse super::near;\n\
                // graygate_telemetry\n#[cfg(test)]\nmod tests { use crate::admin; }";
    let file = source("room/file.rs", text);
    let found = file.used_rooms();
    for room in ["decide", "pools", "proxy", "store", "vocab"] {
        assert!(found.contains(room), "{room} in {found:?}");
    }
    assert!(!found.contains("admin") && !found.contains("telemetry"), "{found:?}");
    assert_eq!(file.room(), Some("room"));
    assert_eq!(source("lib.rs", "").room(), None);
    assert_eq!(source("leaf.rs", "").room(), Some("leaf"));
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
        let interface = file == "mod.rs" || file == "lib.rs";
        match interface && !source.text.starts_with("//!") {
            true => vec!["a module's interface begins with a `//!` header".into()],
            false => Vec::new(),
        }
    });
}

#[test]
fn files_are_short_and_named_for_what_they_own() {
    check(|source| {
        let mut broken = Vec::new();
        let lines = source.code().len();
        let may_be_longer = LONGER.iter().any(|longer| source.path.ends_with(longer));
        if lines > LINE_LIMIT && !source.is_tests() && !may_be_longer {
            broken.push(format!("{lines} lines without tests, more than {LINE_LIMIT}"));
        }
        let names = source.path.with_extension("");
        for name in names.components().map(|part| part.as_os_str().to_str().unwrap()) {
            let plain = name.strip_suffix('s').unwrap_or(name);
            let numbered = name.len() > 1 && name.ends_with(|c: char| c.is_ascii_digit());
            if BANNED_NAMES.contains(&plain)
                || BANNED_NAMES.contains(&name)
                || name.starts_with("new_")
                || (numbered && !PROTOCOLS.contains(&name))
            {
                broken.push(format!("`{name}` says nothing about what the file owns"));
            }
        }
        broken
    });
}
