//! What is counted while a caller asks: a test a sentence of what is promised.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::proxy::{BINARY, Proxy, until};
use crate::harness::sample::{ALL, WANTED, in_front_of, instances};
use crate::harness::upstream::{Act, Refusing, Upstream, answer};
use crate::harness::wire::{Connection, request, with_body};

const GRAY: [(&str, &str); 1] = [("x-want", "gray")];
const COLD: &str = "identity: [header:x-user]\nwarm_up: 0s\noutlier: off\n";

/// A caller with a cursor.
struct Asker<'p> {
    proxy: &'p Proxy,
    cursor: String,
    rows: Vec<Value>,
}

impl<'p> Asker<'p> {
    /// Asks for the first time, so that counting begins.
    async fn of(proxy: &'p Proxy) -> Asker<'p> {
        let mut asker = Asker { proxy, cursor: String::new(), rows: Vec::new() };
        asker.ask().await;
        asker
    }

    async fn ask(&mut self) -> Value {
        let target = format!("/observations?services=s&salt=pepper&after={}", self.cursor);
        let answer = self.proxy.ask_admin(&target).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let answer = answer.json();
        self.cursor = answer["cursor"].as_str().unwrap().to_owned();
        self.rows.extend(answer["seconds"].as_array().unwrap().iter().cloned());
        answer
    }

    fn sum(&self, figure: &str) -> u64 {
        self.rows.iter().map(|row| row[figure].as_u64().unwrap()).sum()
    }

    /// Asks until so many requests, fallbacks and undrawn ones were told, and answers one row for what only their second
    /// tells apart.
    #[track_caller]
    fn told(mut self, counted: u64) -> impl Future<Output = Vec<Value>> {
        let place = std::panic::Location::caller();
        async move {
            for _ in 0..100 {
                self.ask().await;
                if self.sum("requests") + self.sum("fallbacks") + self.sum("undrawn") >= counted {
                    return merged(self.rows);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            panic!("{place}: not told: {:#?}", self.rows);
        }
    }
}

/// Rows without their second, added up, by rule and version.
fn merged(rows: Vec<Value>) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for row in rows {
        let same =
            |one: &&mut Value| ["route", "rule", "share", "version"].iter().all(|key| one[*key] == row[*key]);
        let Some(sum) = merged.iter_mut().find(same) else {
            merged.push(row);
            continue;
        };
        for figure in ["requests", "timed", "undrawn", "errors", "fallbacks"] {
            sum[figure] = (sum[figure].as_u64().unwrap() + row[figure].as_u64().unwrap()).into();
        }
        let clients = row["error_clients"].as_array().unwrap().clone();
        sum["error_clients"].as_array_mut().unwrap().extend(clients);
    }
    merged.sort_by_key(|row| (row["version"].to_string(), row["rule"].to_string()));
    merged
}

/// The figures that a case names.
fn figures(row: &Value) -> [u64; 5] {
    ["requests", "timed", "undrawn", "errors", "fallbacks"].map(|figure| row[figure].as_u64().unwrap())
}

/// A service with two versions and further lines.
async fn two_versions(config: &str, release: &Upstream, gray: &Upstream, more: &str) -> Proxy {
    let service = instances(&[("release", release.address), ("gray", gray.address)]) + COLD + more;
    Proxy::start(config, &[ALL, WANTED, ("services/s.yaml", &service)]).await
}

fn hashed(client: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, format!("pepper:{client}").as_bytes());
    digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_the_promised_shape_and_tells_each_second_once() {
    let (release, gray) = (Upstream::named("release").await, Upstream::named("gray").await);
    let proxy = two_versions("", &release, &gray, "").await;
    proxy.get("/", &GRAY).await;
    let mut asker = Asker::of(&proxy).await;
    assert_eq!(asker.sum("requests"), 0, "nothing was counted before the first question");
    for _ in 0..30 {
        proxy.get("/", &GRAY).await;
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
    let mut answer = asker.ask().await;
    until(async || {
        let answer = proxy.ask_admin("/observations?services=s").await.json();
        let told = answer["seconds"].as_array().unwrap().iter().map(|row| row["requests"].as_u64().unwrap());
        told.sum::<u64>() == 30
    })
    .await;
    answer["seconds"]
        .as_array_mut()
        .unwrap()
        .extend(asker.ask().await["seconds"].as_array().unwrap().clone());
    assert_eq!(asker.sum("requests"), 30, "nothing twice, nothing left out");
    let seconds: Vec<u64> = asker.rows.iter().map(|row| row["second"].as_u64().unwrap()).collect();
    assert!(seconds.len() >= 2 && seconds.is_sorted_by(|a, b| a < b), "{seconds:?}");
    let answer = asker.ask().await;
    let now = answer["now"].as_u64().unwrap();
    assert!(seconds.iter().all(|second| now - second >= 1));
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(wall) <= 1, "{now} {wall}");
    assert!(answer["counting_since"].as_u64().unwrap() <= seconds[0]);
    let keys = |value: &Value| {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(
        keys(&answer),
        ["boot", "counting_since", "cursor", "edges_ms", "left_out", "lost", "now", "proxy", "seconds"]
    );
    assert_eq!(
        keys(&asker.rows[0]),
        [
            "error_clients",
            "errors",
            "fallbacks",
            "requests",
            "route",
            "rule",
            "sampled",
            "second",
            "service",
            "share",
            "slower",
            "timed",
            "undrawn",
            "version"
        ]
    );
    assert_eq!(answer["edges_ms"].as_array().unwrap().len(), 61);
    assert_eq!(asker.rows[0]["route"], "all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_says_what_decided_and_what_the_rule_gives() {
    let (release, gray) = (Upstream::named("release").await, Upstream::named("gray").await);
    let service = instances(&[("release", release.address), ("gray", gray.address)]) + COLD;
    let share = (
        "rules/20-share.yaml",
        "split: {gray: 2.5}\nby: [header:x-drawn]\nwhen: {attribute: path, prefix: /share}\n",
    );
    let all = ("rules/30-all.yaml", "split: {gray: 100}\nwhen: {attribute: path, prefix: /all-users}\n");
    let back = ("rules/40-back.yaml", "version: release\nwhen: {attribute: path, prefix: /back}\n");
    let documents = [ALL, WANTED, share, all, back, ("services/s.yaml", service.as_str())];
    let proxy = Proxy::start("trust: [127.0.0.1]", &documents).await;
    let asker = Asker::of(&proxy).await;
    for (target, headers) in [
        ("/", &[("x-user", "1")][..]),
        ("/", &GRAY),
        ("/share", &[("x-user", "1")]),
        ("/share", &[("x-drawn", "a user")]),
        ("/all-users", &[]),
        ("/back", &[]),
        ("/", &[("x-gray-version", "gray")]),
        ("/", &[("x-gray-version", "release")]),
        ("/", &[("x-gray-version", "unheard-of")]),
    ] {
        assert_eq!(proxy.get(target, headers).await.status(), 200);
    }
    let told = asker.told(9).await;
    let told: Vec<Value> = told
        .iter()
        .map(|row| {
            json!([
                row["version"],
                row["rule"],
                row["share"],
                row["requests"],
                row["undrawn"],
                row["fallbacks"]
            ])
        })
        .collect();
    assert_eq!(
        told,
        [
            json!(["gray", "10-wanted", 100, 1, 0, 0]),
            json!(["gray", "30-all", 100, 1, 0, 0]),
            json!(["gray", "inherited", 0, 1, 0, 0]),
            json!(["release", "20-share", 2.5, 1, 1, 0]),
            json!(["release", "40-back", 0, 1, 0, 0]),
            json!(["release", "inherited", 0, 1, 0, 0]),
            json!(["release", null, 0, 1, 0, 0]),
            json!(["unheard-of", "inherited", 0, 0, 0, 1]),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pinned_and_testers_requests_stand_nowhere() {
    let upstream = Upstream::named("release").await;
    let instance = format!(
        "instances:\n  - {{address: \"{0}\", version: release}}\n  - {{address: \"{0}\", version: gray, tags: {{developer: li}}}}\n",
        upstream.address
    );
    let service = instance + "pin: {attribute: header:developer, tag: developer}\n" + COLD;
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "the key that signs from now on\n").unwrap();
    let word = Command::new(BINARY)
        .args(["override", "--version", "gray", "--for", "2h", "--user", "li", "--secret-file"])
        .arg(keys.path())
        .output()
        .unwrap();
    let word = String::from_utf8(word.stdout).unwrap();
    let cookie = format!("gg_override={}", word.lines().next().unwrap());
    let config = format!("trust: [127.0.0.1]\noverrides: {{secret_file: {}}}", keys.path().display());
    let proxy = Proxy::start(&config, &[ALL, ("services/s.yaml", &service)]).await;
    let asker = Asker::of(&proxy).await;
    for headers in [&[("developer", "li")][..], &[("cookie", &cookie)], &[]] {
        assert_eq!(proxy.get("/", headers).await.status(), 200, "{headers:?}");
    }
    let told = asker.told(1).await;
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!((figures(&told[0]), &told[0]["rule"]), ([1, 1, 0, 0, 0], &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_count_for_the_decided_version_also_where_another_try_saved_the_answer() {
    let release = Upstream::named("release").await;
    let failing = Upstream::scripted(|_| Act::Answer(answer("503 Service Unavailable", &[], ""))).await;
    let closing = Upstream::scripted(|_| Act::Close).await;
    let refusing = Refusing::new();
    for (gray, status, expected) in [
        (failing.address, 503, [1, 1, 0, 1, 0]),
        (closing.address, 200, [1, 1, 0, 1, 1]),
        (refusing.address, 200, [1, 1, 0, 1, 1]),
    ] {
        let service = instances(&[("release", release.address), ("gray", gray)]) + COLD;
        let proxy = Proxy::start("", &[ALL, WANTED, ("services/s.yaml", &service)]).await;
        let asker = Asker::of(&proxy).await;
        let answer = proxy.get("/", &[("x-want", "gray"), ("x-user", "li")]).await;
        assert_eq!(answer.status(), status);
        let told = asker.told(1).await;
        assert_eq!((told.len(), figures(&told[0])), (1, expected), "{told:#?}");
        assert_eq!(told[0]["error_clients"], json!([hashed("li")]), "what its identity is, under the salt");
        assert_eq!(told[0]["version"], "gray");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_without_instances_has_fallbacks_alone_and_an_answer_of_ours_is_no_error() {
    let release = Upstream::scripted(|_| Act::Answer(answer("500 Internal Server Error", &[], ""))).await;
    let service = instances(&[("release", release.address)]) + COLD;
    let proxy = Proxy::start("", &[ALL, WANTED, ("services/s.yaml", &service)]).await;
    let asker = Asker::of(&proxy).await;
    assert_eq!(proxy.get("/", &GRAY).await.status(), 500);
    let told = asker.told(1).await;
    assert_eq!((told.len(), figures(&told[0])), (1, [0, 0, 0, 0, 1]), "{told:#?}");

    let service = instances(&[("release", release.address)]) + COLD + "fallback: {gray: none}\n";
    let proxy = Proxy::start("", &[ALL, WANTED, ("services/s.yaml", &service)]).await;
    let asker = Asker::of(&proxy).await;
    assert_eq!(proxy.get("/", &GRAY).await.status(), 503);
    assert_eq!(proxy.get("/", &[]).await.status(), 500);
    let told = asker.told(1).await;
    assert_eq!((told.len(), figures(&told[0])), (1, [1, 1, 0, 1, 0]), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_says_what_its_errors_are() {
    let upstream = Upstream::scripted(|message| {
        let said = message.header("x-say").unwrap_or("200").to_owned();
        let headers: &[(&str, &str)] = match message.header("x-more") {
            Some("result") => &[("x-result", "500")],
            Some("grpc") => &[("content-type", "application/grpc"), ("grpc-status", "14")],
            Some("found") => &[("content-type", "application/grpc"), ("grpc-status", "5")],
            _ => &[],
        };
        Act::Answer(answer(&format!("{said} Said"), headers, ""))
    })
    .await;
    let written = "errors: {status: [4xx, 503], grpc: [5], header: {x-result: [\"500\"]}}\n";
    for (errors, sent, expected) in [
        ("", [("x-say", "500"), ("x-more", "")], true),
        ("", [("x-say", "599"), ("x-more", "")], true),
        ("", [("x-say", "404"), ("x-more", "")], false),
        ("", [("x-say", "200"), ("x-more", "grpc")], true),
        ("", [("x-say", "200"), ("x-more", "found")], false),
        ("", [("x-say", "200"), ("x-more", "result")], false),
        (written, [("x-say", "500"), ("x-more", "")], false),
        (written, [("x-say", "503"), ("x-more", "")], true),
        (written, [("x-say", "404"), ("x-more", "")], true),
        (written, [("x-say", "200"), ("x-more", "grpc")], false),
        (written, [("x-say", "200"), ("x-more", "found")], true),
        (written, [("x-say", "200"), ("x-more", "result")], true),
    ] {
        let service = instances(&[("release", upstream.address)]) + COLD + errors;
        let proxy = Proxy::start("", &[ALL, ("services/s.yaml", &service)]).await;
        let asker = Asker::of(&proxy).await;
        proxy.get("/", &sent).await;
        let told = asker.told(1).await;
        assert_eq!(figures(&told[0]), [1, 1, 0, u64::from(expected), 0], "{errors} {sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_counted_at_its_header_and_a_client_that_leaves_is_no_error() {
    let upstream = Upstream::scripted(|message| match message.target() {
        "/stream" => Act::AnswerAndClose("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun".into()),
        _ => Act::Hang,
    })
    .await;
    let service = instances(&[("release", upstream.address)]) + COLD;
    let proxy = Proxy::start("", &[ALL, ("services/s.yaml", &service)]).await;
    let mut asker = Asker::of(&proxy).await;
    let mut streaming = proxy.connect().await;
    streaming.send(request("GET", "/stream", &[("x-user", "a")])).await;
    let mut hanging = proxy.connect().await;
    hanging.send(request("GET", "/hang", &[("x-user", "b")])).await;
    until(async || upstream.asked().len() == 2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(hanging);
    until(async || {
        asker.ask().await;
        asker.sum("requests") == 2
    })
    .await;
    assert_eq!(asker.sum("errors"), 0, "a response that broke had begun; a client's own leaving is its own");
    let slowest = asker.rows.iter().map(|row| row["slower"].as_array().unwrap().len()).max().unwrap();
    assert!(slowest >= 31, "the client left after 300 ms and more, past 1.2^31 ms: {:#?}", asker.rows);
    drop(streaming);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_ten_seconds_is_counted_then_and_not_again() {
    let upstream = Upstream::scripted(|_| Act::Hold(answer("500 Internal Server Error", &[], ""))).await;
    let service = instances(&[("release", upstream.address)]) + COLD;
    let proxy = Proxy::start("", &[ALL, ("services/s.yaml", &service)]).await;
    let mut asker = Asker::of(&proxy).await;
    let mut waiting = proxy.connect().await;
    let begun = std::time::Instant::now();
    waiting.send(request("GET", "/", &[])).await;
    while asker.sum("requests") == 0 {
        asker.ask().await;
        assert!(begun.elapsed() < Duration::from_secs(14), "{:#?}", asker.rows);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed() >= Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(figures(&asker.rows[0]), [1, 1, 0, 0, 0]);
    assert_eq!(
        asker.rows[0]["slower"].as_array().unwrap().len(),
        51,
        "10 s lie between 1.2^50 and 1.2^51 ms"
    );
    upstream.release();
    assert_eq!(waiting.answer().await.status(), 500);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    asker.ask().await;
    assert_eq!((asker.sum("requests"), asker.sum("errors")), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_new_instance_answers_is_not_timed() {
    let upstream = Upstream::named("release").await;
    let proxy = in_front_of("", &upstream).await;
    let asker = Asker::of(&proxy).await;
    proxy.get("/", &[]).await;
    let told = asker.told(1).await;
    assert_eq!(
        (figures(&told[0]), &told[0]["slower"]),
        ([1, 0, 0, 0, 0], &json!([])),
        "30 s unless it says so"
    );
    let service = instances(&[("release", upstream.address)]) + "warm_up: 500ms\n";
    let proxy = Proxy::start("", &[ALL, ("services/s.yaml", &service)]).await;
    let asker = Asker::of(&proxy).await;
    proxy.get("/", &[]).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    proxy.get("/", &[]).await;
    let told = asker.told(2).await;
    assert_eq!(figures(&told[0])[..2], [2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_clients_first_request_of_a_second_is_timed() {
    let upstream = Upstream::named("release").await;
    let service = instances(&[("release", upstream.address)]) + COLD;
    let proxy = Proxy::start("", &[ALL, ("services/s.yaml", &service)]).await;
    let mut asker = Asker::of(&proxy).await;
    let mut connection = proxy.connect().await;
    for n in 0..40 {
        connection.send(request("GET", "/", &[("x-user", if n % 2 == 0 { "a" } else { "b" })])).await;
        connection.answer().await;
    }
    until(async || {
        asker.ask().await;
        asker.sum("requests") == 40
    })
    .await;
    for row in &asker.rows {
        assert!(row["timed"].as_u64().unwrap() <= 2, "{row}");
    }
    assert!(asker.sum("timed") >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_questions_are_answered_clearly() {
    let upstream = Upstream::named("release").await;
    let proxy = in_front_of("", &upstream).await;
    for (query, status, said) in [
        ("", 400, "`services` is missing"),
        ("?services=", 400, "`services` is missing"),
        ("?services=unheard-of", 404, "there is no service `unheard-of`"),
        ("?services=s,unheard-of,else", 404, "`else`, `unheard-of`"),
        ("?services=a%20b", 400, "`a b` is not a service's name"),
        ("?services=s&after=x", 400, "`x` is not a cursor"),
        ("?services=s&since=1", 400, "no parameter `since`"),
        ("?services=s&services=s", 400, "`services` stands twice"),
    ] {
        let answer = proxy.ask_admin(&format!("/observations{query}")).await;
        assert_eq!(answer.status(), status, "{query}");
        assert!(answer.text().contains(said), "{query}: {}", answer.text());
    }
    let mut admin = Connection::open(proxy.admin).await;
    admin.send(with_body("POST", "/observations?services=s", "")).await;
    assert_eq!(admin.answer().await.status(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_judge_reads_what_a_proxy_tells() {
    let release = Upstream::named("release").await;
    let gray = Upstream::scripted(|_| Act::Answer(answer("500 Internal Server Error", &[], ""))).await;
    let service = instances(&[("release", release.address), ("gray", gray.address)]) + COLD;
    let rule = ("rules/plan.p.share.yaml", "split: {gray: 50}\nby: [header:x-user]\n");
    let proxy = Proxy::start("", &[ALL, rule, ("services/s.yaml", &service)]).await;
    let mut asker = Asker::of(&proxy).await;
    for n in 0..400 {
        proxy.get("/", &[("x-user", &n.to_string())]).await;
    }
    until(async || {
        asker.ask().await;
        asker.sum("requests") == 400
    })
    .await;
    let lines = asker.rows.iter().map(|row| {
        let mut row = row.clone();
        row["proxy"] = "edge".into();
        row.to_string() + "\n"
    });
    let mut judge = Command::new(BINARY)
        .args(["judge", "--plan", "p", "--version", "gray"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    judge.stdin.take().unwrap().write_all(lines.collect::<String>().as_bytes()).unwrap();
    let output = judge.wait_with_output().unwrap();
    assert!(output.status.success(), "every line is a row");
    let last = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!((&last["verdict"], &last["left_out"]), (&json!("regression"), &json!(0)), "{last}");
    let (gray, release) =
        (last["requests"]["gray"].as_u64().unwrap(), last["requests"]["release"].as_u64().unwrap());
    assert_eq!(gray + release, 400);
}
