//! What a gateway's memory does while clients and lanes come and go for long: `make messages-soak MINUTES=60`.
//!
//! Without `GRAYGATE_MESSAGES_SOAK` nothing is measured, as it takes that long.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use graygate_testing::messages::Layout;

use super::checks::{Fate, broken};
use super::producers::Producers;
use super::proof::keep;
use super::scene::{Act, Scene, processor_seconds, resident};

/// Between two messages.
const EVERY: Duration = Duration::from_millis(50);
/// Between two acts.
const APART: Duration = Duration::from_secs(5);
const ROWS: usize = 12;
const SETTLING: Duration = Duration::from_secs(150);
/// What memory may have grown by, from the second quarter of the time to the last.
const GROWTH: f64 = 1.1;

/// No gateway ends: each has to bear all of it.
const ACTS: &[Act] = &[
    Act::KillLaneConsumer,
    Act::StartLaneConsumer,
    Act::OpenLane,
    Act::StartLaneConsumer,
    Act::ReplaceBase,
    Act::StopLaneConsumer,
    Act::StartLaneConsumer,
    Act::CloseLane,
];

struct Sample {
    at: Duration,
    /// Bytes of each gateway.
    memory: [u64; 2],
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_stays_flat_while_clients_and_lanes_come_and_go() {
    let Some(file) = std::env::var_os("GRAYGATE_MESSAGES_SOAK") else { return };
    let minutes: f64 = std::env::var("GRAYGATE_MESSAGES_MINUTES").unwrap().parse().unwrap();
    let lasting = Duration::from_secs_f64(minutes * 60.0);
    let mut scene = Scene::start(Layout::One, None).await;
    let mut producers = Producers::start(&scene).await;
    let begun = Instant::now();
    let sender = tokio::spawn(async move {
        let mut sent = 0;
        while begun.elapsed() < lasting {
            sent += 1;
            producers.send(sent);
            let due = begun + EVERY * u32::try_from(sent).unwrap();
            tokio::time::sleep_until(due.into()).await;
        }
        producers
    });
    let (mut samples, mut acts, mut turn) = (Vec::new(), ACTS.iter().cycle(), 0);
    while begun.elapsed() < lasting {
        samples.push(Sample { at: begun.elapsed(), memory: scene.processes().map(resident) });
        scene.act(*acts.next().unwrap(), turn).await;
        turn += 1;
        tokio::time::sleep(APART).await;
    }
    let lasted = begun.elapsed();
    let used: f64 = scene.processes().map(processor_seconds).iter().sum();
    let producers = sender.await.unwrap();
    let sent = producers.sent(SETTLING).await;
    let committed = sent.fates.iter().filter(|(_, fate)| **fate == Fate::Committed);
    let committed = committed.map(|(id, _)| id.clone()).collect();
    scene.settle(&committed, SETTLING).await;
    let clients = scene.clients();
    let (log, told) = scene.log(sent).await;
    let found = broken(&log);
    keep("soak", (&log, &found, &told));
    let mut table = format!(
        "{minutes} minutes, two gateways, {} messages, {} deliveries, {turn} acts of {} kinds, {clients} consumers in turn; \
         {:.1} % of a processor for both. Checks that are broken: {}. \
         In the group without lanes, whose calls pass as they come, {} messages that failed never came again.\n\n",
        log.sent.len(),
        log.deliveries.len(),
        ACTS.len(),
        used / lasted.as_secs_f64() * 100.0,
        if found.is_empty() { "none".to_owned() } else { format!("{:?}", found.keys()) },
        log.not_again(),
    );
    table.push_str("| minute | first gateway, MiB | second, MiB |\n|---|---|---|\n");
    for row in 0..=ROWS {
        let sample = &samples[row * (samples.len() - 1) / ROWS];
        let [first, second] = sample.memory.map(|bytes| bytes as f64 / f64::from(1 << 20));
        writeln!(table, "| {:.1} | {first:.1} | {second:.1} |", sample.at.as_secs_f64() / 60.0).unwrap();
    }
    println!("{table}");
    std::fs::write(Path::new(&file), &table).unwrap();
    assert!(found.is_empty(), "{found:#?}");
    let quarter = samples.len() / 4;
    let mean = |samples: &[Sample]| {
        samples.iter().flat_map(|one| one.memory).sum::<u64>() as f64 / samples.len() as f64
    };
    let (before, after) = (mean(&samples[quarter..2 * quarter]), mean(&samples[3 * quarter..]));
    assert!(after < before * GROWTH, "memory grew from {before} to {after} bytes\n{table}");
}
