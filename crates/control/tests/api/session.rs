//! Every call, tried with curl by a script that reads like a session.

use std::path::Path;
use std::process::Command;

use graygate_control::people::Role;

use crate::harness::PASSWORD;
use crate::stores::World;

/// Whether a call is one that is described, with its braces filled in.
pub fn is_of(described: &str, called: &str) -> bool {
    let called = called.split('?').next().unwrap();
    let (described, called): (Vec<_>, Vec<_>) = (described.split('/').collect(), called.split('/').collect());
    described.len() == called.len()
        && described.iter().zip(&called).all(|(known, part)| known == part || known.starts_with('{'))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_tried_one_after_another_over_a_directory() {
    every_call_is_tried(World::directory("four_eyes: [portal]\nproxies: []\n")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_tried_one_after_another_over_etcd() {
    every_call_is_tried(World::etcd("four_eyes: [portal]\n")).await;
}

async fn every_call_is_tried(mut world: World) {
    let process = world.start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut session = Command::new("bash");
    session
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/session.sh"))
        .current_dir(folder.path())
        .env("GRAYGATE_URL", format!("http://{}", process.address))
        .env("PASSWORD", PASSWORD);
    for (name, role) in [("admin", Role::Admin), ("li", Role::Operator), ("wang", Role::Approver)] {
        session.env(name.to_uppercase(), process.token(name, role).await);
    }
    let output = tokio::task::spawn_blocking(move || session.output()).await.unwrap().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));

    let called = std::fs::read_to_string(folder.path().join("called")).unwrap();
    for (path, item) in &graygate_control::api::openapi().paths.paths {
        let Some(path) = path.strip_prefix("/api/v1") else { continue };
        let calls = [("GET", &item.get), ("PUT", &item.put), ("POST", &item.post), ("DELETE", &item.delete)];
        for (method, _) in calls.into_iter().filter(|(_, call)| call.is_some()) {
            let is_tried = called.lines().any(|line| {
                line.split_once(' ').is_some_and(|(used, rest)| used == method && is_of(path, rest))
            });
            assert!(is_tried, "{method} {path} is not tried");
        }
    }
}
