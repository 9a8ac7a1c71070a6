//! Whose a message is: the lane's while it has a consumer, base's while it has none, and never both.

use std::collections::BTreeSet;

use super::stage::{Stage, has_done, ids};

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_has_its_own_messages_and_base_takes_them_while_no_other_does() {
    let stage = Stage::start("feat1").await;
    stage.lane_is("feat1", "open").await;
    let run = tokio::task::spawn_blocking(move || {
        let base = stage.consumer("push", stage.base);
        let lane = stage.consumer("push", stage.feat1);
        let (mut plain, mut marked) = (stage.producer(stage.base), stage.producer(stage.feat1));
        let (base_ids, lane_ids, named) = (ids("base", 20), ids("lane", 20), ids("named", 5));
        plain.send(&base_ids, None);
        marked.send(&lane_ids, None);
        // A message of a producer that is in no lane may name one itself.
        plain.send(&named, Some("feat1"));
        has_done(&base, &base_ids);
        has_done(&lane, &[lane_ids.clone(), named.clone()].concat());
        let strangers: Vec<_> = base.done().into_keys().filter(|id| !id.starts_with("base")).collect();
        assert!(strangers.is_empty(), "base got {strangers:?} while the lane had a consumer");
        assert!(lane.done().into_keys().all(|id| !id.starts_with("base")));

        drop(lane);
        let orphans = ids("orphan", 10);
        marked.send(&orphans, None);
        has_done(&base, &orphans);
        let again = stage.consumer("push", stage.feat1);
        let late = ids("late", 10);
        // The lane's own consumer has them from the moment on at which base has let go.
        marked.send(&late, None);
        let all: BTreeSet<String> = late.iter().cloned().collect();
        let taken = |told: &[graygate_testing::messages::Told]| {
            told.iter().filter(|told| told.word == "done" && all.contains(&told.id)).count()
        };
        again.wait(super::stage::SOON, |told| taken(told) + taken(&base.told()) >= all.len());
        let twice: Vec<_> = again.done().into_keys().filter(|id| base.done().contains_key(id)).collect();
        assert!(twice.is_empty(), "{twice:?} were handled on both sides");
    });
    run.await.unwrap();
}
