//! The description of the API is true: a program that reads it and tries what it says finds no answer that differs.

use std::path::Path;
use std::process::Command;

use graygate_control::people::Role;

use crate::stores::World;

/// How long it tries; within it, most of what it makes up is repeated with other values.
const SECONDS: &str = "40";

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_as_it_is_described() {
    let mut world = World::directory("hospital: {services: [patient], gray: gray, release: release}\n");
    let service = "instances: [{address: \"127.0.0.1:9001\", version: release}, {address: \"127.0.0.1:9002\", version: gray}]\n";
    let rule = "version: gray\nservices: [patient]\nwhen: {attribute: cookie:uid, in_list: pilots}\n";
    let documents = [("services/patient", service), ("lists/pilots", "alice\n"), ("rules/pilots", rule)];
    world.fill(&documents.map(|(name, text)| (name.to_owned(), text.to_owned()))).await;
    let process = world.start().await;
    let admin = process.token("admin", Role::Admin).await;
    let tools = graygate_testing::registries::servers::tools().with_file_name("schemathesis");
    let mut trying = Command::new("python3");
    trying
        .env("PYTHONPATH", &tools)
        .arg(tools.join("bin/st"))
        .arg("run")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json"))
        .args(["--url", &format!("http://{}", process.address)])
        .args(["--header", &format!("Authorization: Bearer {admin}")])
        .args(["--phases", "coverage,fuzzing", "--max-time", SECONDS, "--seed", "7", "--workers", "1"])
        // A stream of events has no end.
        .args(["--exclude-path", "/api/v1/events"])
        // Whether a text is a good document, or a revision the right one, no schema says: such are 422 and 412.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .current_dir(world.folder.path());
    let tried = tokio::task::spawn_blocking(move || trying.output()).await.unwrap();
    let tried = tried.expect("`make provider-tools` brings schemathesis");
    let said = String::from_utf8_lossy(&tried.stdout);
    assert!(tried.status.success(), "{said}\n{}", String::from_utf8_lossy(&tried.stderr));
    assert!(said.contains("Tested"), "{said}");
}
