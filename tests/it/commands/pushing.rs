//! `push` and `pull` against a real etcd.

use crate::commands::typed::{GOOD, Said, directory, text, typed};
use crate::harness::proxy::Proxy;
use crate::support::etcd::Etcd;

/// The blocking command, off the runtime that the test's own etcd client lives on.
async fn run(arguments: &[&str]) -> Said {
    let arguments: Vec<String> = arguments.iter().map(|argument| argument.to_string()).collect();
    let work = move || typed(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_go_there_and_come_back() {
    let etcd = Etcd::start().await;
    let url = etcd.endpoint();
    let local = directory(&GOOD);
    let from = text(local.path());
    let said = run(&["push", from, "--etcd", &url, "--dry-run"]).await;
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("rules/10-pilots"), "the difference is shown: {said:?}");
    assert_eq!(etcd.get("routes/all").await, None, "and nothing is written");
    let said = run(&["push", from, "--etcd", &url]).await;
    assert_eq!(said.status, 0, "{said:?}");
    assert!(etcd.get("routes/all").await.is_some());
    let back = tempfile::tempdir().unwrap();
    let said = run(&["pull", text(back.path()), "--etcd", &url]).await;
    assert_eq!(said.status, 0, "{said:?}");
    let again = run(&["push", text(back.path()), "--etcd", &url, "--dry-run", "--prune"]).await;
    assert_eq!(again.status, 0, "{again:?}");
    for name in ["routes/all", "services/s", "rules/10-pilots", "lists/pilots"] {
        assert!(!again.out.contains(name), "nothing differs: {again:?}");
    }
    assert_eq!(run(&["check", text(back.path())]).await.status, 0);

    std::fs::remove_file(local.path().join("rules/10-pilots.json")).unwrap();
    assert_eq!(run(&["push", from, "--etcd", &url]).await.status, 0);
    assert!(etcd.get("rules/10-pilots").await.is_some(), "without --prune nothing is removed");
    assert_eq!(run(&["push", from, "--etcd", &url, "--prune"]).await.status, 0);
    assert_eq!(etcd.get("rules/10-pilots").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_documents_are_not_pushed() {
    let etcd = Etcd::start().await;
    let url = etcd.endpoint();
    let mut documents = GOOD.to_vec();
    documents.push(("rules/20-broken.yaml", "verson: gray"));
    let local = directory(&documents);
    let said = run(&["push", text(local.path()), "--etcd", &url]).await;
    assert_eq!(said.status, 1);
    assert!(said.errors.contains("rules/20-broken"), "{said:?}");
    assert_eq!(etcd.get("routes/all").await, None);
    let stranger = run(&["push", text(directory(&GOOD).path()), "--etcd", "http://127.0.0.1:1"]).await;
    assert_eq!(stranger.status, 1, "{stranger:?}");
    let wrong = run(&["pull", text(local.path()), "--etcd", "nonsense"]).await;
    assert!(matches!(wrong.status, 1 | 2), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_is_kept_apart_and_what_is_pushed_runs() {
    let etcd = Etcd::start().await;
    let url = etcd.endpoint();
    let local = directory(&GOOD);
    let said = run(&["push", text(local.path()), "--etcd", &url, "--prefix", "/other"]).await;
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(etcd.get("routes/all").await, None);
    let config = format!("documents: {{etcd: {{endpoints: [\"{url}\"], prefix: /other}}}}\n");
    let proxy = Proxy::start(&config, &[]).await;
    let status = proxy.status().await;
    assert_eq!((&status["documents"]["rules"], &status["problems"]), (&1.into(), &serde_json::json!([])));
    let file = proxy.file("graygate.yaml");
    assert_eq!(run(&["check", "--config", text(&file)]).await.status, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_program_wrote_is_neither_pulled_nor_pushed() {
    const BY_HAND: &str = "services/s";
    const OWN: [(&str, &str); 3] = [
        ("rules/plan.spring.share", "split: {gray: 25}"),
        ("closures/s.gray", "{service: s, version: gray, because: 'plan `spring`: errors'}"),
        ("instances/s/i-1", "{address: \"10.0.0.1:80\", version: release, by: nacos}"),
    ];
    let etcd = Etcd::start().await;
    let url = etcd.endpoint();
    let local = directory(&GOOD);
    let from = text(local.path());
    assert_eq!(run(&["push", from, "--etcd", &url]).await.status, 0);
    for (name, body) in OWN {
        etcd.put(name, body).await;
    }
    let back = tempfile::tempdir().unwrap();
    assert_eq!(run(&["pull", text(back.path()), "--etcd", &url]).await.status, 0);
    assert!(back.path().join("services").is_dir());
    for (name, _) in OWN {
        assert!(!back.path().join(format!("{name}.yaml")).exists(), "{name}");
    }
    // What says otherwise in a directory is left alone as well, and `--prune` takes nothing of it out.
    let stale = OWN.map(|(name, body)| {
        (
            format!("{name}.yaml"),
            body.replace("25", "1").replace("errors", "no more").replace("10.0.0.1", "10.0.0.2"),
        )
    });
    for (documents, kept) in [(&[][..], "nothing of theirs"), (&stale[..], "something else")] {
        let mut all: Vec<(&str, &str)> = GOOD.to_vec();
        all.extend(documents.iter().map(|(name, body)| (name.as_str(), body.as_str())));
        let local = directory(&all);
        let said = run(&["push", text(local.path()), "--etcd", &url, "--prune"]).await;
        assert_eq!(said.status, 0, "{said:?}");
        for (name, body) in OWN {
            assert_eq!(etcd.get(name).await.as_deref(), Some(body), "the directory has {kept}: {said:?}");
        }
        assert!(etcd.get(BY_HAND).await.is_some());
    }
}
