//! Testers' words, from the command that signs them to the upstream that answers.

use std::process::Command;

use serde_json::json;

use crate::harness::proxy::{BINARY, Proxy, until};
use crate::harness::sample::{WANTED, instances};
use crate::harness::upstream::Upstream;
use crate::harness::wire::Message;

const KEYS: &str =
    "# the key in use, and the one before\nthe key that signs from now on\nan old key that still counts\n";

struct Site {
    proxy: Proxy,
    _release: Upstream,
    gray: Upstream,
    keys: tempfile::TempDir,
}

impl Site {
    async fn start() -> Site {
        let (release, gray) = (Upstream::named("release").await, Upstream::named("gray").await);
        let keys = tempfile::tempdir().unwrap();
        std::fs::write(keys.path().join("keys"), KEYS).unwrap();
        std::fs::write(keys.path().join("other"), "a key of another owner entirely\n").unwrap();
        std::fs::write(keys.path().join("old"), "an old key that still counts\n").unwrap();
        let service = instances(&[("release", release.address), ("gray", gray.address)]);
        let config = format!("overrides: {{secret_file: {}}}", keys.path().join("keys").display());
        let routes = ("routes/all.yaml", "hosts: [a.test]\nservice: s\n");
        let proxy = Proxy::start(&config, &[routes, WANTED, ("services/s.yaml", &service)]).await;
        Site { proxy, _release: release, gray, keys }
    }

    /// A word and its link, as the command prints them.
    fn word(&self, file: &str, more: &[&str]) -> (String, String) {
        let file = self.keys.path().join(file);
        let output = Command::new(BINARY)
            .args(["override", "--version", "gray", "--for", "2h", "--user", "li wei", "--secret-file"])
            .arg(file)
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        let (word, link) = said.trim_end().split_once('\n').unwrap();
        (word.into(), link.into())
    }

    async fn get(&self, target: &str, cookie: &str) -> Message {
        self.proxy.get(target, &[("host", "a.test"), ("cookie", cookie)]).await
    }

    async fn served_by(&self, cookie: &str) -> String {
        self.get("/", cookie).await.text()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_sets_the_cookie_and_the_cookie_the_version() {
    let site = Site::start().await;
    let (word, link) = site.word("keys", &["--url", "http://a.test/page?x=1#top"]);
    assert_eq!(link, format!("http://a.test/page?x=1&gg-override={word}#top"));
    let answer = site.get(&format!("/page?x=1&gg-override={word}"), "a=b").await;
    assert_eq!((answer.status(), answer.header("location")), (302, Some("http://a.test/page?x=1")));
    let cookie = answer.header("set-cookie").unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(pair, format!("gg_override={word}"));
    assert!(
        attributes.starts_with("Path=/; Max-Age=7") && attributes.ends_with("; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));

    assert_eq!(site.served_by("").await, "release");
    assert_eq!(site.served_by(&format!("a=b; {pair}; c=d")).await, "gray");
    let seen = site.gray.last();
    assert_eq!(seen.header("x-gray-version"), Some("gray"));
    assert_eq!(seen.header("cookie"), Some("a=b; c=d"), "an upstream has no use for the word");
    assert_eq!(site.served_by(pair).await, "gray");
    assert_eq!(site.gray.last().header("cookie"), None);

    let ended = site.get("/page?gg-override=", pair).await;
    assert_eq!((ended.status(), ended.header("location")), (302, Some("http://a.test/page")));
    assert!(ended.header("set-cookie").unwrap().starts_with("gg_override=; Path=/; Max-Age=0"));

    let lines = site.proxy.logged(5).await;
    let reasons: Vec<_> = lines.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["override", "default", "override", "override", "override"]);
    let labels = [("service", "s"), ("version", "gray"), ("reason", "override"), ("rule", "")];
    assert_eq!(site.proxy.metrics().await.get("graygate_decisions_total", &labels), Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_words_that_hold_are_there() {
    let site = Site::start().await;
    let (word, _) = site.word("keys", &[]);
    let (old, _) = site.word("old", &[]);
    let (foreign, _) = site.word("other", &[]);
    let (elsewhere, _) = site.word("keys", &["--service", "t,u"]);
    let (here, _) = site.word("keys", &["--service", "t,s"]);
    for (word, expected) in
        [(&word, "gray"), (&old, "gray"), (&here, "gray"), (&foreign, "release"), (&elsewhere, "release")]
    {
        assert_eq!(site.served_by(&format!("gg_override={word}")).await, expected, "{word}");
    }
    // A forged word is a parameter like any other, and so is a good one where no route leads.
    let forged = format!("{}x", &word[..word.len() - 1]);
    let answer = site.get(&format!("/?gg-override={forged}"), "").await;
    assert_eq!((answer.status(), answer.header("set-cookie")), (200, None));
    let posted = site
        .proxy
        .raw(crate::harness::wire::request(
            "POST",
            &format!("/?gg-override={word}"),
            &[("host", "a.test"), ("content-length", "0")],
        ))
        .await;
    assert_eq!(posted.status(), 200);
    let unrouted = site.proxy.get(&format!("/?gg-override={word}"), &[("host", "b.test")]).await;
    assert_eq!((unrouted.status(), unrouted.header("set-cookie")), (404, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_has_expired_is_not_there_however_often_it_is_sent_again() {
    let site = Site::start().await;
    let file = site.keys.path().join("keys");
    let output = Command::new(BINARY)
        .args(["override", "--version", "gray", "--for", "3s", "--user", "li", "--secret-file"])
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let word = said.lines().next().unwrap();
    let pair = format!("gg_override={word}");
    until(async || site.served_by(&pair).await == "release").await;
    for _ in 0..3 {
        assert_eq!(site.served_by(&pair).await, "release");
        let link = site.get(&format!("/page?gg-override={word}"), "").await;
        assert_eq!(
            (link.status(), link.header("set-cookie")),
            (200, None),
            "its link is a page like any other"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explanations_name_the_holder() {
    let site = Site::start().await;
    let (word, _) = site.word("keys", &[]);
    let question = json!({
        "method": "GET", "url": "http://a.test/x", "ip": "203.0.113.7",
        "headers": [["cookie", format!("gg_override={word}")], ["x-want", "gray"]],
    });
    let answer = site.proxy.explain(&question).await.json();
    assert_eq!(
        (&answer["version"], &answer["reason"], &answer["rule"]),
        (&json!("gray"), &json!("override"), &json!(null))
    );
    let because = answer["trace"][0]["because"].as_str().unwrap();
    assert!(because.starts_with("a word of `li wei` puts its bearer into `gray` until 20"), "{because}");
    let question = json!({"method": "GET", "url": format!("http://a.test/x?gg-override={word}"), "headers": [], "ip": "203.0.113.7"});
    let answer = site.proxy.explain(&question).await.json();
    assert_eq!((&answer["status"], &answer["location"]), (&json!(302), &json!("http://a.test/x")));
}

#[test]
fn keys_that_cannot_be_had_stop_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("graygate.yaml");
    for (keys, said) in
        [(None, "cannot be read"), (Some("short\n"), "fewer than 16 bytes"), (Some(""), "no key in it")]
    {
        let file = directory.path().join("keys");
        let _ = std::fs::remove_file(&file);
        if let Some(keys) = keys {
            std::fs::write(&file, keys).unwrap();
        }
        let text = format!(
            "documents: {{directory: {0}}}\noverrides: {{secret_file: {0}/keys}}\n",
            directory.path().display()
        );
        std::fs::write(&path, text).unwrap();
        let output = Command::new(BINARY).args(["run", "--config"]).arg(&path).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("overrides.secret_file") && errors.contains(said), "{errors}");
    }
}
