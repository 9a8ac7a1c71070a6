//! The README and the pages of the book as text: their blocks, tables, commands and links.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
pub fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub struct Page {
    /// From the repository's root.
    pub name: String,
    pub text: String,
}

/// README, CONTRIBUTING and every page of the book.
pub fn pages() -> Vec<Page> {
    let mut names = vec![PathBuf::from("README.md"), PathBuf::from("CONTRIBUTING.md")];
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(name);
            } else if name.extension().is_some_and(|extension| extension == "md") {
                names.push(name);
            }
        }
    }
    names.sort();
    names.iter().map(|name| page(name.to_str().unwrap())).collect()
}

pub fn page(name: &str) -> Page {
    Page { name: name.into(), text: read(name) }
}

/// A table's rows without its heading; each cell as it is written.
pub struct Table {
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// The code of each cell of a column, or its text where it has none.
    pub fn column(&self, index: usize) -> Vec<String> {
        let cell = |row: &Vec<String>| code_words(&row[index]).first().cloned().unwrap_or(row[index].clone());
        self.rows.iter().map(cell).collect()
    }
}

/// What stands between backticks.
pub fn code_words(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(String::from).collect()
}

impl Page {
    /// The fenced blocks of a language, without the fences.
    pub fn blocks(&self, language: &str) -> Vec<String> {
        let fence = format!("```{language}\n");
        self.text
            .split(&fence)
            .skip(1)
            .filter_map(|rest| Some(rest.split("```").next()?.to_string()))
            .collect()
    }

    /// The first table after a line that begins with `start`.
    pub fn table_below(&self, start: &str) -> Table {
        let lines = self.text.lines().skip_while(|line| !line.starts_with(start));
        let table = lines.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
        let cells = |line: &str| {
            let line = line.trim().trim_start_matches('|').trim_end_matches('|');
            line.split('|').map(|cell| cell.trim().to_string()).collect::<Vec<_>>()
        };
        let rows: Vec<_> = table.skip(2).map(cells).collect();
        assert!(!rows.is_empty(), "{} has no table below `{start}`", self.name);
        Table { rows }
    }

    /// What a reader would type: the lines of `sh` blocks, and those of `console` blocks behind a `$`.
    fn typed_lines(&self) -> Vec<String> {
        let lines = |text: String| text.lines().map(String::from).collect::<Vec<_>>();
        let shell = self.blocks("sh").into_iter().flat_map(lines);
        let console = self.blocks("console").into_iter().flat_map(lines);
        let console = console.filter_map(|line| line.strip_prefix("$ ").map(String::from));
        let code = |line: String| line.split(" # ").next().unwrap_or_default().trim().to_string();
        shell.chain(console).map(code).collect()
    }

    pub fn command_lines(&self) -> Vec<String> {
        self.typed_lines().into_iter().filter(|line| line.starts_with("graygate ")).collect()
    }

    /// `| \`graygate run --config FILE\` | ...`.
    pub fn commands_in_tables(&self) -> Vec<String> {
        let rows = self.text.lines().filter(|line| line.starts_with("| `graygate "));
        rows.filter_map(|line| code_words(line).first().cloned()).collect()
    }

    /// The targets of `make ...` in blocks and in backticks.
    pub fn make_targets(&self) -> Vec<String> {
        let prose: String = self.text.split("```").step_by(2).collect();
        let lines = self.typed_lines().into_iter().chain(code_words(&prose));
        let target = |line: String| {
            let word = line.strip_prefix("make ")?.split_whitespace().next()?.to_string();
            word.chars().all(|c| c.is_ascii_lowercase() || c == '-').then_some(word)
        };
        lines.filter_map(target).collect()
    }

    /// Files of the repository that the prose names, and that are not there.
    pub fn missing_files(&self) -> Vec<String> {
        const FOLDERS: [&str; 9] =
            ["src/", "crates/", "tests/", "docs/", "conf/", "fuzz/", "loadtest/", "benches/", ".ci/"];
        let prose: String = self.text.split("```").step_by(2).collect();
        let is_file = |word: &String| {
            FOLDERS.iter().any(|folder| word.starts_with(folder)) && !word.contains([' ', '<', '*'])
        };
        code_words(&prose).into_iter().filter(is_file).filter(|word| !root().join(word).exists()).collect()
    }

    /// Links and includes that lead nowhere.
    pub fn broken_links(&self) -> Vec<String> {
        let folder = root().join(&self.name).parent().unwrap().to_path_buf();
        let prose: String = self.text.split("```").step_by(2).collect();
        let link = |rest: &str| rest.split(')').next().map(String::from);
        let links = prose.split("](").skip(1).filter_map(link);
        let includes =
            prose.split("{{#include ").skip(1).filter_map(|rest| rest.split("}}").next().map(String::from));
        let is_local = |target: &String| !target.contains("://");
        links
            .chain(includes)
            .filter(is_local)
            .filter_map(|target| broken(&folder, &self.text, &target))
            .collect()
    }
}

fn broken(folder: &Path, here: &str, target: &str) -> Option<String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let text = match file {
        "" => here.to_string(),
        file if !folder.join(file).exists() => return Some(format!("`{target}` leads to no file")),
        file => fs::read_to_string(folder.join(file)).unwrap_or_default(),
    };
    let is_there = anchor.is_empty() || text.lines().any(|line| slug(line).as_deref() == Some(anchor));
    (!is_there).then(|| format!("`{target}` leads to no heading"))
}

/// The anchor of a heading, as mdBook and forges make it.
fn slug(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').trim();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
}

/// Dotted keys and their values as one YAML flow map; `a[].b` is a map inside a list of one.
pub fn flow_map(rows: impl Iterator<Item = (String, String)>) -> String {
    let mut here: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (key, value) in rows {
        let (first, rest) = key.split_once('.').unwrap_or((&key, ""));
        here.entry(first.into()).or_default().push((rest.into(), value));
    }
    let field = |(key, inner): (String, Vec<(String, String)>)| {
        let value = match inner.as_slice() {
            [(rest, value)] if rest.is_empty() => value.clone(),
            _ => flow_map(inner.into_iter()),
        };
        match key.strip_suffix("[]") {
            Some(key) => format!("{key}: [{value}]"),
            None => format!("{key}: {value}"),
        }
    };
    let fields: Vec<String> = here.into_iter().map(field).collect();
    format!("{{{}}}", fields.join(", "))
}
