//! Delivery to real receivers: HTTP, and SMTP.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::extract::{Request, State as Shared};
use axum::response::{IntoResponse as _, Response};
use graygate_rules::documents::fields::Notes;
use graygate_testing::mail::MailServer;
use parking_lot::Mutex;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::*;
use crate::settings::Config;
use crate::state::{
    Entry, Holder, Leadership, Range, Revision, Slot, Sqlite, State, StateError, Stored, Transaction, Write,
};

/// What a receiver got.
#[derive(Clone, Debug)]
struct Got {
    path: String,
    query: String,
    headers: http::HeaderMap,
    body: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

/// A place that keeps what it gets, and answers as it is told.
#[derive(Clone)]
struct Receiver {
    address: std::net::SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    status: Arc<Mutex<(u16, String)>>,
}

async fn take(Shared(receiver): Shared<Receiver>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    receiver.got.lock().push(Got {
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    let (status, body) = receiver.status.lock().clone();
    let status = http::StatusCode::from_u16(status).unwrap();
    (status, [("location", "/elsewhere")], body).into_response()
}

impl Receiver {
    async fn start() -> Receiver {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let status = Arc::new(Mutex::new((200, "ok".to_owned())));
        let receiver = Receiver { address, got: Arc::default(), status };
        let router = axum::Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    fn answers(&self, status: u16, body: &str) {
        *self.status.lock() = (status, body.to_owned());
    }

    async fn wait(&self, count: usize) -> Vec<Got> {
        until(|| self.got.lock().len() >= count).await;
        self.got.lock().clone()
    }
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "it never came so");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A store in which striking out fails for as long as it is told to.
struct Forgetful {
    inner: Arc<Sqlite>,
    forgets: AtomicBool,
}

#[async_trait]
impl State for Forgetful {
    async fn get(&self, slot: &Slot) -> Result<Option<Stored>, StateError> {
        self.inner.get(slot).await
    }

    async fn list(&self, range: &Range) -> Result<Vec<Entry>, StateError> {
        self.inner.list(range).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StateError> {
        let strikes = transaction.writes.iter().any(|write| matches!(write, Write::Delete(_)));
        match strikes && self.forgets.load(Ordering::Acquire) {
            true => Err(StateError::Away("the process is about to crash".into())),
            false => self.inner.commit(transaction).await,
        }
    }

    fn part_bytes(&self) -> Option<usize> {
        self.inner.part_bytes()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes()
    }
}

struct Place {
    state: Arc<Forgetful>,
    counts: Arc<Mutex<BTreeMap<(String, &'static str), usize>>>,
    channels: String,
    pace: Pace,
    running: Option<tokio::task::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crash();
    }
}

impl Place {
    /// `channels` is what stands below `channels:` in control.yaml.
    fn new(channels: &str) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let inner = Arc::new(Sqlite::open(folder.path(), None, Holder::Service).unwrap());
        let ms = Duration::from_millis;
        Place {
            state: Arc::new(Forgetful { inner, forgets: AtomicBool::new(false) }),
            counts: Arc::default(),
            channels: channels.to_owned(),
            pace: Pace { first: ms(20), longest: ms(50), tried: Duration::from_secs(60) },
            running: None,
            _folder: folder,
        }
    }

    fn started(channels: &str) -> Place {
        let mut place = Place::new(channels);
        place.start();
        place
    }

    fn start(&mut self) {
        let text = format!("documents: {{directory: d}}\nstate: s\nchannels:\n{}\n", self.channels);
        let config = Config::parse(&text, Notes::of("control.yaml")).unwrap();
        let counts = self.counts.clone();
        let delivery = Delivery {
            state: self.state.clone(),
            leadership: Leadership::alone(),
            channels: config.channels,
            base: "https://gray.example.com".into(),
            now: Arc::new(OffsetDateTime::now_utc),
            count: Arc::new(move |channel, outcome| {
                *counts.lock().entry((channel.to_owned(), outcome.as_str())).or_default() += 1;
            }),
            pace: self.pace,
        };
        self.running = Some(tokio::spawn(delivery.run()));
    }

    fn crash(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }

    async fn tell(&self, channels: &[&str], why: &str) -> Notice {
        let subject = Subject {
            services: vec!["patient".into()],
            version: "gray".into(),
            plan: "patient-8".into(),
            run: 3,
            step: Some(1),
            state: "ROLLBACK".into(),
            channels: channels.iter().map(|name| (*name).to_owned()).collect(),
        };
        let notice = Notice::of_plan(&subject, Event::RolledBack, why, OffsetDateTime::now_utc());
        self.queue(&notice).await;
        notice
    }

    async fn queue(&self, notice: &Notice) {
        let mut transaction = Transaction::default();
        notice.queue(&mut transaction).unwrap();
        self.state.commit(transaction).await.unwrap();
    }

    async fn outbox(&self) -> usize {
        self.state.list(&Range::all("outbox/")).await.unwrap().len()
    }

    /// Waits until so many notices are left.
    async fn holds(&self, count: usize) {
        let end = Instant::now() + Duration::from_secs(30);
        while self.outbox().await != count {
            assert!(Instant::now() < end, "the outbox does not come to {count}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The log of deliveries.
    async fn log(&self) -> Vec<Tries> {
        let entries = self.state.list(&Range::all(DELIVERIES)).await.unwrap();
        entries.iter().map(|entry| serde_json::from_slice(&entry.stored.value).unwrap()).collect()
    }

    /// Waits until so many notices stand in the log with their end.
    async fn logs(&self, count: usize) {
        let end = Instant::now() + Duration::from_secs(30);
        while self.log().await.iter().filter(|tries| tries.outcome != Outcome::Failed).count() != count {
            assert!(Instant::now() < end, "{:?}", self.log().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn empties(&self) {
        self.holds(0).await;
    }

    fn count(&self, channel: &str, outcome: &str) -> usize {
        let counts = self.counts.lock();
        counts.iter().filter(|((c, o), _)| c == channel && *o == outcome).map(|(_, count)| count).sum()
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn each_format_gets_it_and_it_is_struck_out() {
    let receiver = Receiver::start().await;
    let (secret, url) = (file("SEC0123\n"), format!("http://{}", receiver.address));
    let secret = secret.path().display();
    let place = Place::started(&format!(
        "  json: {{webhook: \"{url}/json\", secret_file: {secret}, headers: {{x-key: k}}}}\n\
         \x20 sms: {{webhook: \"{url}/sms\", body: '{{\"to\": [\"138\"], \"text\": \"{{text}}\"}}'}}\n\
         \x20 ding: {{webhook: \"{url}/ding?access_token=t\", format: dingtalk, secret_file: {secret}}}\n\
         \x20 wecom: {{webhook: \"{url}/wecom\", format: wecom, language: zh}}\n\
         \x20 feishu: {{webhook: \"{url}/feishu\", format: feishu, secret_file: {secret}}}\n\
         \x20 slack: {{webhook: \"{url}/slack\", format: slack}}\n\
         \x20 other: {{webhook: \"{url}/other\"}}\n"
    ));
    let names = ["json", "sms", "ding", "wecom", "feishu", "slack"];
    let notice = place.tell(&names, "errors: 31 of 1000 beside <4> of 19000").await;
    let got: BTreeMap<String, Got> =
        receiver.wait(6).await.into_iter().map(|got| (got.path.clone(), got)).collect();
    place.empties().await;
    assert_eq!(receiver.got.lock().len(), 6, "those it names, each once");
    let json = &got["/json"];
    let body = json.json();
    let keys: BTreeSet<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["id", "services", "version", "plan", "run", "step", "event", "state", "text", "link"];
    assert_eq!(keys, BTreeSet::from(expected));
    assert_eq!(body["id"], notice.id.as_str());
    assert_eq!(body["services"], json!(["patient"]));
    assert_eq!((&body["run"], &body["step"]), (&json!(3), &json!(1)));
    assert_eq!((&body["event"], &body["state"]), (&json!("rolled_back"), &json!("ROLLBACK")));
    assert_eq!(body["link"], "https://gray.example.com/plans/patient-8?run=3");
    assert!(body["text"].as_str().unwrap().starts_with(&notice.text), "{body}");
    assert!(json.headers["x-graygate-signature"].to_str().unwrap().starts_with("sha256="));
    assert_eq!(json.headers["x-key"], "k");
    assert_eq!(got["/sms"].json(), json!({"to": ["138"], "text": notice.text}));
    let ding = &got["/ding"];
    assert!(ding.query.starts_with("access_token=t&timestamp=") && ding.query.contains("&sign="), "{ding:?}");
    let feishu = got["/feishu"].json();
    assert!(feishu["sign"].is_string() && feishu["timestamp"].is_string(), "{feishu}");
    let wecom = got["/wecom"].json();
    assert!(wecom["text"]["content"].as_str().unwrap().contains("已回滚"), "{wecom}");
    let slack = got["/slack"].json();
    assert!(slack["text"].as_str().unwrap().contains("beside &lt;4&gt;"), "{slack}");
    for text in [&ding.json()["text"]["content"], &wecom["text"]["content"], &feishu["content"]["text"]] {
        let text = text.as_str().unwrap();
        assert!(text.contains(&notice.id) && text.contains("https://gray.example.com/plans/"), "{text}");
    }
    names.iter().for_each(|name| assert_eq!(place.count(name, "delivered"), 1, "{name}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_down_holds_nothing_up() {
    let (good, bad) = (Receiver::start().await, Receiver::start().await);
    bad.answers(500, "");
    let place = Place::started(&format!(
        "  good: {{webhook: \"http://{}/\"}}\n  bad: {{webhook: \"http://{}/\"}}\n  gone: {{webhook: \"http://127.0.0.1:1/\"}}\n",
        good.address, bad.address
    ));
    let first = place.tell(&["good", "bad", "gone"], "one").await;
    let second = place.tell(&["bad", "good"], "two").await;
    good.wait(2).await;
    bad.wait(5).await;
    until(|| place.count("gone", "failed") > 1).await;
    assert_eq!(place.count("good", "delivered"), 2);
    assert_eq!(place.count("bad", "delivered"), 0);
    bad.answers(200, "");
    until(|| place.count("bad", "delivered") == 2).await;
    let ids: BTreeSet<String> =
        bad.got.lock().iter().map(|got| got.json()["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, BTreeSet::from([first.id.clone(), second.id]), "again, with the same id");
    assert_eq!(good.got.lock().len(), 2, "what arrived is not sent again");
    // The first still waits for the channel that is gone.
    place.holds(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_delivered_is_given_up_after_a_while() {
    let receiver = Receiver::start().await;
    receiver.answers(503, "");
    let mut place = Place::new(&format!("  a: {{webhook: \"http://{}/\"}}\n", receiver.address));
    // Long enough for a second try on a machine that has much to do.
    place.pace.tried = Duration::from_secs(2);
    place.start();
    place.tell(&["a", "nowhere"], "").await;
    place.empties().await;
    // The log says how often, what came of it, and why; never what the other side said.
    place.logs(2).await;
    let end = Instant::now() + Duration::from_secs(30);
    // A try may have been under way when it was given up.
    let log = loop {
        let log = place.log().await;
        let attempts = log.iter().find(|tries| tries.channel == "a").map(|tries| tries.attempts as usize);
        if attempts == Some(receiver.got.lock().len()) {
            break log;
        }
        assert!(Instant::now() < end, "{log:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let of = |name: &str| log.iter().find(|tries| tries.channel == name).unwrap();
    assert_eq!(of("a").why.as_deref(), Some("not taken (status 503)"));
    assert_eq!(of("a").outcome, Outcome::GivenUp);
    assert_eq!((of("nowhere").attempts, of("nowhere").outcome), (0, Outcome::Unknown));
    assert!(receiver.got.lock().len() > 1);
    assert_eq!((place.count("a", "given_up"), place.count("nowhere", "unknown")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_sending_and_striking_out_sends_again_under_the_same_id() {
    let receiver = Receiver::start().await;
    let mut place = Place::started(&format!("  a: {{webhook: \"http://{}/\"}}\n", receiver.address));
    place.state.forgets.store(true, Ordering::Release);
    let notice = place.tell(&["a"], "").await;
    receiver.wait(1).await;
    // As long as the process lives it knows that it was sent.
    place.tell(&["a"], "another").await;
    receiver.wait(2).await;
    place.crash();
    place.state.forgets.store(false, Ordering::Release);
    place.start();
    place.empties().await;
    let got = receiver.got.lock().clone();
    let same = got.iter().filter(|got| got.json()["id"] == notice.id.as_str()).count();
    assert_eq!((same, got.len()), (2, 4), "{got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_that_was_written_while_no_one_delivered() {
    let receiver = Receiver::start().await;
    let mut place = Place::new(&format!("  a: {{webhook: \"http://{}/\"}}\n", receiver.address));
    let notice = Notice::of_plane(Event::Foreign, "x".into(), "/audit", OffsetDateTime::now_utc());
    place.queue(&notice).await;
    place.start();
    let body = receiver.wait(1).await[0].json();
    assert_eq!((&body["id"], &body["plan"], &body["step"]), (&json!(notice.id), &Value::Null, &Value::Null));
    place.empties().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_notices_are_few_messages_to_a_chat() {
    let receiver = Receiver::start().await;
    let place =
        Place::started(&format!("  a: {{webhook: \"http://{}/\", format: dingtalk}}\n", receiver.address));
    let mut ids = Vec::new();
    for i in 0..30 {
        ids.push(place.tell(&["a"], &i.to_string()).await.id);
    }
    place.empties().await;
    let got = receiver.got.lock().clone();
    let text: String =
        got.iter().map(|got| got.json()["text"]["content"].as_str().unwrap().to_owned()).collect();
    ids.iter().for_each(|id| assert_eq!(text.matches(id.as_str()).count(), 1, "{id}"));
    assert!(got.len() <= 3, "{} messages", got.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed_and_answers_are_not_told() {
    let receiver = Receiver::start().await;
    receiver.answers(302, "a secret of the other side");
    let text = format!(
        "documents: {{directory: d}}\nstate: s\nchannels: {{a: {{webhook: \"http://{}/x\"}}}}\n",
        receiver.address
    );
    let config = Config::parse(&text, Notes::of("c")).unwrap();
    let notice = Notice::of_plane(Event::Quota, "x".into(), "/", OffsetDateTime::now_utc());
    let letter = super::wording::Letter {
        notice: &notice,
        base: "",
        audit: "",
        tongue: crate::settings::Tongue::English,
    };
    for status in [302, 500] {
        receiver.answers(status, "a secret of the other side");
        let failure = super::send::send(&config.channels["a"], &[letter], OffsetDateTime::now_utc()).await;
        let failure = failure.unwrap_err().to_string();
        assert_eq!(failure, format!("not taken (status {status})"));
    }
    assert!(receiver.got.lock().iter().all(|got| got.path == "/x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_replaced_is_used_at_once() {
    let receiver = Receiver::start().await;
    let secret = file("one");
    let place = Place::started(&format!(
        "  a: {{webhook: \"http://{}/\", secret_file: {}}}\n",
        receiver.address,
        secret.path().display()
    ));
    place.tell(&["a"], "").await;
    place.empties().await;
    std::fs::write(secret.path(), "two").unwrap();
    place.tell(&["a"], "").await;
    for (got, secret) in receiver.wait(2).await.iter().zip(["one", "two"]) {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        let signed = got.headers["x-graygate-signature"].to_str().unwrap().strip_prefix("sha256=").unwrap();
        ring::hmac::verify(&key, got.body.as_bytes(), &hex::decode(signed).unwrap()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_plain_by_starttls_and_by_tls() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (file(&made.cert.pem()), file(&made.signing_key.serialize_pem()));
    let files = [certificate.path(), key.path()];
    let (password, ca) = (file("secret word\n"), certificate.path().display());
    let login = format!("username: u, password_file: {}", password.path().display());
    for (mode, url, rest) in [
        ("plain", "smtp://127.0.0.1:PORT", String::new()),
        ("plain", "smtp://127.0.0.1:PORT", login.clone()),
        ("starttls", "smtp://localhost:PORT?tls=required", format!("ca: {ca}, {login}")),
        ("tls", "smtps://localhost:PORT", format!("ca: {ca}, {login}")),
    ] {
        let files: &[_] = if mode == "plain" { &[] } else { &files };
        let mut server = MailServer::start(mode, files);
        let url = url.replace("PORT", &server.port.to_string());
        let place =
            Place::started(&format!("  m: {{smtp: \"{url}\", from: \"a@b\", to: [c@d, e@f], {rest}}}\n"));
        let notice = place.tell(&["m"], "错误率 3.1 %").await;
        let read = tokio::task::spawn_blocking(move || (server.next_mail(), server));
        let (line, _server) = read.await.unwrap();
        let mail: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&mail["from"], &mail["to"]), (&json!("a@b"), &json!(["c@d", "e@f"])), "{mode}");
        assert_eq!(mail["headers"]["Message-ID"], format!("<{}@b>", notice.id));
        assert_eq!(mail["headers"]["Subject"], "[graygate] patient gray: rolled back (patient-8)");
        assert_eq!(mail["headers"]["Auto-Submitted"], "auto-generated");
        let text = mail["text"].as_str().unwrap();
        assert!(text.contains("错误率 3.1 %") && text.contains("https://gray.example.com/plans/"), "{text}");
        assert_eq!(mail["tls"], mode != "plain", "{mode}");
        assert_eq!(mail["user"].is_string(), !rest.is_empty(), "{mode}");
        place.empties().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_notice_says_is_no_header_and_no_markup() {
    let mut server = MailServer::start("plain", &[]);
    let receiver = Receiver::start().await;
    let place = Place::started(&format!(
        "  m: {{smtp: \"smtp://127.0.0.1:{}\", from: \"a@b\", to: [c@d]}}\n\
         \x20 ding: {{webhook: \"http://{}/ding\", format: dingtalk}}\n",
        server.port, receiver.address
    ));
    let subject = Subject {
        services: vec!["patient\r\nBcc: all@evil.example".into()],
        version: "gray\r\n\r\nbody".into(),
        plan: "p8\nX-Evil: 1".into(),
        run: 1,
        step: Some(0),
        state: "ROLLBACK".into(),
        channels: vec!["m".into(), "ding".into()],
    };
    let why = "{id} ${7*7} [click](http://evil.example) @all";
    place.queue(&Notice::of_plan(&subject, Event::RolledBack, why, OffsetDateTime::now_utc())).await;
    let read = tokio::task::spawn_blocking(move || (server.next_mail(), server));
    let (line, _server) = read.await.unwrap();
    let mail: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(mail["to"], json!(["c@d"]));
    let headers = mail["headers"].as_object().unwrap();
    assert!(headers.keys().all(|name| !["bcc", "x-evil"].contains(&name.to_lowercase().as_str())), "{mail}");
    assert!(mail["text"].as_str().unwrap().contains(why), "{mail}");
    let told = receiver.wait(1).await[0].json();
    assert_eq!(told["msgtype"], "text");
    assert!(told["text"]["content"].as_str().unwrap().contains(why), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_not_sent_to_a_server_that_is_not_the_one_it_says() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (file(&made.cert.pem()), file(&made.signing_key.serialize_pem()));
    let ca = file(&other.cert.pem());
    let server = MailServer::start("tls", &[certificate.path(), key.path()]);
    let place = Place::started(&format!(
        "  m: {{smtp: \"smtps://localhost:{}\", from: a@b, to: [c@d], ca: {}}}\n",
        server.port,
        ca.path().display()
    ));
    place.tell(&["m"], "").await;
    until(|| place.count("m", "failed") > 0).await;
    assert_eq!(place.count("m", "delivered"), 0);
}
