//! What moves plans dies, or what it writes to: the audience stays as it is or goes, it never grows, and what there was goes on.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::plans::{Control, PATIENCE, Stage, Traffic, stage};
use super::stage::taken;
use crate::harness::proxy::until;

/// Who of these people has the new version.
async fn gray(stage: &Stage, people: std::ops::Range<usize>) -> Vec<usize> {
    let mut gray = Vec::new();
    let mut connection = stage.proxy.connect().await;
    for user in people {
        let said = connection.get("/", &[("x-user", &format!("known{user}"))]).await;
        assert_eq!(said.status(), 200);
        if said.text() == "gray" {
            gray.push(user);
        }
    }
    gray
}

/// Waits until none of these people has the new version, which may break: what a plan writes is in force a moment later.
async fn all_have_release(stage: &Stage, people: std::ops::Range<usize>) {
    until(async || {
        let mut connection = stage.proxy.connect().await;
        for user in people.clone() {
            let said = connection.get("/", &[("x-user", &format!("known{user}"))]).await;
            if said.status() != 200 || said.text() == "gray" {
                return false;
            }
        }
        true
    })
    .await;
}

/// The lines of the plan's evidence, as `(second, gray requests)`.
async fn evidence(control: &Control) -> Vec<(u64, u64)> {
    let text = control.text("/plans/p/evidence").await;
    let line = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        (line["second"].as_u64().unwrap(), line["requests"]["gray"].as_u64().unwrap())
    };
    text.lines().map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leader_that_is_killed_leaves_its_evidence_to_the_next() {
    let mut stage = stage(20).await;
    let second = Control::start(&stage.etcd).await;
    stage.start_plan().await;
    let traffic = Traffic::on(stage.proxy.address);
    // What the leader saw is told by the other one as well, while it lives and when it is dead.
    until(async || !evidence(&second).await.is_empty()).await;
    let before = evidence(&second).await;
    let seen = stage.control.plan("p").await.1["requests"]["gray"].as_u64().unwrap();
    stage.control.kill();
    let begun = Instant::now();
    while second.plan("p").await.1["requests"]["gray"].as_u64().unwrap() <= seen {
        assert!(begun.elapsed() < PATIENCE, "no one goes on: {}", second.plan("p").await.1);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let after = evidence(&second).await;
    assert_eq!(after[..before.len()], before);
    assert!(after.last().unwrap().1 > seen && after.is_sorted(), "{after:?}");
    stage.breaks.store(true, Ordering::Relaxed);
    second.comes_to("p", "ROLLBACK").await;
    assert_eq!(traffic.stop().await, 0);
    all_have_release(&stage, 0..100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_any_control_process_the_audience_stays() {
    let mut stage = stage(20).await;
    stage.start_plan().await;
    let before = gray(&stage, 0..300).await;
    assert!((30..=90).contains(&before.len()), "{}", before.len());
    let traffic = Traffic::on(stage.proxy.address);
    stage.control.kill();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        assert_eq!(gray(&stage, 0..300).await, before);
    }
    // A version that breaks meanwhile is found out by the one that starts next.
    stage.breaks.store(true, Ordering::Relaxed);
    stage.control.start_again().await;
    stage.control.comes_to("p", "ROLLBACK").await;
    assert_eq!(traffic.stop().await, 0);
    all_have_release(&stage, 0..300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_etcd_that_dies_in_the_middle_of_a_step_has_the_whole_step_or_nothing_of_it() {
    let mut stage = stage(20).await;
    let plan = "services: [s]\nversion: gray\nsteps: [{share: 10, hold: 1h}, {share: 30, hold: 1h}, {share: 50, hold: 1h}, {share: 70, hold: 1h}]\nguards: {latency: off, fallback: off}\n";
    stage.etcd.delete("plans/p").await;
    until(async || stage.control.send("GET", "/plans/p", None, "").await.0 == 404).await;
    stage.control.put("/plans/p", plan).await;
    stage.start_plan().await;
    let shares = [10, 30, 50, 70];
    let traffic = Traffic::on(stage.proxy.address);
    let mut begun = 1;
    for delay in [1, 6, 20] {
        let (tag, _) = stage.control.plan("p").await;
        let body = r#"{"reason": "test"}"#;
        let asked = Instant::now();
        let kill = async {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        };
        let advance = stage.control.send("POST", "/plans/p/advance", Some(&tag), body);
        let (status, died) = {
            tokio::pin!(advance);
            tokio::select! {
                answer = &mut advance => (answer.0, false),
                () = kill => {
                    stage.etcd.kill();
                    (advance.await.0, true)
                }
            }
        };
        assert!([200, 503].contains(&status), "{status}");
        if died {
            assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        } else {
            stage.etcd.kill();
        }
        // Proxies go on with what they have.
        gray(&stage, 0..100).await;
        stage.etcd.restart().await;
        // An etcd of one member answers reads from before its last writes until it has taken another one.
        let mut client = stage.etcd.client().await;
        taken(async || client.put("elsewhere", "x", None).await).await;
        // The rule says how far it came; what is told may be older until etcd is heard again.
        let rule = stage.etcd.get("rules/plan.p.share").await;
        let rule = rule.unwrap_or_else(|| panic!("{status} at {begun}, and no rule"));
        let is_it = |share: &i32| rule.contains(&format!("gray: {share}}}"));
        let now = 1 + shares.iter().position(is_it).unwrap_or_else(|| panic!("{rule}"));
        assert!(now == begun || now == begun + 1, "{rule}");
        assert!(status != 200 || now == begun + 1, "an answered step is there: {rule}");
        until(async || stage.control.plan("p").await.1["steps_begun"] == now).await;
        begun = now;
        // Each step that has begun was told once, and no other.
        until(async || {
            let (_, _, runs) = stage.control.send("GET", "/plans/p/runs", None, "").await;
            runs["items"][0]["transitions"].as_array().map(Vec::len) == Some(begun)
        })
        .await;
    }
    assert_eq!(traffic.stop().await, 0);
    until(async || stage.control.act("p", "rollback").await.0 == 200).await;
    stage.is_taken_back().await;
}
