//! Two gateways, a real RocketMQ, a real etcd and clients that come and go, and seven checks over all that was seen.
//!
//! The test itself is short. `make messages-proof` names a file in `GRAYGATE_MESSAGES` and how many messages in
//! `GRAYGATE_MESSAGES_COUNT`; `make messages-mutations` names a file in `GRAYGATE_MUTATIONS`, and may choose among the
//! mistakes that the program can be asked to make with `GRAYGATE_MUTATIONS_CHOSEN`. What was seen in either is kept in
//! `target/tmp`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use graygate_store::board;
use graygate_testing::messages::Layout;

use super::checks::{Broken, CHECKS, Fate, Log, Via, broken};
use super::producers::Producers;
use super::scene::{Act, ORDERED, Scene, step};

/// Until everything that was sent is handled: the last retry may wait for a minute.
const SETTLING: Duration = Duration::from_secs(150);

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    Mixed,
    /// The same, and in the middle one of the first lane whose handler takes 30 s.
    OneLong,
    /// Nothing but what belongs to the second lane once that is open.
    SecondLane,
}

/// How much of it all.
#[derive(Clone, Copy)]
struct Extent {
    messages: usize,
    /// How long they are sent.
    lasting: Duration,
    acts: &'static [Act],
    /// How often they happen, one after another.
    rounds: usize,
    layout: Layout,
    mutation: Option<&'static str>,
    /// How long what was sent may take to be handled.
    settling: Duration,
    load: Load,
    /// What happens once all that was sent is handled.
    afterwards: &'static [Act],
}

/// As many messages as one round of acts is for.
const A_ROUND: usize = 10_000;

const SHORT: &[Act] =
    &[Act::KillLaneConsumer, Act::KillGateway, Act::Wait, Act::StartLaneConsumer, Act::CloseLane];
const FULL: &[Act] = &[
    Act::OpenLane,
    Act::KillLaneConsumer,
    Act::Wait,
    Act::StartLaneConsumer,
    Act::KillGateway,
    Act::Wait,
    Act::StopLaneConsumer,
    Act::CutFromEtcd,
    Act::Wait,
    Act::Mend,
    Act::StartLaneConsumer,
    Act::RestartBroker,
    Act::Wait,
    Act::CloseLane,
    Act::KillLaneConsumer,
    Act::ReplaceBase,
    Act::OpenLane,
    Act::StartLaneConsumer,
    Act::Wait,
    Act::CloseLane,
];

/// What a run showed.
struct Shown {
    log: Log,
    broken: Broken,
    told: Vec<String>,
    lasted: Duration,
}

async fn run(extent: Extent) -> Shown {
    let begun = Instant::now();
    let mut scene = Scene::start(extent.layout, extent.mutation).await;
    if extent.load == Load::OneLong {
        scene.without_simple().await;
    }
    let producers = Producers::start(&scene).await;
    scene.tell("all clients are there");
    let sending = Instant::now();
    let sender = tokio::spawn(send(producers, extent));
    let acts = extent.acts.iter().cycle().take(extent.acts.len() * extent.rounds);
    let apart = extent.lasting / u32::try_from(extent.acts.len() * extent.rounds + 1).unwrap();
    for (turn, act) in acts.enumerate() {
        let due = sending + apart * u32::try_from(turn + 1).unwrap();
        tokio::time::sleep_until(due.into()).await;
        scene.act(*act, turn).await;
    }
    let producers = sender.await.unwrap();
    scene.relay.release();
    let sent = producers.sent(SETTLING).await;
    if extent.mutation.is_none() {
        let entries = board::look(&scene.etcd.settings()).await.unwrap();
        assert_eq!(
            step(&entries, ORDERED, "feat2").as_deref(),
            Some("priming"),
            "its group is not like that of base"
        );
    }
    let of =
        |fate: Fate| sent.fates.iter().filter(|(_, of)| **of == fate).map(|(id, _)| id.clone()).collect();
    let committed: BTreeSet<String> = of(Fate::Committed);
    scene.tell(&format!(
        "{} messages are committed, {} of unknown fate",
        committed.len(),
        of(Fate::Unknown).len()
    ));
    scene.settle(&committed, extent.settling).await;
    for (turn, act) in extent.afterwards.iter().enumerate() {
        scene.act(*act, turn).await;
    }
    scene.tell("all that arrives has arrived");
    let (log, told) = scene.log(sent).await;
    let shown = Shown { broken: broken(&log), log, told, lasted: begun.elapsed() };
    keep(extent.mutation.unwrap_or("faults"), (&shown.log, &shown.broken, &shown.told));
    shown
}

async fn send(mut producers: Producers, extent: Extent) -> Producers {
    let begun = Instant::now();
    let every = extent.lasting / u32::try_from(extent.messages).unwrap();
    for number in 1..=extent.messages {
        match extent.load {
            Load::OneLong if number == extent.messages / 2 => producers.long(number),
            Load::Mixed | Load::OneLong => producers.send(number),
            Load::SecondLane => producers.of_second_lane(number),
        }
        let due = begun + every * u32::try_from(number).unwrap();
        tokio::time::sleep_until(due.into()).await;
    }
    producers
}

/// Everything that was seen, for who wants to know where a breach comes from.
pub fn keep(name: &str, (log, broken, told): (&Log, &Broken, &[String])) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("messages-{name}.log"));
    let mut text = format!("{told:#?}\n{broken:#?}\n{:#?}\n{:#?}\n{:#?}\n", log.kills, log.cuts, log.living);
    for delivery in &log.deliveries {
        writeln!(text, "{delivery:?}").unwrap();
    }
    for delivery in &log.straight {
        writeln!(text, "straight {delivery:?}").unwrap();
    }
    for (id, fate) in &log.sent {
        writeln!(text, "{id} {fate:?} {:?} third {:?}", log.stored.get(id), log.third.get(id)).unwrap();
    }
    std::fs::write(path, text).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_message_is_lost_or_handled_by_two_groups_whatever_happens_to_clients_and_gateways() {
    if let Some(file) = std::env::var_os("GRAYGATE_MESSAGES") {
        let count = std::env::var("GRAYGATE_MESSAGES_COUNT").map_or(20_000, |count| count.parse().unwrap());
        return full(count, Path::new(&file)).await;
    }
    if let Some(file) = std::env::var_os("GRAYGATE_MUTATIONS") {
        return mistakes(Path::new(&file)).await;
    }
    let extent = Extent {
        messages: 300,
        lasting: Duration::from_secs(15),
        acts: SHORT,
        rounds: 1,
        layout: Layout::One,
        mutation: None,
        settling: SETTLING,
        load: Load::Mixed,
        afterwards: &[],
    };
    let shown = run(extent).await;
    assert!(shown.broken.is_empty(), "{:#?}\n{:#?}", shown.broken, shown.told);
}

async fn full(count: usize, file: &Path) {
    // Slower than producers can, so that everything happens to messages on their way.
    let lasting = Duration::from_secs(150).max(Duration::from_millis(count as u64 * 20));
    let rounds = count.div_ceil(A_ROUND);
    let extent = Extent {
        messages: count,
        lasting,
        acts: FULL,
        rounds,
        layout: Layout::Cluster,
        mutation: None,
        settling: SETTLING,
        load: Load::Mixed,
        afterwards: &[],
    };
    let shown = run(extent).await;
    let mut table = String::new();
    let log = &shown.log;
    let fate = |fate: Fate| log.sent.values().filter(|of| **of == fate).count();
    let via = |via: Via| log.deliveries.iter().filter(|one| one.via == via).count();
    writeln!(
        table,
        "{count} messages in {} s: {} committed, {} rolled back, {} of unknown fate. {} deliveries in the group of base, {} to a \
         lane's own consumers, {} of lanes to consumers of base. {} faults and changes meanwhile.\n",
        shown.lasted.as_secs(),
        fate(Fate::Committed),
        fate(Fate::RolledBack),
        fate(Fate::Unknown),
        via(Via::Base),
        via(Via::Lane),
        via(Via::Drained),
        FULL.iter().filter(|act| **act != Act::Wait).count() * rounds
    )
    .unwrap();
    table.push_str("| check | broken |\n|---|---|\n");
    for (letter, what, _) in CHECKS {
        let found = shown.broken.get(&letter).map_or(0, Vec::len);
        writeln!(table, "| ({letter}) {what} | {found} |").unwrap();
    }
    writeln!(
        table,
        "\nIn the group without lanes, whose calls pass as they come, {} never came again. A group whose consumer is connected to \
         RocketMQ itself got {} of {} deliveries again that it had acknowledged.",
        log.not_again(),
        log.again_straight().len(),
        log.straight.len()
    )
    .unwrap();
    println!("{table}\n{:#?}\n{:#?}", shown.told, first_few(&shown.broken));
    // Also one that did not hold is told.
    std::fs::write(file, &table).unwrap();
    assert!(shown.broken.is_empty(), "{table}");
}

/// What the program can be asked to do wrong, and the checks of which at least one notices it.
const MUTATIONS: [(&str, &str); 5] = [
    ("liveness", "base leaves out what lanes take that live, not what is theirs"),
    ("priming", "producers mark before the lane has a group"),
    ("polls", "producers mark while receives with the old filter are on their way"),
    ("separator", "one underscore between group and lane"),
    ("session", "base acknowledges in its own name what it drained"),
];

async fn mistakes(file: &Path) {
    let mut table =
        "| mistake made on purpose | messages | checks that are broken |\n|---|---|---|\n".to_owned();
    let mut unseen = Vec::new();
    let chosen = std::env::var("GRAYGATE_MUTATIONS_CHOSEN").ok().filter(|chosen| !chosen.is_empty());
    let is_chosen =
        |name: &str| chosen.as_deref().is_none_or(|chosen| chosen.split(' ').any(|one| one == name));
    for (name, what) in MUTATIONS.into_iter().filter(|(name, _)| is_chosen(name)) {
        let extent = mutated(name);
        let shown = run(extent).await;
        let seen: Vec<String> =
            shown.broken.iter().map(|(letter, found)| format!("({letter}) {}", found.len())).collect();
        let line = format!("| {what} | {} | {} |", extent.messages, seen.join(", "));
        println!("{line}\n{:#?}", first_few(&shown.broken));
        writeln!(table, "{line}").unwrap();
        if seen.is_empty() {
            unseen.push(name);
        }
    }
    std::fs::write(file, &table).unwrap();
    assert!(
        unseen.is_empty(),
        "not noticed: {unseen:?}; was the program built with the feature `mutations`?\n{table}"
    );
}

/// Where each mistake shows.
fn mutated(name: &'static str) -> Extent {
    let usual = Extent {
        messages: 400,
        lasting: Duration::from_secs(25),
        acts: &[Act::OpenLane],
        rounds: 1,
        layout: Layout::One,
        mutation: Some(name),
        // What is lost never comes: there is no use in waiting for it as long as for what is late.
        settling: Duration::from_secs(30),
        load: Load::Mixed,
        afterwards: &[],
    };
    match name {
        // A lane that had a consumer has none, and gets one again.
        "liveness" => Extent {
            acts: &[Act::KillLaneConsumer, Act::Wait, Act::Wait, Act::StartLaneConsumer, Act::Wait],
            ..usual
        },
        // Its messages come from the first moment on.
        "priming" => Extent { load: Load::SecondLane, ..usual },
        // And seldom, so that receives wait for them.
        "polls" => {
            Extent { messages: 120, lasting: Duration::from_secs(40), load: Load::SecondLane, ..usual }
        }
        // It has a consumer of its own, beside that of the other group.
        "separator" => Extent {
            lasting: Duration::from_secs(50),
            acts: &[Act::OpenLane, Act::StartLaneConsumer, Act::Wait],
            ..usual
        },
        // What base has drained is still held in the name of its sessions, until they end.
        _ => Extent {
            messages: 100,
            acts: &[Act::KillLaneConsumer],
            settling: Duration::from_secs(90),
            load: Load::OneLong,
            afterwards: &[Act::Wait, Act::ReplaceBase, Act::Wait, Act::Wait, Act::Wait, Act::Wait],
            ..usual
        },
    }
}

fn first_few(broken: &Broken) -> BTreeMap<char, Vec<String>> {
    broken.iter().map(|(letter, found)| (*letter, found.iter().take(3).cloned().collect())).collect()
}
