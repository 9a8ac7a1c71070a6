//! The availability table: what users notice of each fault of a gray version.
//!
//! Every fault has a service of its own with two gray and two release instances. Four clients send half of their
//! requests to gray while both gray instances have the fault, then the fault ends. With `GRAYGATE_AVAILABILITY` naming
//! a file the table is written there (`make availability`).

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::faults::graygate::{Graygate, PATIENCE, Service};
use crate::faults::upstream::{Mode, Upstream};
use crate::faults::wire::{Answer, Client};

const CLIENTS: usize = 4;
/// Requests of each client while the fault lasts.
const REQUESTS: usize = 100;
/// Requests served by gray in a row that count as recovered.
const RECOVERED: usize = 20;
/// Errors in a row that eject, and instances that have the fault.
const ROW: usize = 5;
const GRAY: usize = 2;
/// The first ejection's length, as `PASSIVE` says it; later ones are longer.
const EJECTED: Duration = Duration::from_secs(2);

const PASSIVE: &str = "outlier: {consecutive_errors: 5, eject_for: 2s, max_ejected: 100%}\n\
    timeouts: {connect: 250ms, read: 500ms, request: 5s}\n";
const ACTIVE: &str =
    "health: {http: {path: /healthz}, interval: 200ms, timeout: 300ms, unhealthy_after: 2}\n";

struct Fault {
    /// A name for documents, and one for people.
    name: &'static str,
    what: &'static str,
    mode: Mode,
    checks: bool,
    /// Whether it shows only when the answer has begun, which cannot be taken back: every time an instance takes
    /// requests, a row of them fails until it is ejected.
    shows_late: bool,
}

const FAULTS: [Fault; 13] = [
    fault("refused", "connections are refused", Mode::Refuse, false),
    fault("refused-checked", "connections are refused, active checks", Mode::Refuse, true),
    fault("flapping", "refuses and serves in turn, 100 ms each", Mode::Refuse, false),
    fault("hanging", "accepts and never answers", Mode::Hang, false),
    fault("hanging-checked", "accepts and never answers, active checks", Mode::Hang, true),
    fault("reset", "resets after the request", Mode::Reset, false),
    fault("reset-in-header", "resets within the header", Mode::ResetInHeader, false),
    fault("dripping", "sends its header byte by byte, without end", Mode::Drip, false),
    fault("garbage", "answers what is not HTTP", Mode::Garbage, false),
    fault("close-idle", "closes kept connections unannounced", Mode::CloseIdle, false),
    fault("slow", "takes 100 ms for each answer", Mode::Slow, false),
    begun("reset-in-body", "resets within the body", Mode::ResetInBody),
    begun("errors", "answers 500 to everything", Mode::Errors),
];

const fn fault(name: &'static str, what: &'static str, mode: Mode, checks: bool) -> Fault {
    Fault { name, what, mode, checks, shows_late: false }
}

const fn begun(name: &'static str, what: &'static str, mode: Mode) -> Fault {
    Fault { name, what, mode, checks: false, shows_late: true }
}

impl Fault {
    /// How many requests may fail while the fault lasts this long. An ejected instance is back after `EJECTED` and has
    /// to earn its ejection again: a slow machine sees more of that, so that the time has a part in it.
    fn most_failed(&self, lasted: Duration) -> usize {
        let rounds = 1 + (lasted.as_millis() / EJECTED.as_millis()) as usize;
        // Beside the row, what was under way when it became long enough.
        if self.shows_late { rounds * GRAY * (ROW + CLIENTS) } else { 0 }
    }
}

/// What came of a fault.
struct Row {
    what: &'static str,
    sent: usize,
    failed: Vec<String>,
    recovery: Duration,
    most_failed: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_gray_instances_fail_no_request_that_can_be_repeated() {
    let mut upstreams = Vec::new();
    for _ in &FAULTS {
        let mut of_fault = Vec::new();
        for name in ["gray", "gray", "release", "release"] {
            of_fault.push(Upstream::start(name).await);
        }
        upstreams.push(Arc::new(of_fault));
    }
    let graygate = Arc::new(start(&upstreams).await);
    let mut rows = Vec::new();
    // A few at a time: all at once would measure the machine.
    for (faults, upstreams) in FAULTS.chunks(4).zip(upstreams.chunks(4)) {
        let mut jobs = Vec::new();
        for (fault, upstreams) in faults.iter().zip(upstreams) {
            jobs.push(tokio::spawn(endure(graygate.clone(), fault, upstreams.clone())));
        }
        for job in jobs {
            rows.push(job.await.unwrap());
        }
    }
    let table = table(&rows);
    if let Some(file) = std::env::var_os("GRAYGATE_AVAILABILITY") {
        std::fs::write(file, &table).unwrap();
    }
    for row in &rows {
        assert!(row.failed.len() <= row.most_failed, "{}: {:?}\n{table}", row.what, row.failed);
    }
}

async fn start(upstreams: &[Arc<Vec<Upstream>>]) -> Graygate {
    let more = |fault: &Fault| format!("{PASSIVE}{}", if fault.checks { ACTIVE } else { "" });
    let documents: Vec<String> = FAULTS.iter().map(more).collect();
    let instances: Vec<Vec<&Upstream>> = upstreams.iter().map(|all| all.iter().collect()).collect();
    let services: Vec<Service<'_>> = FAULTS
        .iter()
        .zip(&instances)
        .zip(&documents)
        .map(|((fault, all), more)| Service {
            name: fault.name,
            gray: &all[..GRAY],
            release: &all[GRAY..],
            more,
        })
        .collect();
    Graygate::start(&services).await
}

/// One fault from a healthy start to a healthy end.
async fn endure(graygate: Arc<Graygate>, fault: &'static Fault, upstreams: Arc<Vec<Upstream>>) -> Row {
    let gray = || upstreams.iter().take(GRAY);
    wait_until_gray_serves(&graygate, fault).await;
    gray().for_each(|one| one.set(fault.mode));
    let began = Instant::now();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(tokio::spawn(use_it(graygate.clone(), fault, number)));
    }
    while fault.name == "flapping" && clients.iter().any(|client| !client.is_finished()) {
        for mode in [Mode::Healthy, fault.mode] {
            tokio::time::sleep(Duration::from_millis(100)).await;
            gray().for_each(|one| one.set(mode));
        }
    }
    let mut failed = Vec::new();
    for client in clients {
        failed.extend(client.await.unwrap());
    }
    gray().for_each(|one| one.set(Mode::Healthy));
    let mended = Instant::now();
    let since = wait_until_gray_serves(&graygate, fault).await;
    let recovery = since.saturating_duration_since(mended);
    let most_failed = fault.most_failed(mended.saturating_duration_since(began));
    Row { what: fault.what, sent: CLIENTS * REQUESTS, failed, recovery, most_failed }
}

/// One client's requests; what failed, in words.
async fn use_it(graygate: Arc<Graygate>, fault: &Fault, number: usize) -> Vec<String> {
    let mut failed = Vec::new();
    let mut client = graygate.client().await;
    for request in 0..REQUESTS {
        let path = format!("/{}/{number}/{request}", fault.name);
        let more = if request % 2 == 0 { "x-gray: yes\r\n" } else { "" };
        // Where no connection stands nothing was sent, so that any method is safe. Before, the proxy may have to
        // find out that its kept connections are gone.
        let post = if fault.name.starts_with("refused") && request > 20 { "POST" } else { "PUT" };
        let (method, body) = match request / 2 % 3 {
            0 => ("GET", ""),
            1 => (post, "some body"),
            _ => ("DELETE", ""),
        };
        let answer = client.ask(method, &path, more, body).await;
        if !answer.as_ref().is_some_and(Answer::is_good) {
            failed.push(format!("{method} {path}: {answer:?}"));
        }
        if answer.is_none_or(|answer| !answer.is_whole || answer.header("connection") == Some("close")) {
            client = graygate.client().await;
        }
    }
    failed
}

/// Waits until requests for gray are served by gray, and says since when they are.
async fn wait_until_gray_serves(graygate: &Graygate, fault: &Fault) -> Instant {
    let begun = Instant::now();
    let mut since = begun;
    let mut in_a_row = 0;
    while in_a_row < RECOVERED {
        assert!(begun.elapsed() < PATIENCE, "{} does not recover", fault.name);
        let mut client: Client = graygate.client().await;
        let asked = Instant::now();
        let answer = client.ask("GET", &format!("/{}/again", fault.name), "x-gray: yes\r\n", "").await;
        let is_gray = answer.is_some_and(|answer| answer.is_good() && answer.text() == "gray");
        if in_a_row == 0 || !is_gray {
            since = asked;
        }
        in_a_row = if is_gray { in_a_row + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    since
}

fn table(rows: &[Row]) -> String {
    let mut table = String::new();
    let _ = writeln!(table, "| every gray instance | requests sent | failed | gray serves again after |");
    let _ = writeln!(table, "|---|--:|--:|--:|");
    for row in rows {
        let recovery = format!("{:.1} s", row.recovery.as_secs_f64());
        let _ = writeln!(table, "| {} | {} | {} | {recovery} |", row.what, row.sent, row.failed.len());
    }
    table
}
