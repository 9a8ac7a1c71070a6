//! Ejection and return, budgets, and documents that change under traffic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::faults::graygate::{Graygate, Service};
use crate::faults::upstream::{Mode, Upstream};
use crate::faults::wire::Answer;

const GRAY: &str = "x-gray: yes\r\n";

async fn ask(graygate: &Graygate, more: &str) -> Answer {
    graygate.client().await.ask("GET", "/s", more, "").await.unwrap()
}

async fn pair() -> (Upstream, Upstream) {
    (Upstream::start("gray").await, Upstream::start("release").await)
}

#[tokio::test]
async fn a_gray_version_that_only_fails_is_ejected_and_comes_back() {
    let (gray, release) = pair().await;
    let more = "outlier: {consecutive_errors: 5, eject_for: 700ms}\n";
    let graygate =
        Graygate::start(&[Service { name: "s", gray: &[&gray], release: &[&release], more }]).await;
    gray.set(Mode::Errors);
    for _ in 0..5 {
        assert_eq!(ask(&graygate, GRAY).await.status, 500);
    }
    let ejected = Instant::now();
    let answer = ask(&graygate, GRAY).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "release"));
    assert_eq!(graygate.state("s", &gray).await, "ejected");
    let fallen = ["from=\"gray\"", "to=\"release\"", "reason=\"unhealthy\""];
    graygate.wait_for_metric("graygate_fallbacks_total", &fallen, 1.0).await;
    assert_eq!(graygate.metric("graygate_ejections_total", &["version=\"gray\""]).await, 1.0);
    gray.set(Mode::Healthy);
    graygate.wait_for_state("s", &gray, "healthy").await;
    assert!(ejected.elapsed() > Duration::from_millis(600), "{:?}", ejected.elapsed());
    assert_eq!(ask(&graygate, GRAY).await.text(), "gray");
}

#[tokio::test]
async fn a_good_check_ends_an_ejection() {
    let (gray, release) = pair().await;
    let more = "outlier: {consecutive_errors: 2, eject_for: 1h}\n\
                health: {http: {path: /healthz}, interval: 50ms, unhealthy_after: 1, healthy_after: 1}\n";
    let graygate =
        Graygate::start(&[Service { name: "s", gray: &[&gray], release: &[&release], more }]).await;
    graygate.wait_for_state("s", &gray, "healthy").await;
    // Checks fail as well, so that none of them ends the ejection too early.
    gray.set(Mode::Sick);
    graygate.wait_for_state("s", &gray, "unhealthy").await;
    assert_eq!(ask(&graygate, GRAY).await.text(), "release");
    gray.set(Mode::Healthy);
    graygate.wait_for_state("s", &gray, "healthy").await;
    gray.set(Mode::Errors);
    let begun = Instant::now();
    while graygate.metric("graygate_ejections_total", &["version=\"gray\""]).await == 0.0 {
        assert!(begun.elapsed() < crate::faults::graygate::PATIENCE);
        ask(&graygate, GRAY).await;
    }
    gray.set(Mode::Healthy);
    // The hour is not waited for.
    graygate.wait_for_state("s", &gray, "healthy").await;
    assert_eq!(ask(&graygate, GRAY).await.text(), "gray");
}

#[tokio::test]
async fn an_instance_whose_answers_always_break_off_is_ejected() {
    let (gray, release) = pair().await;
    let more = "outlier: {consecutive_errors: 3, eject_for: 1h}\n";
    let graygate =
        Graygate::start(&[Service { name: "s", gray: &[&gray], release: &[&release], more }]).await;
    gray.set(Mode::ResetInBody);
    for _ in 0..3 {
        assert!(!ask(&graygate, GRAY).await.is_whole);
    }
    graygate.wait_for_state("s", &gray, "ejected").await;
    assert_eq!(ask(&graygate, GRAY).await.text(), "release");
}

#[tokio::test]
async fn an_outage_of_the_release_is_not_multiplied() {
    let release = Upstream::start("release").await;
    let more = "retries: 3\n";
    let graygate = Graygate::start(&[Service { name: "s", gray: &[], release: &[&release], more }]).await;
    release.set(Mode::Reset);
    let mut client = graygate.client().await;
    for _ in 0..200 {
        assert_eq!(client.get("/s").await.unwrap().verdict(), (502, "upstream_error"));
    }
    let tries = graygate.metric("graygate_upstream_tries_total", &["\"reset\""]).await;
    // A fifth, and the floor of the windows the requests fell into.
    assert!((200.0..=200.0 * 1.2 + 60.0).contains(&tries), "{tries}");
    assert_eq!(release.requests() as f64, tries);
    assert!(graygate.metric("graygate_retries_suppressed_total", &["service=\"s\""]).await >= 100.0);
}

/// Asks without a pause until told to stop; how often it asked.
async fn traffic(graygate: Arc<Graygate>, stop: Arc<AtomicBool>, more: &'static str) -> usize {
    let mut client = graygate.client().await;
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) {
        let answer = client.ask("PUT", "/s", more, "some body").await;
        assert!(answer.as_ref().is_some_and(Answer::is_good), "{answer:?}");
        asked += 1;
    }
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_change_under_traffic_without_a_failed_request() {
    let (gray, release) = pair().await;
    let other = Upstream::start("other").await;
    let service = |instances: &str| format!("instances:\n{instances}outlier: off\nretries: 0\n");
    let line = |one: &Upstream, more: &str| format!("  - {{address: \"{}\", {more}}}\n", one.address);
    let both = line(&gray, "version: gray") + &line(&release, "version: release");
    let first =
        Service { name: "s", gray: &[&gray], release: &[&release], more: "outlier: off\nretries: 0\n" };
    let graygate = Arc::new(Graygate::start(&[first]).await);
    let stop = Arc::<AtomicBool>::default();
    let clients: Vec<_> = [GRAY, "", GRAY, ""]
        .map(|more| tokio::spawn(traffic(graygate.clone(), stop.clone(), more)))
        .into_iter()
        .collect();
    for (step, served_by_gray) in [
        (both.clone() + &line(&other, "version: gray, draining: true"), "gray"),
        (
            line(&other, "version: gray")
                + &line(&gray, "version: gray, draining: true")
                + &line(&release, "version: release"),
            "other",
        ),
        (
            line(&other, "version: gray, weight: 0")
                + &line(&gray, "version: gray")
                + &line(&release, "version: release"),
            "gray",
        ),
        // The addresses change their versions.
        (line(&gray, "version: release") + &line(&release, "version: gray"), "release"),
        (line(&release, "version: release"), "release"),
        (both.clone(), "gray"),
    ] {
        let before = graygate.running_revision().await;
        graygate.write("services/s.yaml", &service(&step));
        graygate.wait_for_revision_after(before).await;
        assert_eq!(ask(&graygate, GRAY).await.text(), served_by_gray, "{step}");
    }
    // What left or drains is asked no more.
    let before = other.requests();
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 10);
    }
    assert_eq!(other.requests(), before);
}

#[tokio::test]
async fn a_pinned_request_reaches_its_instance_and_no_other_does() {
    let (gray, release) = pair().await;
    let own = Upstream::start("own").await;
    let service = Service { name: "s", gray: &[&gray], release: &[&release], more: "" };
    let graygate = Graygate::start(&[service]).await;
    let before = graygate.running_revision().await;
    // No one is trusted by default: a stranger's pin is not believed.
    graygate.write(
        "services/s.yaml",
        &format!(
            "pin: {{attribute: header:x-developer, tag: developer}}\noutlier: off\ninstances:\n\
             \x20 - {{address: \"{}\", version: release}}\n\
             \x20 - {{address: \"{}\", version: gray, tags: {{developer: li}}}}\n",
            release.address, own.address
        ),
    );
    graygate.wait_for_revision_after(before).await;
    assert_eq!(ask(&graygate, "x-gray: yes\r\nx-developer: li\r\n").await.text(), "release");
    assert_eq!(ask(&graygate, GRAY).await.text(), "release");
    assert_eq!(own.requests(), 0);
}
