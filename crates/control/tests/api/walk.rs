//! The pages of the book that walk through calls: every command is run, and answers what the page says.

use std::path::{Path, PathBuf};
use std::process::Command;

use graygate_control::people::Role;
use serde_json::Value;

use crate::stores::{Process, World};

pub fn page(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/control").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fenced blocks in order, each with its language.
pub fn blocks(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for fenced in page.split("```").skip(1).step_by(2) {
        let (language, body) = fenced.split_once('\n').unwrap_or((fenced, ""));
        found.push((language.to_owned(), body.to_owned()));
    }
    found
}

/// The documents that the page shows.
fn write_documents(world: &World, page: &str) {
    for (_, body) in blocks(page).iter().filter(|(language, _)| language == "yaml") {
        let name = body.lines().next().unwrap().trim_start_matches("# ").trim_end_matches(".yaml");
        if name.contains('/') {
            let file = world.folder.path().join("documents").join(format!("{name}.yaml"));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, body).unwrap();
        }
    }
}

/// Numbers that differ from run to run.
fn without_revisions(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match name.as_str() {
                    "revision" | "version" if field.is_number() => *field = Value::Null,
                    "planId" | "lastSeen" | "time" => *field = Value::Null,
                    _ => without_revisions(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_revisions),
        _ => {}
    }
}

/// Runs the page's `sh` blocks one after another in one shell directory; each that is followed by a `json` or `text`
/// block has to answer that.
fn walk(page: &str, process: &Process, token: &str) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let found = blocks(page);
    let mut answered = 0;
    for (at, (_, script)) in found.iter().enumerate().filter(|(_, (language, _))| language == "sh") {
        if !script.contains("curl") {
            continue;
        }
        let output = Command::new("bash")
            .arg("-c")
            .arg(format!(
                "set -e; test ! -e names || . ./names\n{script}\ndeclare -p PLAN > names 2>/dev/null || true"
            ))
            .current_dir(folder.path())
            .env("GRAYGATE_URL", format!("http://{}", process.address))
            .env("GRAYGATE_TOKEN", token)
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}\n{output:?}");
        let told = String::from_utf8(output.stdout).unwrap();
        match found.get(at + 1) {
            Some((language, expected)) if language == "json" => {
                let mut expected: Value = serde_json::from_str(expected).unwrap();
                let mut told: Value =
                    serde_json::from_str(&told).unwrap_or_else(|_| panic!("{script}\n{told}"));
                without_revisions(&mut expected);
                without_revisions(&mut told);
                assert_eq!(told, expected, "{script}");
                answered += 1;
            }
            Some((language, expected)) if language == "text" => {
                assert_eq!(told.trim(), expected.trim(), "{script}");
                answered += 1;
            }
            _ => {}
        }
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hospital_is_walked_through_its_first_gray_release() {
    let page = page("hospital.md");
    let mut world = World::directory("hospital: {services: [patient], gray: gray, release: release}\n");
    write_documents(&world, &page);
    let process = world.start().await;
    let token = process.token("platform", Role::Editor).await;
    let answered = tokio::task::spawn_blocking(move || walk(&page, &process, &token)).await.unwrap();
    assert!(answered >= 8, "{answered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_values_are_walked_through() {
    let page = page("values.md");
    let mut world = World::directory("");
    let process = world.start().await;
    let token = process.token("platform", Role::Operator).await;
    let answered = tokio::task::spawn_blocking(move || walk(&page, &process, &token)).await.unwrap();
    assert!(answered >= 5, "{answered}");
}
