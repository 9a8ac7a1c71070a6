//! Operators, two leaders, a store that fails, hands, clocks and crashes, moved step by step by a seed.
//!
//! After every step: no audience without a state that says so; no one falls out while a run goes on; a rollback that was
//! answered stays; a hand's text is never overwritten but by who takes it back; and in the end every transition stands in
//! history, audit and messages exactly once, under one id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use graygate_judge::plan::{Action, Instances, State as Place};
use graygate_rules::documents::{DocumentId, DocumentSet, Raw};
use graygate_store::leader::Term;
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::act::{ActionAsked, ActionDone};
use super::tick::{Figures, Memo};
use crate::audit::{RECORDS, Record};
use crate::control::clock::Clock;
use crate::control::plane::Control;
use crate::notices::{MESSAGES, Message};
use crate::people::{Principal, SessionSettings, Via};
use crate::plans::{Kept, RUNS, Transition, plan_record};
use crate::state::memory::{Fate, Memory};
use crate::state::{Leadership, Range, Slot, State as _, read_json};

const SEEDS: u64 = 1_000;
/// So many seeds are left alone enough for plans to come to their end; in the others everything goes wrong all the time.
const CALM: u64 = 3;
/// Looks of the leader at a time, five seconds each: more than a step's hold where it is calm.
const LOOKS: usize = 4;
const CALM_LOOKS: usize = 13;
const STEPS: usize = 50;
const SERVICE: &str = "identity: [header:x-user]\naliases: {release: v7, gray: v8}\ninstances:\n  - {address: \"127.0.0.1:1\", version: v7}\n  - {address: \"127.0.0.1:2\", version: v8}\n";
const PLAN: &str = "services: [s]\nversion: gray\nsteps:\n  - {who: {attribute: header:x-vip, exists: true}, hold: 1m}\n  - {share: 5, hold: 1m}\n  - {share: 25, hold: 1m, approval: true}\n  - {share: 100, hold: 1m}\nwatch: 10m\n";

/// Chance by seed: the same everywhere and for ever (splitmix64).
#[derive(Clone)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// A clock that goes, and whose wall jumps, when the test says so.
struct Fake {
    begun: Instant,
    now: Mutex<(OffsetDateTime, Duration)>,
}

impl Clock for Fake {
    fn now(&self) -> OffsetDateTime {
        let mut now = self.now.lock();
        // No two moments are the same, as on a machine.
        now.0 += time::Duration::microseconds(1);
        now.0
    }

    fn instant(&self) -> Instant {
        self.begun + self.now.lock().1
    }
}

struct Process {
    control: Arc<Control>,
    told: watch::Sender<Option<Term>>,
    memo: Memo,
}

/// What has happened in all seeds: a simulation in which nothing does shows nothing.
#[derive(Default, Debug)]
struct Happened {
    by_action: BTreeMap<String, usize>,
    refused: usize,
    lost: usize,
    crashes: usize,
    hands: usize,
    promoted: usize,
}

struct World {
    chance: Chance,
    is_calm: bool,
    store: Arc<Memory>,
    clock: Arc<Fake>,
    processes: Vec<Process>,
    term: i64,
    /// What a hand wrote last, by document; gone once a person took it back.
    hands: BTreeMap<String, Option<String>>,
    rolled_back: BTreeSet<u64>,
    before: Option<Kept>,
    tag: String,
}

impl World {
    async fn new(seed: u64) -> World {
        let store = Arc::new(Memory::default());
        store.write_document("services/s", Some(SERVICE));
        store.write_document("plans/p", Some(PLAN));
        let now = OffsetDateTime::from_unix_timestamp(1_764_125_000).unwrap();
        let clock = Arc::new(Fake { begun: Instant::now(), now: Mutex::new((now, Duration::ZERO)) });
        store.elect(1);
        let mut world = World {
            chance: Chance(seed),
            is_calm: seed.is_multiple_of(CALM),
            store,
            clock,
            processes: Vec::new(),
            term: 1,
            hands: BTreeMap::new(),
            rolled_back: BTreeSet::new(),
            before: None,
            tag: String::new(),
        };
        for number in 0..2 {
            let process = world.process(number == 0).await;
            world.processes.push(process);
        }
        world
    }

    async fn process(&self, leads: bool) -> Process {
        let term = Term::Etcd { key: "leader".into(), created: self.term };
        let (told, heard) = watch::channel(leads.then_some(term));
        let mut control = Control::new(self.store.clone(), self.clock.clone(), SessionSettings::default());
        control.leadership = Leadership::told(heard);
        let control = Arc::new(control);
        control.begin(self.documents()).await.unwrap();
        control.look_at_plans().await.unwrap();
        control.plans.loaded();
        Process { control, told, memo: Memo::default() }
    }

    fn documents(&self) -> DocumentSet {
        let mut set = DocumentSet::default();
        for (name, text) in self.store.documents() {
            set.documents.insert(DocumentId::parse(&name).unwrap(), Arc::new(Raw::yaml(&text[..])));
        }
        set
    }

    async fn kept(&self) -> Option<Kept> {
        let stored = self.store.get(&Slot::record(plan_record("p"))).await.unwrap()?;
        Some(read_json("p", &stored.value).unwrap())
    }

    async fn step(&mut self, happened: &mut Happened) {
        self.fail_next();
        let at = usize::try_from(self.chance.below(2)).unwrap();
        match self.chance.below(20) {
            0..=7 => self.act(at, happened).await,
            8..=14 => self.tick(at, happened).await,
            15 if !self.is_calm || self.chance.one_in(4) => self.hand(happened).await,
            16 => self.elect(at),
            17 => {
                self.store.hooked(Box::new(|_| Fate::Written));
                let leads = self.processes[at].control.leadership.leads();
                self.processes[at] = self.process(leads).await;
                happened.crashes += 1;
            }
            18 => {
                let mut now = self.clock.now.lock();
                let days = i64::try_from(self.chance.below(3)).unwrap() - 1;
                now.0 += time::Duration::days(days);
            }
            _ => self.follow(at).await,
        }
        self.store.hooked(Box::new(|_| Fate::Written));
    }

    /// The store refuses a write now and then, or takes it and loses the answer.
    fn fail_next(&mut self) {
        let mut chance = Chance(self.chance.next());
        self.store.hooked(Box::new(move |_| match chance.below(12) {
            0 => Fate::Refused,
            1 => Fate::AnswerLost,
            _ => Fate::Written,
        }));
    }

    /// The process hears what others wrote.
    async fn follow(&self, at: usize) {
        let control = &self.processes[at].control;
        let view = control.view();
        let mut ids: BTreeSet<DocumentId> = view.set.documents.keys().cloned().collect();
        ids.extend(self.store.documents().keys().filter_map(|name| DocumentId::parse(name)));
        let _ = control.refresh(ids.iter()).await;
    }

    fn elect(&mut self, at: usize) {
        self.term += 1;
        self.store.elect(self.term);
        let term = Term::Etcd { key: "leader".into(), created: self.term };
        self.processes[at].told.send_replace(Some(term));
        // The other one finds out late, or soon.
        if self.chance.one_in(2) {
            self.processes[1 - at].told.send_replace(None);
        }
    }

    async fn act(&mut self, at: usize, happened: &mut Happened) {
        const WISHES: [Action; 14] = [
            Action::Start,
            Action::Start,
            Action::Start,
            Action::Pause,
            Action::Resume,
            Action::Resume,
            Action::Advance,
            Action::Advance,
            Action::Advance,
            Action::Approve,
            Action::Reject,
            Action::Complete,
            Action::Rollback,
            Action::Promote,
        ];
        let control = self.processes[at].control.clone();
        let mut wish = WISHES[usize::try_from(self.chance.below(WISHES.len() as u64)).unwrap()];
        if self.is_calm {
            // What people do who want to come to an end.
            let state = self.kept().await.map_or(Place::Draft, |kept| kept.progress.state);
            let likely = match state {
                Place::Draft | Place::Rollback => [Action::Start, Action::Start],
                Place::Active => [Action::Approve, Action::Complete],
                Place::Paused => [Action::Resume, Action::Complete],
                Place::Completed => [Action::Promote, Action::Rollback],
            };
            if !self.chance.one_in(6) {
                wish = likely[usize::try_from(self.chance.below(2)).unwrap()];
            }
        }
        if self.chance.below(4) > 0
            && let Ok(read) = control.read_plan("p").await
        {
            self.tag = read.etag();
        }
        let name = if matches!(wish, Action::Approve | Action::Reject) { "wang" } else { "li" };
        let who = Principal::own(name, Via::Session);
        let asked = ActionAsked { reason: Some("so".into()), ..ActionAsked::default() };
        let before = self.kept().await;
        let done = control.act_on_plan(&who, ("p", wish), Some(&self.tag), &asked).await;
        let kept = self.kept().await;
        match &done {
            Ok(ActionDone::RolledBack { .. }) => {
                self.rolled_back.insert(kept.as_ref().unwrap().run);
            }
            Ok(_) => happened.promoted += usize::from(wish == Action::Promote),
            Err(error) if error.status() == 503 => happened.lost += 1,
            Err(_) => happened.refused += 1,
        }
        let moved = before.as_ref().map(|kept| kept.moves) != kept.as_ref().map(|kept| kept.moves);
        if moved {
            *happened.by_action.entry(wish.as_str().into()).or_default() += 1;
            // A rollback takes the rules away; a start and a resume take back those that their process has heard of.
            if matches!(wish, Action::Start | Action::Resume | Action::Rollback) {
                self.forget_hands();
            }
            // From here on the plan writes its rules, also where a hand had taken one away.
            if matches!(wish, Action::Start | Action::Resume) {
                self.hands.retain(|_, text| text.is_some());
            }
        }
    }

    async fn tick(&mut self, at: usize, happened: &mut Happened) {
        let elapsed = Duration::from_secs(self.chance.below(120));
        self.clock.now.lock().1 += elapsed;
        let Some(kept) = self.kept().await else { return };
        let is_old = self.chance.one_in(8);
        let regressed = self.chance.one_in(if self.is_calm { 60 } else { 12 });
        let figures = Figures {
            run: kept.run,
            moves: kept.moves - u64::from(is_old && kept.moves > 0),
            regressions: if regressed { vec!["errors".into()] } else { Vec::new() },
            step_requests: 1_000,
            instances: Some(Instances { gray: true, release: !self.chance.one_in(6) }),
            ..Figures::default()
        };
        let process = &mut self.processes[at];
        if !process.control.leadership.leads() {
            return;
        }
        // Time is told in pieces: what no one looked at was not held.
        for _ in 0..if self.is_calm { CALM_LOOKS } else { LOOKS } {
            let looked = (&mut process.memo, Duration::from_secs(5));
            let _ = process.control.tick_plan("p", looked, &figures).await;
        }
        let after = self.kept().await.unwrap();
        if after.moves == kept.moves {
            return;
        }
        let last = after.last.clone().unwrap();
        *happened.by_action.entry(format!("own {}", last.action)).or_default() += 1;
        if after.progress.state == Place::Rollback {
            self.forget_hands();
        }
    }

    /// What a hand wrote and is no longer there was taken back.
    fn forget_hands(&mut self) {
        let documents = self.store.documents();
        self.hands.retain(|name, text| {
            documents.get(name).map(|text| String::from_utf8_lossy(text).into_owned()) == *text
        });
    }

    async fn hand(&mut self, happened: &mut Happened) {
        let names = ["rules/plan.p.share", "rules/plan.p.who-0", "plans/p"];
        let name = names[usize::try_from(self.chance.below(3)).unwrap()];
        let text = match (name, self.chance.below(3)) {
            ("plans/p", 0) => Some(PLAN.replace("share: 25", "share: 30")),
            ("plans/p", 1) => None,
            ("plans/p", _) => Some(PLAN.to_owned()),
            (_, 0) => None,
            _ => Some(
                "services: [s]\nwhen: {attribute: header:x-hand, exists: true}\nversion: gray\n".to_owned(),
            ),
        };
        let before = self.store.documents().get(name).map(|text| String::from_utf8_lossy(text).into_owned());
        if before == text {
            // Taking away what is not there is no change that a plan could see.
            return;
        }
        self.store.write_document(name, text.as_deref());
        if name != "plans/p" {
            // A hand that takes its own change back leaves the rule as the plan has it.
            let written = self.kept().await.and_then(|kept| kept.written.get(name).cloned());
            match written == text {
                true => drop(self.hands.remove(name)),
                false => drop(self.hands.insert(name.to_owned(), text)),
            }
        }
        happened.hands += 1;
    }

    async fn check(&mut self) {
        let documents = self.store.documents();
        let text = |name: &str| documents.get(name).map(|text| String::from_utf8_lossy(text).into_owned());
        let kept = self.kept().await;
        let written = kept.as_ref().map(|kept| kept.written.clone()).unwrap_or_default();
        let own: BTreeSet<String> = documents
            .keys()
            .filter(|name| name.starts_with("rules/"))
            .chain(written.keys())
            .cloned()
            .collect();
        for name in own {
            match self.hands.get(&name) {
                Some(hand) => assert_eq!(text(&name), *hand, "a hand's `{name}` was overwritten"),
                None => assert_eq!(
                    text(&name),
                    written.get(&name).cloned(),
                    "`{name}` without a state that says so"
                ),
            }
        }
        let Some(kept) = kept else { return };
        assert_eq!(kept.runs(), !kept.written.is_empty() || (kept.runs() && kept.progress.begun == 0));
        if let Some(before) = &self.before
            && before.run == kept.run
            && kept.runs()
        {
            assert!(kept.progress.begun >= before.progress.begun, "a step went back");
            let is_completed = kept.progress.state == Place::Completed;
            assert!(is_completed || kept.progress.begun <= before.progress.begun + 4);
            for name in before.written.keys() {
                assert!(kept.written.contains_key(name), "`{name}` fell out");
            }
            let share = |kept: &Kept| kept.last.as_ref().map_or(0.0, |last| last.share);
            assert!(share(&kept) >= share(before), "a share fell");
        }
        if self.rolled_back.contains(&kept.run) {
            assert_eq!(kept.progress.state, Place::Rollback, "an answered rollback was undone");
        }
        self.before = Some(kept);
    }

    async fn check_end(&self) {
        let Some(kept) = self.kept().await else { return };
        let range = Range::all(&format!("{RUNS}p/"));
        let transitions: Vec<Transition> = self
            .store
            .list(&range)
            .await
            .unwrap()
            .iter()
            .map(|entry| read_json(&entry.name, &entry.stored.value).unwrap())
            .collect();
        let numbers: Vec<u64> = transitions.iter().map(|transition| transition.number).collect();
        assert_eq!(numbers, (1..=kept.moves).collect::<Vec<_>>(), "each transition once");
        let ids: BTreeSet<&str> = transitions.iter().map(|transition| transition.id.as_str()).collect();
        assert_eq!(ids.len(), transitions.len(), "each under its own id");
        let mut audited = 0;
        for entry in self.store.list(&Range::all(RECORDS)).await.unwrap() {
            let (record, _) = Record::read(&entry.name, &entry.stored.value).unwrap();
            audited += usize::from(record.object == "plans/p" && record.action.starts_with("plan."));
        }
        assert_eq!(audited, transitions.len(), "each in the audit once");
        let messages = self.store.list(&Range::all(MESSAGES)).await.unwrap();
        let messages: Vec<Message> =
            messages.iter().map(|entry| read_json("", &entry.stored.value).unwrap()).collect();
        for id in ids {
            assert_eq!(messages.iter().filter(|message| message.id == id).count(), 1, "told once");
        }
    }
}

impl Happened {
    fn add(&mut self, other: Happened) {
        for (action, count) in other.by_action {
            *self.by_action.entry(action).or_default() += count;
        }
        self.refused += other.refused;
        self.lost += other.lost;
        self.crashes += other.crashes;
        self.hands += other.hands;
        self.promoted += other.promoted;
    }

    /// A simulation that does not come past every action, by hand and by itself, shows nothing of them.
    fn check(&self) {
        for action in [
            "start",
            "pause",
            "resume",
            "advance",
            "approve",
            "reject",
            "complete",
            "rollback",
            "promote",
            "own step",
            "own complete",
            "own rollback",
            "own pause",
        ] {
            assert!(self.by_action.get(action).is_some_and(|count| *count >= 5), "`{action}` in {self:?}");
        }
        let counts = [self.promoted, self.crashes, self.hands, self.lost, self.refused];
        assert!(counts.iter().all(|count| *count > 0), "{self:?}");
    }
}

async fn run(seed: u64, happened: &mut Happened) {
    let mut world = World::new(seed).await;
    for step in 0..STEPS {
        world.step(happened).await;
        let checked = std::panic::AssertUnwindSafe(world.check());
        if let Err(panic) = futures_util::FutureExt::catch_unwind(checked).await {
            eprintln!("seed {seed}, step {step}");
            std::panic::resume_unwind(panic);
        }
    }
    world.check_end().await;
}

#[test]
fn plans_keep_their_promises_whatever_fails() {
    let seeds = std::env::var("GRAYGATE_SEEDS").map_or(SEEDS, |text| text.parse().unwrap());
    let first = std::env::var("GRAYGATE_SEED").map_or(0, |text| text.parse::<u64>().unwrap());
    let next = AtomicU64::new(first);
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut happened = Happened::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return happened;
            }
            runtime.block_on(run(seed, &mut happened));
        }
    };
    let mut happened = Happened::default();
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            match thread.join() {
                Ok(seen) => happened.add(seen),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    println!("{happened:?}");
    // Fewer seeds, asked for to look at one of them, need not come past everything.
    if seeds >= SEEDS {
        happened.check();
    }
}
