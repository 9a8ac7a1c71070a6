//! Places and testers' keys from outside: files that are read again, and what `/status` says of them.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::harness::proxy::{Proxy, until, write};
use crate::harness::sample::{ALL, instances};
use crate::harness::upstream::Upstream;

#[path = "../../rules/oracle/mmdb.rs"]
#[allow(dead_code, reason = "the oracle of the decisions reads the rows as well")]
mod mmdb;

/// Bytes into place in one step.
fn place(path: &Path, bytes: &[u8]) {
    let unfinished = path.with_extension("new");
    fs::write(&unfinished, bytes).unwrap();
    fs::rename(unfinished, path).unwrap();
}

async fn site(config: &str, when: &str) -> (Proxy, [Upstream; 2]) {
    let upstreams = [Upstream::named("release").await, Upstream::named("gray").await];
    let service = instances(&[("release", upstreams[0].address), ("gray", upstreams[1].address)]);
    let rule = format!("when: {when}\nversion: gray");
    let documents = [ALL, ("services/s.yaml", &*service), ("rules/a.yaml", &*rule)];
    (Proxy::start(config, &documents).await, upstreams)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_read_again_and_a_broken_one_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("places.mmdb");
    place(&file, &mmdb::database(&mmdb::ROWS));
    let config = format!("geo: {{database: {}}}", file.display());
    let (proxy, _upstreams) = site(&config, "{attribute: 'geo:country', equals: DE}").await;
    assert_eq!(proxy.served_by("/", &[]).await, "gray", "127.0.0.1 is in Berlin there");
    assert_eq!(
        proxy.status().await["geo"],
        json!({"database": "Graygate-Test", "built": "2025-11-24T16:00:00Z"})
    );
    let explained = proxy.explain(&json!({"url": "http://a/", "ip": "10.9.9.9"})).await.json();
    assert_eq!(explained["trace"][0]["matched"], json!(false));

    place(&file, b"no database at all");
    until(async || proxy.status().await["problems"].as_array().is_some_and(|all| all.len() == 1)).await;
    let problem = proxy.status().await["problems"][0].clone();
    assert_eq!(problem["field"], json!("geo.database"));
    let message = problem["message"].as_str().unwrap();
    assert!(
        message.contains("no database of MaxMind's format") && message.contains("stays in force"),
        "{message}"
    );
    assert_eq!(proxy.served_by("/", &[]).await, "gray", "the last good one counts");
    assert_eq!(proxy.metrics().await.get("graygate_problems", &[("kind", "other")]), Some(1.0));

    place(&file, &mmdb::database(&mmdb::ROWS[..1]));
    until(async || proxy.served_by("/", &[]).await == "release").await;
    until(async || proxy.status().await["problems"] == json!([])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_no_one_is_anywhere() {
    let (proxy, _upstreams) = site("", "{attribute: 'geo:country', exists: false}").await;
    assert_eq!(proxy.served_by("/", &[]).await, "gray");
    assert_eq!(proxy.status().await["geo"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_testers_are_read_again_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    write(&file, "the first key of them all\n");
    let config = format!("overrides: {{secret_file: {}}}", file.display());
    let (proxy, _upstreams) = site(&config, "{attribute: header:x-a, exists: true}").await;
    assert_eq!(proxy.status().await["overrides"], json!({"keys": 1}));
    let word = |key: &str| {
        let keys = graygate_rules::decide::Overrides::read(key).unwrap();
        let grant = graygate_rules::decide::Grant {
            version: graygate_rules::vocab::Name::parse("gray").unwrap(),
            services: Vec::new(),
            expires: 99_999_999_999,
            holder: "li".into(),
        };
        format!("gg_override={}", keys.sign(&grant).unwrap())
    };
    let (first, second) = (word("the first key of them all"), word("the second key of them all"));
    let served_by = async |word: &str| proxy.served_by("/", &[("cookie", word)]).await;
    assert_eq!((served_by(&first).await, served_by(&second).await), ("gray".into(), "release".into()));

    write(&file, "the second key of them all\nthe first key of them all\n");
    until(async || served_by(&second).await == "gray").await;
    assert_eq!(served_by(&first).await, "gray", "both count while words of the old one are about");
    assert_eq!(proxy.status().await["overrides"], json!({"keys": 2}));

    write(&file, "short\n");
    until(async || proxy.status().await["problems"][0]["field"] == json!("overrides.secret_file")).await;
    assert_eq!(served_by(&first).await, "gray", "what was read last stays in force");

    write(&file, "the second key of them all\n");
    until(async || served_by(&first).await == "release").await;
    assert_eq!((served_by(&second).await, &proxy.status().await["problems"]), ("gray".into(), &json!([])));
}
