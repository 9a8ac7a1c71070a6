//! Lanes of a real broker, with the official clients: whose a message is, filters, and what fails too often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use graygate_testing::messages::Told;

use super::stage::{FAILING, FILTERED, GROUP, SOON, Stage, TOPIC, consumer, has_done, ids, producer};

/// One broker for all of it: to start another takes longer than what is shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_lane_has_its_own_messages_filters_and_dead_letters() {
    let stage = Stage::start().await;
    for (group, lane) in [(GROUP, "feat1"), (FILTERED, "feat1"), (FAILING, "feat1"), (FAILING, "feat3")] {
        stage.lane_is(group, lane, "open").await;
    }
    let lane = stage.lane(FAILING, "feat2").await.unwrap();
    assert_eq!(lane["state"], "opening", "its group retries otherwise than that of base");
    let why = "`failing` retries and `failing--feat2` does not, or otherwise";
    assert!(stage.proxy.stderr().contains(why), "{}", stage.proxy.stderr());
    let shown = tokio::task::spawn_blocking(move || {
        std::thread::scope(|scope| {
            let all: [fn(&Stage); 3] =
                [whose_a_message_is, filters_keep_their_meaning, what_fails_too_often_is_dead];
            for one in all {
                let stage = &stage;
                scope.spawn(move || one(stage));
            }
        });
    });
    shown.await.unwrap();
}

/// The lane's while it has a consumer, base's while it has none, and never both.
fn whose_a_message_is(stage: &Stage) {
    let base = consumer("push", stage.base, TOPIC, GROUP);
    let lane = consumer("push", stage.feat1, TOPIC, GROUP);
    let mut plain = producer("producer", stage.base, TOPIC);
    let mut marked = producer("producer", stage.feat1, TOPIC);
    let (base_ids, lane_ids, named) = (ids("base", 20), ids("lane", 20), ids("named", 5));
    plain.send(&base_ids, "");
    marked.send(&lane_ids, "");
    // A message of a producer that is in no lane may name one itself.
    plain.send(&named, "feat1");
    has_done(&base, &base_ids);
    has_done(&lane, &[lane_ids.clone(), named.clone()].concat());
    let strangers: Vec<_> = base.done().into_keys().filter(|id| !id.starts_with("base")).collect();
    assert!(strangers.is_empty(), "base got {strangers:?} while the lane had a consumer");
    assert!(lane.done().into_keys().all(|id| !id.starts_with("base")));

    drop(lane);
    let orphans = ids("orphan", 10);
    marked.send(&orphans, "");
    has_done(&base, &orphans);
    let again = consumer("push", stage.feat1, TOPIC, GROUP);
    let late = ids("late", 10);
    // The lane's own consumer has them from the moment on at which base has let go.
    marked.send(&late, "");
    let all: BTreeSet<String> = late.iter().cloned().collect();
    let taken =
        |told: &[Told]| told.iter().filter(|told| told.word == "done" && all.contains(&told.id)).count();
    again.wait(SOON, |told| taken(told) + taken(&base.told()) >= all.len());
    let twice: Vec<_> = again.done().into_keys().filter(|id| base.done().contains_key(id)).collect();
    assert!(twice.is_empty(), "{twice:?} were handled on both sides");
}

/// By tag and by SQL92, in base and in a lane, with clients in two languages.
fn filters_keep_their_meaning(stage: &Stage) {
    let topics = "tagged:tag:a || b,sized:sql:amount > 5";
    let base = consumer("push", stage.base, topics, FILTERED);
    let lane = consumer("node-push", stage.feat1, topics, FILTERED);
    let mut plain = producer("node-producer", stage.base, "tagged,sized");
    let mut marked = producer("producer", stage.feat1, "tagged,sized");
    for (name, by, to) in [("base", &mut plain, &base), ("lane", &mut marked, &lane)] {
        let id = |kind: &str| vec![format!("{kind}-{name}")];
        // What no consumer wants first: it would come first.
        by.send(&id("c"), "@tagged");
        by.send(&id("small"), "@sized amount=3");
        by.send(&id("without"), "@sized");
        by.send(&id("a"), "@tagged");
        by.send(&id("b"), "@tagged");
        by.send(&id("large"), "@sized amount=7");
        has_done(to, &[id("a"), id("b"), id("large")].concat());
    }
    for (name, of) in [("base", &base), ("lane", &lane)] {
        let done: Vec<String> = of.done().into_keys().collect();
        assert_eq!(done, ["a", "b", "large"].map(|kind| format!("{kind}-{name}")), "{name}");
    }
}

/// After two attempts, with the dead letters of the group whose message it was.
fn what_fails_too_often_is_dead(stage: &Stage) {
    let topic = "failing-topic";
    let base = consumer("push", stage.base, topic, FAILING);
    let lane = consumer("push", stage.feat1, topic, FAILING);
    let mut sender = producer("producer", stage.base, topic);
    let dead = |name: &str| vec![format!("dead-{name}")];
    sender.send(&dead("base"), "");
    sender.send(&dead("lane"), "feat1");
    // No consumer is in this lane, and so it is one of base that fails.
    sender.send(&dead("drained"), "feat3");
    let until = Instant::now() + SOON;
    for group in [FAILING, "failing--feat1", "failing--feat3"] {
        while !stage.broker.has_topic(&format!("%DLQ%{group}")) {
            assert!(Instant::now() < until, "{group} has no dead letter");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
    // A message that was on its way to base when the lane's consumer came has spent an attempt: one or two are told.
    let failed = |told: &[Told]| -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for one in told.iter().filter(|one| one.word == "failed") {
            *times.entry(one.id.clone()).or_default() += 1;
        }
        times
    };
    // What clients say comes through a pipe, beside what brokers know.
    for (client, expected) in [(&base, &["dead-base", "dead-drained"][..]), (&lane, &["dead-lane"])] {
        client.wait(SOON, |told| failed(told).len() >= expected.len());
        let failed = failed(&client.told());
        assert!(failed.keys().eq(expected) && failed.values().all(|times| *times <= 2), "{failed:?}");
    }
}
