//! The text that applications paste from the book: compiled, and run against a control process.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use graygate_control::people::Role;
use serde_json::json;

use crate::stores::World;
use crate::walk::{blocks, page};

const PLACE: &str = "appName=user-service&environment=prod&instanceId=i1";

async fn world() -> (World, crate::stores::Process, crate::harness::Client, String) {
    let mut world = World::directory("");
    let process = world.start().await;
    let li = process.person("li", Role::Operator).await;
    let token = process.token("app", Role::Viewer).await;
    put(&li, "hello \"gray\"").await;
    (world, process, li, token)
}

async fn put(li: &crate::harness::Client, value: &str) {
    let item =
        json!({"appName": "user-service", "environment": "prod", "configKey": "greeting", "value": value});
    let answer = li.put("/api/gray-release/config/item", &item.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Writes the blocks of a language into files that they name in their first line.
fn write_blocks(language: &str, mark: &str, folder: &Path) -> Vec<PathBuf> {
    let found = blocks(&page("clients.md"));
    let mut files = Vec::new();
    for (_, body) in found.iter().filter(|(found, _)| found == language) {
        let name = body.lines().next().unwrap().trim_start_matches(mark).trim();
        let file = folder.join(name);
        std::fs::write(&file, body).unwrap();
        files.push(file);
    }
    assert!(!files.is_empty(), "{language}");
    files
}

/// The jars of Spring, Feign and servlets; `make provider-tools` brings them.
fn jars() -> PathBuf {
    let tools = std::env::var_os("GRAYGATE_TOOLS").map(PathBuf::from);
    let tools = tools
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/graygate-tools"));
    let jars = tools.join("spring");
    assert!(jars.join("complete").exists(), "{}: `make provider-tools` brings them", jars.display());
    jars
}

/// The Java of the page, with Spring, Feign and a real control process.
#[tokio::test(flavor = "multi_thread")]
async fn what_spring_applications_paste_compiles_and_works() {
    if Command::new("javac").arg("-version").output().is_err() {
        println!("skipped: there is no javac");
        return;
    }
    let (_world, process, li, token) = world().await;
    let folder = tempfile::tempdir().unwrap();
    let mut files = write_blocks("java", "//", folder.path());
    files.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/spring/Check.java"));
    let classes = folder.path().join("classes");
    let library = format!("{}/*", jars().display());
    let mut compiler = Command::new("javac");
    compiler.args(["-Xlint:all,-processing,-classfile", "-Werror", "-cp", &library, "-d"]);
    let compiled = compiler.arg(&classes).args(&files).output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let url = format!("http://{}", process.address);
    let mut child = Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-cp", &format!("{}:{library}", classes.display())])
        .args(["Check", &url, &token, PLACE])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (lines, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let out = child.stdout.take().unwrap();
    std::thread::spawn(move || {
        BufReader::new(out).lines().map_while(Result::ok).for_each(|line| drop(lines.send(line)));
    });
    let mut told = Vec::new();
    while let Some(line) = heard.recv().await {
        if line == "waiting" {
            put(&li, "changed\n用户").await;
        } else {
            told.push(line);
        }
    }
    assert!(child.wait().unwrap().success(), "{told:?}");
    let expected = [
        // The header, by each client of Spring and by Feign.
        "template gray",
        "client gray",
        "feign gray",
        "without null",
        "after broken null",
        // Threads and queues.
        "spring gray",
        "future gray",
        "pool null",
        "again null",
        "queue feat1",
        // `@Value` and `Environment`.
        "value hello \"gray\"",
        "other sources own",
        "none null",
        "changed changed",
        "用户",
    ];
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_python_applications_paste_works() {
    let (_world, process, _, token) = world().await;
    let folder = tempfile::tempdir().unwrap();
    let files = write_blocks("python", "#", folder.path());
    let url = format!("http://{}", process.address);
    let run = move || {
        Command::new("python3").arg(&files[0]).env("GRAYGATE_URL", url).env("GRAYGATE_TOKEN", token).output()
    };
    let Ok(output) = tokio::task::spawn_blocking(run).await.unwrap() else {
        println!("skipped: there is no python3");
        return;
    };
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "hello \"gray\" False");
}
