//! A page and its files: which answers send a request to another version, who is asked, and what the client gets.

use serde_json::json;

use crate::harness::proxy::{Proxy, until};
use crate::harness::sample::{ALL, WANTED};
use crate::harness::upstream::{Act, Upstream, answer, ok};
use crate::harness::wire::{Message, request};

const ASSETS: &str = "assets: {paths: [{prefix: /assets}]}\n";

/// An upstream that has the files below its own directory and one that all have, and says who it is where it has none.
async fn version(name: &'static str) -> Upstream {
    Upstream::scripted(move |message| {
        let path = message.target().split('?').next().unwrap();
        match path.strip_prefix("/assets/") {
            None => Act::Answer(ok(name)),
            Some("shared.js") => Act::Answer(ok(name)),
            Some("broken.js") if name == "v2" => Act::Answer(answer("500 Oops", &[], name)),
            Some("closed.js") if name == "v2" => Act::Close,
            Some("broken.js" | "closed.js") if name == "v1" => Act::Answer(ok(name)),
            Some(file) if file.starts_with(name) => Act::Answer(ok(name)),
            Some(_) => Act::Answer(answer("404 Not Found", &[("x-page", name)], name)),
        }
    })
    .await
}

struct Site {
    proxy: Proxy,
    versions: [Upstream; 4],
}

impl Site {
    async fn start(service: &str) -> Site {
        let versions = [version("v0").await, version("v1").await, version("v2").await, version("v3").await];
        let mut text = String::from("aliases: {release: v0, gray: v2}\nretries: 0\ninstances:\n");
        for (at, upstream) in versions.iter().enumerate() {
            text += &format!("  - {{address: \"{}\", version: v{at}}}\n", upstream.address);
        }
        text += service;
        let proxy = Proxy::start("", &[ALL, WANTED, ("services/s.yaml", &text)]).await;
        Site { proxy, versions }
    }

    fn asked(&self) -> [usize; 4] {
        [0, 1, 2, 3].map(|at: usize| self.versions[at].asked().len())
    }

    async fn get(&self, target: &str) -> Message {
        self.proxy.get(target, &[]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_found_where_it_is() {
    let site = Site::start(ASSETS).await;
    for (target, status, served_by, asked) in [
        ("/assets/v0.js", 200, "v0", [1, 0, 0, 0]),
        ("/assets/v2.js?x=1", 200, "v2", [1, 0, 1, 0]),
        // v1 comes before v3 among the rest.
        ("/assets/v3.js", 200, "v3", [1, 1, 1, 1]),
        // No one has it: the answer is that of the version the request is for.
        ("/assets/none.js", 404, "v0", [2, 1, 1, 1]),
        // What is not good enough for a client sends on, and so does a broken connection.
        ("/assets/broken.js", 200, "v1", [1, 1, 1, 0]),
        ("/assets/closed.js", 200, "v1", [1, 1, 1, 0]),
        ("/elsewhere/v2.js", 200, "v0", [1, 0, 0, 0]),
    ] {
        let before = site.asked();
        let answer = site.get(target).await;
        assert_eq!((answer.status(), answer.text().as_str()), (status, served_by), "{target}");
        let now = site.asked();
        assert_eq!([0, 1, 2, 3].map(|at: usize| now[at] - before[at]), asked, "{target}");
    }
    assert_eq!(site.versions[2].last().header("x-gray-version"), Some("release"), "the decided word");
    let log = site.proxy.logged(7).await;
    assert_eq!(log[2]["served_by"]["version"], json!("v3"));
    assert_eq!((&log[2]["version"], &log[2]["tries"]), (&json!("release"), &json!(4)));
    assert_eq!((&log[3]["served_by"]["version"], &log[3]["tries"]), (&json!("v0"), &json!(5)));
    let metrics = site.proxy.metrics().await;
    let rescued = |to| {
        metrics.get("graygate_assets_rescued_total", &[("service", "s"), ("from", "release"), ("to", to)])
    };
    assert_eq!((rescued("gray"), rescued("v3"), rescued("v1")), (Some(1.0), Some(1.0), Some(2.0)));
    assert_eq!(metrics.sum("graygate_requests_total"), 7.0);
    assert_eq!(metrics.sum("graygate_ejections_total"), 0.0, "an answer that is not taken is no error");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_named_statuses_paths_and_methods_send_on() {
    let site = Site::start("assets: {paths: [{prefix: /assets}], on: [410]}\n").await;
    assert_eq!(site.get("/assets/v2.js").await.status(), 404);
    site.proxy.write("services/other.yaml", "{}");
    let text = std::fs::read_to_string(site.proxy.file("documents/services/s.yaml")).unwrap();
    site.proxy.write("services/s.yaml", &text.replace("[410]", "[404]"));
    until(async || site.get("/assets/v2.js").await.status() == 200).await;
    let posted = site.proxy.raw(request("POST", "/assets/v2.js", &[("content-length", "0")])).await;
    assert_eq!((posted.status(), posted.text().as_str()), (404, "v0"));
    let mut connection = site.proxy.connect().await;
    connection.send(request("HEAD", "/assets/v2.js", &[])).await;
    assert_eq!(connection.bodiless_answer().await.status(), 200);
    assert_eq!(connection.get("/assets/v3.js", &[]).await.text(), "v3", "the connection stays");
    assert_eq!(connection.get("/assets/none.js", &[]).await.header("x-page"), Some("v0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_who_would_be_asked() {
    let site = Site::start(ASSETS).await;
    for (url, headers, expected) in [
        ("http://a/assets/x.js", json!([]), json!(["gray", "v1", "v3"])),
        ("http://a/assets/x.js", json!([["x-want", "gray"]]), json!(["release", "v1", "v3"])),
        ("http://a/page", json!([]), json!(null)),
    ] {
        let explained = site.proxy.explain(&json!({"url": url, "headers": headers})).await.json();
        assert_eq!(explained["assets"], expected, "{url} {headers}");
    }
}

/// A browser that loads a page and then the files which that page names, while shares change under it. Returns the pages
/// that were broken: a file of theirs was not there.
async fn broken_pages(assets: &str) -> usize {
    let versions = [pages("release").await, pages("gray").await];
    let text = format!(
        "identity: [cookie:uid]\ninstances:\n  - {{address: \"{}\", version: release}}\n  - {{address: \"{}\", version: gray}}\n{assets}",
        versions[0].address, versions[1].address
    );
    let proxy =
        Proxy::start("", &[ALL, ("rules/share.yaml", "split: {gray: 0}"), ("services/s.yaml", &text)]).await;
    let mut broken = 0;
    for share in [0, 10, 25, 50, 75, 100, 40, 0] {
        let users: Vec<String> = (0..20).map(|user| format!("uid=user{user}")).collect();
        let mut loaded = Vec::new();
        for user in &users {
            loaded.push(proxy.get("/", &[("cookie", user)]).await.text());
        }
        // The share changes while the browsers are busy with their pages.
        let rule = format!("split: {{gray: {share}}}");
        proxy.write("rules/share.yaml", &rule);
        until(async || {
            let asked = json!({"url": "http://a/", "headers": [["cookie", "uid=user7"]]});
            let bucket = proxy.explain(&asked).await.json()["bucket"].as_u64().unwrap();
            let expected = if bucket < share * 100 { "gray" } else { "release" };
            proxy.explain(&asked).await.json()["version"] == json!(expected)
        })
        .await;
        for (user, page) in users.iter().zip(&loaded) {
            let mut whole = true;
            for file in page.split(' ') {
                let answer = proxy.get(file, &[("cookie", user)]).await;
                whole &= answer.status() == 200;
                // What is found is what the page was made with, and never another version's file of that name.
                assert!(answer.status() != 200 || file.contains(&answer.text()), "{file}: {answer:?}");
            }
            broken += usize::from(!whole);
        }
    }
    broken
}

/// A version whose page names three files with its hash in their names, and that has these files alone.
async fn pages(name: &'static str) -> Upstream {
    Upstream::scripted(move |message| match message.target() {
        "/" => Act::Answer(ok(&["app", "style", "logo"]
            .map(|file| format!("/assets/{file}-{name}.js"))
            .join(" "))),
        file if file.ends_with(&format!("-{name}.js")) => Act::Answer(ok(name)),
        _ => Act::Answer(answer("404 Not Found", &[], "no such file")),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_breaks_no_page_and_does_without_assets() {
    assert_eq!(broken_pages(ASSETS).await, 0);
    let broken = broken_pages("").await;
    assert!(broken > 20, "{broken} broken pages without `assets`");
}
