//! One command line, run to its end.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::harness::proxy::{BINARY, write};

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub status: i32,
    pub out: String,
    pub errors: String,
}

/// Runs the program with these arguments.
pub fn typed(arguments: &[&str]) -> Said {
    let output = Command::new(BINARY).args(arguments).stdin(Stdio::null()).output().unwrap();
    Said {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A directory with these documents.
pub fn directory(documents: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in documents {
        write(&directory.path().join(name), text);
    }
    directory
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Documents without a problem.
pub const GOOD: [(&str, &str); 4] = [
    ("routes/all.yaml", "paths: [{prefix: /portal}]\nservice: s\nrewrite: {prefix: /}"),
    (
        "services/s.yaml",
        "identity: [header:x-user]\ninstances: [{address: \"127.0.0.1:1\", version: release}]",
    ),
    (
        "rules/10-pilots.json",
        r#"{"when": {"attribute": "header:x-user", "in_list": "pilots"}, "version": "gray"}"#,
    ),
    ("lists/pilots.txt", "alice\n# bob\n"),
];
