//! What a look writes in every state, what a nearly full store still takes, and where a plan ends and another begins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use graygate_judge::plan::{Action, Instances, State as Place};
use graygate_rules::documents::{DocumentId, DocumentSet, Raw};
use parking_lot::Mutex;
use time::OffsetDateTime;

use super::act::{ActionAsked, ActionDone};
use super::tick::{Figures, Memo, Ticked};
use crate::control::SystemClock;
use crate::control::change::Precondition;
use crate::control::clock::Clock;
use crate::control::plane::Control;
use crate::error::Error;
use crate::notices::{MESSAGES, Message};
use crate::people::{Principal, SessionSettings, Via};
use crate::plans::{GuardShown, PlanShown, Sight, sight_record};
use crate::state::memory::Memory;
use crate::state::{Range, Slot, State as _, Transaction, read_json, to_json};

const SERVICE: &str = "identity: [header:x-user]\naliases: {release: v7, gray: v8}\ninstances:\n  - {address: \"127.0.0.1:1\", version: v7}\n  - {address: \"127.0.0.1:2\", version: v8}\n";
const PLAN: &str = "services: [s]\nversion: gray\nsteps:\n  - {who: {attribute: header:x-vip, exists: true}, hold: 1m}\n  - {share: 5, hold: 1m}\n  - {share: 100, hold: 1m}\nwatch: 10m\n";
const SHARE: &str = "rules/plan.p.share";
const WHO: &str = "rules/plan.p.who-0";
const HAND: &str = "services: [s]\nwhen: {attribute: header:x-hand, exists: true}\nversion: gray\n";

/// A machine's clock, that a test may set forward.
struct Ahead(Mutex<time::Duration>);

impl Clock for Ahead {
    fn now(&self) -> OffsetDateTime {
        SystemClock.now() + *self.0.lock()
    }

    fn instant(&self) -> Instant {
        SystemClock.instant()
    }
}

struct Stage {
    clock: Arc<Ahead>,
    store: Arc<Memory>,
    control: Arc<Control>,
    memo: Memo,
}

impl Stage {
    async fn new(plan: &str) -> Stage {
        let store = Arc::new(Memory::default());
        store.write_document("services/s", Some(SERVICE));
        store.write_document("plans/p", Some(plan));
        let mut set = DocumentSet::default();
        for (name, text) in store.documents() {
            set.documents.insert(DocumentId::parse(&name).unwrap(), Arc::new(Raw::yaml(&text[..])));
        }
        let clock = Arc::new(Ahead(Mutex::new(time::Duration::ZERO)));
        let control = Control::new(store.clone(), clock.clone(), SessionSettings::default());
        control.begin(set).await.unwrap();
        control.look_at_plans().await.unwrap();
        control.plans.loaded();
        Stage { clock, store, control: Arc::new(control), memo: Memo::default() }
    }

    async fn shown(&self) -> PlanShown {
        self.control.read_plan("p").await.unwrap().shown()
    }

    async fn act(&self, action: Action) -> Result<ActionDone, Error> {
        self.act_with(action, ActionAsked { reason: Some("so".into()), ..ActionAsked::default() }).await
    }

    async fn act_with(&self, action: Action, asked: ActionAsked) -> Result<ActionDone, Error> {
        let name = if matches!(action, Action::Approve | Action::Reject) { "wang" } else { "li" };
        let who = Principal::own(name, Via::Session);
        let tag = self.control.read_plan("p").await.unwrap().etag();
        self.control.act_on_plan(&who, ("p", action), Some(&tag), &asked).await
    }

    /// A stranger's write, and that it was heard of.
    async fn hand(&self, name: &str, text: Option<&str>) {
        self.store.write_document(name, text);
        let id = DocumentId::parse(name).unwrap();
        self.control.refresh([&id].into_iter()).await.unwrap();
    }

    async fn figures(&self, change: fn(&mut Figures)) -> Figures {
        let kept = self.control.read_plan("p").await.unwrap().kept;
        let mut figures = Figures {
            run: kept.run,
            moves: kept.moves,
            step_requests: 1_000,
            instances: Some(Instances { gray: true, release: true }),
            ..Figures::default()
        };
        change(&mut figures);
        figures
    }

    async fn look(&mut self, change: fn(&mut Figures)) -> Ticked {
        let figures = self.figures(change).await;
        let looked = (&mut self.memo, Duration::from_secs(5));
        self.control.tick_plan("p", looked, &figures).await.unwrap()
    }

    /// Looks for so long that nothing happens, and steps begin that may.
    async fn held(&mut self, seconds: u64) {
        for _ in 0..=seconds / 5 {
            self.look(well).await;
        }
    }

    /// What people are told, oldest first.
    async fn told(&self) -> Vec<Message> {
        let messages = self.store.list(&Range::all(MESSAGES)).await.unwrap();
        let mut told: Vec<Message> =
            messages.iter().map(|entry| read_json("", &entry.stored.value).unwrap()).collect();
        told.sort_by_key(|message| message.time);
        told
    }

    fn documents(&self) -> BTreeMap<String, String> {
        let own = |name: &str| name.starts_with("rules/") || name.starts_with("closures/");
        let text = |text: bytes::Bytes| String::from_utf8(text.to_vec()).unwrap();
        let documents = self.store.documents().into_iter().filter(|(name, _)| own(name));
        documents.map(|(name, body)| (name, text(body))).collect()
    }
}

fn well(_: &mut Figures) {}

fn regressed(figures: &mut Figures) {
    figures.regressions = vec!["errors".into()];
}

/// What happened before the look.
#[derive(Clone, Copy)]
enum Before {
    Act(Action),
    /// So many seconds of looks with nothing to say.
    Held(u64),
    Hand(&'static str, Option<&'static str>),
}
use Before::{Act, Hand, Held};

/// What the look comes to: a transition, or what is waited for, of which this is a part.
enum Then {
    Waits(&'static str),
    Moves,
    RollsBack,
}

type Case =
    (&'static str, &'static str, Vec<Before>, fn(&mut Figures), Then, (Place, &'static [&'static str]));

fn cases() -> Vec<Case> {
    use Action::{Complete, Pause, Promote, Rollback, Start};
    use Place::{Active, Completed, Draft, Paused};
    use Then::{Moves, RollsBack, Waits};
    const CLOSURE: &str = "closures/s.gray";
    const APPROVAL: &str =
        "services: [s]\nversion: gray\nsteps: [{share: 5, hold: 1m}, {share: 100, approval: true}]\n";
    const SHUT: &str = "services: [s]\nversion: gray\nwindows: [\"Mon 00:00-00:01 UTC\", \"Thu 00:00-00:01 UTC\"]\nsteps: [{share: 5}]\n";
    const LISTED: &str =
        "services: [s]\nversion: gray\nsteps: [{who: {attribute: header:x-h, in_list: pilots}}]\n";
    const SHORT: &str = "services: [s]\nversion: gray\nsteps: [{share: 5, hold: 1m}]\n";
    const PAUSES: &str =
        "services: [s]\nversion: gray\non_regression: pause\nsteps: [{share: 5, hold: 1m}]\n";
    const BOLD: &str =
        "services: [s]\nversion: gray\non_unknown: advance\nsteps: [{share: 5, hold: 1m}, {share: 100}]\n";
    const AUTOMATIC: &str =
        "services: [s]\nversion: gray\nsteps: [{share: 100}]\nwatch: 1m\npromote: automatic\n";
    const OTHER_ALIAS: &str = "identity: [header:x-user]\naliases: {release: v7, gray: v7}\ninstances: [{address: \"127.0.0.1:1\", version: v7}]\n";
    let start = || vec![Act(Start)];
    let after = |more: &[Before]| [&[Act(Start)], more].concat();
    vec![
        ("a draft is no one's", PLAN, vec![], regressed, Waits(""), (Draft, &[])),
        ("a step holds", PLAN, start(), well, Waits("more of the step's hold"), (Active, &[WHO])),
        ("and then the next begins", PLAN, after(&[Held(55)]), well, Moves, (Active, &[SHARE, WHO])),
        (
            "proxies are behind",
            PLAN,
            start(),
            |seen| seen.behind = vec!["edge-1".into()],
            Waits("1 proxy that is behind"),
            (Active, &[WHO]),
        ),
        (
            "a proxy cannot be read",
            PLAN,
            start(),
            |seen| seen.unreadable = vec!["edge-1".into()],
            Waits("proxies that cannot be asked: `edge-1`"),
            (Active, &[WHO]),
        ),
        (
            "too few requests",
            PLAN,
            start(),
            |seen| seen.step_requests = 0,
            Waits("1 more gray requests"),
            (Active, &[WHO]),
        ),
        (
            "nothing to compare",
            PLAN,
            start(),
            |seen| seen.without_evidence = vec!["errors".into()],
            Waits("something to compare for `errors`"),
            (Active, &[WHO]),
        ),
        (
            "unless that was written",
            BOLD,
            after(&[Held(55)]),
            |seen| (seen.step_requests, seen.without_evidence) = (0, vec!["errors".into()]),
            Moves,
            (Active, &[SHARE]),
        ),
        (
            "no gray instance",
            PLAN,
            start(),
            |seen| seen.instances = Some(Instances { gray: false, release: true }),
            Waits("an instance of the version"),
            (Active, &[WHO]),
        ),
        ("a regression", PLAN, start(), regressed, RollsBack, (Place::Rollback, &[CLOSURE])),
        (
            "a regression, and nowhere to go",
            PLAN,
            start(),
            |seen| {
                regressed(seen);
                seen.instances = Some(Instances { gray: true, release: false });
            },
            Moves,
            (Paused, &[WHO]),
        ),
        ("a regression that pauses", PAUSES, start(), regressed, Moves, (Paused, &[SHARE])),
        ("a hand writes", PLAN, after(&[Hand(WHO, Some(HAND))]), well, Moves, (Paused, &[WHO])),
        ("a hand takes away", PLAN, after(&[Hand(WHO, None)]), well, Moves, (Paused, &[])),
        ("a hand adds", PLAN, after(&[Hand(SHARE, Some(HAND))]), well, Moves, (Paused, &[SHARE, WHO])),
        ("a hand takes the plan away", PLAN, after(&[Hand("plans/p", None)]), well, Moves, (Paused, &[WHO])),
        (
            "a word stands for something else",
            PLAN,
            after(&[Hand("services/s", Some(OTHER_ALIAS))]),
            well,
            Moves,
            (Paused, &[WHO]),
        ),
        (
            "approval is missing",
            APPROVAL,
            after(&[Held(65)]),
            well,
            Waits("approval of step 1"),
            (Active, &[SHARE]),
        ),
        (
            "a regression meanwhile",
            APPROVAL,
            after(&[Held(65)]),
            regressed,
            RollsBack,
            (Place::Rollback, &[CLOSURE]),
        ),
        ("its window is shut", SHUT, start(), well, Waits("its window"), (Active, &[])),
        ("its list is missing", LISTED, start(), well, Waits("lists that are missing"), (Active, &[])),
        (
            "its last share is below 100",
            SHORT,
            after(&[Held(65)]),
            well,
            Waits("`complete`"),
            (Active, &[SHARE]),
        ),
        ("every user has it", AUTOMATIC, start(), well, Moves, (Completed, &[SHARE])),
        ("a pause stays", PLAN, after(&[Act(Pause), Held(300)]), well, Waits(""), (Paused, &[WHO])),
        (
            "a regression in it",
            PLAN,
            after(&[Act(Pause)]),
            regressed,
            RollsBack,
            (Place::Rollback, &[CLOSURE]),
        ),
        (
            "a hand in it",
            PLAN,
            after(&[Act(Pause), Hand(WHO, None)]),
            well,
            Waits("a person: someone changed"),
            (Paused, &[]),
        ),
        (
            "it is watched",
            PLAN,
            after(&[Act(Complete)]),
            well,
            Waits("more of the watch"),
            (Completed, &[SHARE, WHO]),
        ),
        (
            "a regression then",
            PLAN,
            after(&[Act(Complete)]),
            regressed,
            RollsBack,
            (Place::Rollback, &[CLOSURE]),
        ),
        (
            "the watch ended",
            PLAN,
            after(&[Act(Complete), Held(600)]),
            regressed,
            Waits("`promote`, or `rollback`"),
            (Completed, &[SHARE, WHO]),
        ),
        (
            "the watch ended, and it shall be promoted",
            AUTOMATIC,
            after(&[Act(Complete), Held(55)]),
            well,
            Moves,
            (Completed, &[]),
        ),
        (
            "promoted is promoted",
            PLAN,
            after(&[Act(Complete), Act(Promote)]),
            regressed,
            Waits(""),
            (Completed, &[]),
        ),
        (
            "rolled back is rolled back",
            PLAN,
            after(&[Act(Rollback)]),
            regressed,
            Waits(""),
            (Place::Rollback, &[CLOSURE]),
        ),
        (
            "figures of before say nothing",
            PLAN,
            after(&[Act(Pause)]),
            |seen| {
                regressed(seen);
                seen.moves -= 1;
            },
            Waits(""),
            (Paused, &[WHO]),
        ),
    ]
}

#[tokio::test]
async fn each_look_writes_what_its_state_and_what_is_seen_say() {
    for (name, plan, before, seen, then, (state, documents)) in cases() {
        let mut stage = Stage::new(plan).await;
        for one in before {
            match one {
                Act(action) => {
                    drop(stage.act(action).await.unwrap_or_else(|error| panic!("{name}: {error}")))
                }
                Held(seconds) => stage.held(seconds).await,
                Hand(document, text) => stage.hand(document, text).await,
            }
        }
        // The step at hand is as it was before this look.
        let (hands, moves) = (stage.documents(), stage.figures(well).await.moves);
        let ticked = stage.look(seen).await;
        let (shown, waits) = (stage.shown().await, stage.shown().await.waiting_for.join("; "));
        match then {
            Then::Waits(what) => {
                assert_eq!(ticked, Ticked::Nothing, "{name}");
                assert!(waits.contains(what), "{name}: {waits}");
                assert_eq!(stage.documents(), hands, "{name}");
            }
            Then::Moves => assert_eq!(ticked, Ticked::Moved, "{name}: {waits}"),
            Then::RollsBack => assert_eq!(ticked, Ticked::RolledBack, "{name}: {waits}"),
        }
        assert_eq!(shown.state, state.as_str(), "{name}");
        let found = stage.documents();
        assert_eq!(found.keys().collect::<Vec<_>>(), documents, "{name}");
        if state == Place::Paused {
            assert_eq!(found, hands, "{name}: a pause writes no rule");
        }
        let after = stage.figures(well).await.moves;
        assert_eq!(after - moves, u64::from(ticked != Ticked::Nothing), "{name}");
        // A look with the same figures comes from before the transition, or finds the same again.
        if ticked != Ticked::Nothing {
            let mut old = stage.figures(well).await;
            seen(&mut old);
            old.moves -= 1;
            let again = stage.control.tick_plan("p", (&mut stage.memo, Duration::from_secs(5)), &old).await;
            assert_eq!((again.unwrap(), stage.documents()), (Ticked::Nothing, found), "{name}");
        }
    }
}

#[tokio::test]
async fn a_store_that_is_nearly_full_takes_pauses_and_rollbacks_alone() {
    let full = "etcd takes 80 %";
    let refused = [Action::Advance, Action::Complete];
    let mut stage = Stage::new(PLAN).await;
    stage.store.crowd(Some(full));
    assert_eq!(stage.act(Action::Start).await.unwrap_err().status(), 507);
    stage.store.crowd(None);
    stage.act(Action::Start).await.unwrap();
    stage.store.crowd(Some(full));
    for action in refused {
        assert_eq!(stage.act(action).await.unwrap_err().status(), 507, "{action:?}");
    }
    // A step by itself is no more than a person's, and says why it does not come.
    let mut figures = stage.figures(well).await;
    for _ in 0..20 {
        let _ = stage.control.tick_plan("p", (&mut stage.memo, Duration::from_secs(5)), &figures).await;
    }
    let shown = stage.shown().await;
    assert_eq!((shown.state.as_str(), shown.steps_begun), ("ACTIVE", 1));
    assert!(shown.waiting_for.iter().any(|said| said.contains(full)), "{:?}", shown.waiting_for);
    stage.act(Action::Pause).await.unwrap();
    assert_eq!(stage.act(Action::Resume).await.unwrap_err().status(), 507);
    let Ok(ActionDone::RolledBack { shown: first, .. }) = stage.act(Action::Rollback).await else { panic!() };
    let Ok(ActionDone::RolledBack { shown: again, .. }) = stage.act(Action::Rollback).await else { panic!() };
    assert_eq!((again, stage.documents().len()), (first, 1), "the first outcome is kept");
    // And what a guard says is done as well.
    for (plan, state) in
        [(PLAN, "ROLLBACK"), (&PLAN.replace("watch", "on_regression: pause\nwatch"), "PAUSED")]
    {
        stage = Stage::new(plan).await;
        stage.act(Action::Start).await.unwrap();
        stage.store.crowd(Some(full));
        figures = stage.figures(regressed).await;
        stage.control.tick_plan("p", (&mut stage.memo, Duration::from_secs(5)), &figures).await.unwrap();
        assert_eq!(stage.shown().await.state, state);
    }
}

#[tokio::test]
async fn a_promoted_plan_that_is_written_again_is_a_draft() {
    let stage = Stage::new(PLAN).await;
    for action in [Action::Start, Action::Complete, Action::Promote] {
        stage.act(action).await.unwrap();
    }
    let shown = stage.shown().await;
    assert_eq!((shown.state.as_str(), shown.promoted, shown.run), ("COMPLETED", true, 1));
    assert_eq!(stage.act(Action::Start).await.unwrap_err().status(), 409);
    // The next version, under the same name.
    let next = PLAN.replace("share: 5", "share: 7");
    stage.hand("plans/p", Some(&next)).await;
    let shown = stage.shown().await;
    assert_eq!((shown.state.as_str(), shown.promoted, shown.run), ("DRAFT", false, 1));
    let refused = stage.act(Action::Rollback).await.unwrap_err();
    assert!(refused.status() == 409 && refused.to_string().contains("the former text"), "{refused}");
    // With the former text it is the promoted one, and its way back is open.
    stage.hand("plans/p", Some(PLAN)).await;
    assert_eq!(stage.shown().await.state, "COMPLETED");
    stage.hand("plans/p", Some(&next)).await;
    stage.act(Action::Start).await.unwrap();
    let shown = stage.shown().await;
    assert_eq!((shown.state.as_str(), shown.run, shown.text.as_deref()), ("ACTIVE", 2, Some(&*next)));
    let runs = stage.control.plan_runs(&Principal::own("li", Via::Session), "p").await.unwrap();
    assert_eq!(runs.iter().map(|run| run.transitions.len()).collect::<Vec<_>>(), [1, 3]);
}

#[tokio::test]
async fn a_plan_that_could_not_be_ended_does_not_start() {
    let people = |count: usize| {
        let people: Vec<String> = (0..count).map(|number| format!("patient-{number:08}")).collect();
        format!("{{attribute: header:x-user, in: [{}]}}", people.join(", "))
    };
    for (count, status) in [(5_000, None), (30_000, Some(409))] {
        let stage =
            Stage::new(&PLAN.replace("{attribute: header:x-vip, exists: true}", &people(count))).await;
        let started = stage.act(Action::Start).await;
        assert_eq!(started.as_ref().err().map(Error::status), status, "{count}");
        if let Err(error) = started {
            assert!(error.to_string().contains("name people in lists"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_promotion_says_how_many_requests_of_the_hour_were_still_release() {
    let stage = Stage::new(PLAN).await;
    stage.act(Action::Start).await.unwrap();
    // Seen before the completion: the hour does not begin again with it.
    let read = stage.control.read_plan("p").await.unwrap();
    let record = sight_record("p");
    let mut stage = stage;
    stage.look(well).await;
    let stored = stage.store.get(&Slot::record(&record)).await.unwrap().unwrap();
    let sight = Sight { left: 7, ..read_json::<Sight>(&record, &stored.value).unwrap() };
    let mut put = Transaction::default();
    put.put(Slot::record(&record), to_json(&record, &sight).unwrap());
    stage.store.commit(put).await.unwrap();
    assert!(sight.run == read.kept.run);
    stage.act(Action::Complete).await.unwrap();
    let refused = stage.act(Action::Promote).await.unwrap_err();
    assert!(refused.status() == 409 && refused.to_string().starts_with("7 requests"), "{refused}");
    let others = ActionAsked { others: true, ..ActionAsked::default() };
    stage.act_with(Action::Promote, others).await.unwrap();
    assert!(stage.shown().await.promoted);
}

#[tokio::test]
async fn a_plan_deleted_and_put_again_goes_on_counting_its_runs() {
    let stage = Stage::new(PLAN).await;
    for action in [Action::Start, Action::Rollback] {
        stage.act(action).await.unwrap();
    }
    let who = Principal::own("li", Via::Session);
    let tag = stage.control.read_plan("p").await.unwrap().etag();
    let condition = Precondition { if_match: Some(tag), ..Precondition::default() };
    stage.control.put_plan(&who, ("p", None), condition, Default::default()).await.unwrap();
    assert!(matches!(stage.control.read_plan("p").await, Err(Error::NotFound(_))));
    let condition = Precondition { if_none_match: Some("*".into()), ..Precondition::default() };
    stage.control.put_plan(&who, ("p", Some(PLAN.into())), condition, Default::default()).await.unwrap();
    stage.act(Action::Start).await.unwrap();
    let shown = stage.shown().await;
    assert_eq!((shown.state.as_str(), shown.run), ("ACTIVE", 2));
}

#[tokio::test]
async fn people_are_told_once_of_what_waits_for_them_and_of_a_long_hold() {
    let mut stage = Stage::new(
        "services: [s]\nversion: gray\nsteps: [{share: 5, hold: 1m}, {share: 100, approval: true}]\n",
    )
    .await;
    stage.act(Action::Start).await.unwrap();
    stage.held(65).await;
    assert_eq!(stage.told().await.len(), 2, "the start, and the approval");
    stage.held(600).await;
    *stage.clock.0.lock() = time::Duration::hours(1);
    stage.held(60).await;
    assert_eq!(stage.told().await.len(), 2, "no more than once");
    let told = stage.told().await.pop().unwrap();
    assert!(told.text.contains("approval of step 1"), "{}", told.text);

    let behind = |seen: &mut Figures| seen.behind = vec!["edge-1".into()];
    let mut stage = Stage::new(PLAN).await;
    stage.act(Action::Start).await.unwrap();
    for minutes in [0, 9, 11, 12, 60] {
        *stage.clock.0.lock() = time::Duration::minutes(minutes);
        stage.look(behind).await;
        assert_eq!(stage.told().await.len(), if minutes > 10 { 2 } else { 1 }, "{minutes}");
    }
    let told = stage.told().await.pop().unwrap();
    assert!(
        told.text.contains("proxies that are behind") || told.text.contains("proxy that is behind"),
        "{}",
        told.text
    );
    // Time that was asked for is no hold that anyone has to hear of.
    let mut stage = Stage::new(&PLAN.replace("hold: 1m", "hold: 5h")).await;
    stage.act(Action::Start).await.unwrap();
    for minutes in [0, 11, 60] {
        *stage.clock.0.lock() = time::Duration::minutes(minutes);
        stage.look(well).await;
    }
    assert_eq!(stage.told().await.len(), 1);
}

#[tokio::test]
async fn metrics_tell_where_plans_are() {
    let mut stage = Stage::new(PLAN).await;
    stage.act(Action::Start).await.unwrap();
    stage
        .look(|seen| {
            let guard = GuardShown {
                log10_e: Some(0.25),
                log10_threshold: Some(2.1),
                verdict: "none".into(),
                last: None,
                had_evidence: true,
            };
            seen.guards.insert("errors".into(), guard);
        })
        .await;
    let has = |stage: &Stage, line: &str| {
        let text = stage.control.plans.metrics();
        assert!(text.lines().any(|known| known == line), "{line} in {text}");
    };
    for line in [
        "graygate_plan_state{plan=\"p\",state=\"ACTIVE\"} 1",
        "graygate_plan_state{plan=\"p\",state=\"DRAFT\"} 0",
        "graygate_plan_step{plan=\"p\"} 0",
        "graygate_plan_share{plan=\"p\"} 0",
        "graygate_plan_evidence{plan=\"p\",guard=\"errors\"} 0.25",
        "graygate_plan_transitions_total{plan=\"p\",to=\"ACTIVE\",by=\"person\"} 1",
    ] {
        has(&stage, line);
    }
    stage.act(Action::Complete).await.unwrap();
    has(&stage, "graygate_plan_share{plan=\"p\"} 100");
    stage.look(regressed).await;
    has(&stage, "graygate_plan_state{plan=\"p\",state=\"ROLLBACK\"} 1");
    has(&stage, "graygate_plan_transitions_total{plan=\"p\",to=\"ROLLBACK\",by=\"controller\"} 1");
}

#[tokio::test]
async fn a_start_tells_what_it_will_hide_and_no_more() {
    // What a hand wrote behind the plan's last step is asked no more; what stands before it is.
    for (priority, hidden) in [(-2_000, true), (0, false)] {
        let stage = Stage::new(PLAN).await;
        stage.hand("rules/late", Some(&format!("{HAND}priority: {priority}\n"))).await;
        let Ok(ActionDone::Moved(shown)) = stage.act(Action::Start).await else { panic!() };
        match hidden {
            true => assert!(shown.notes[0].starts_with("it will hide rules/late: "), "{:?}", shown.notes),
            false => assert!(shown.notes.is_empty(), "{:?}", shown.notes),
        }
        assert_eq!(shown.notes.len(), usize::from(hidden));
    }
}

#[tokio::test]
async fn going_on_after_a_regression_takes_a_reason_and_gives_that_guard_another_chance() {
    const PAUSES: &str =
        "services: [s]\nversion: gray\non_regression: pause\nsteps: [{share: 5, hold: 1m}, {share: 100}]\n";
    fn said(figures: &mut Figures) {
        regressed(figures);
        let guard = GuardShown {
            log10_e: Some(3.5),
            log10_threshold: Some(2.1),
            verdict: "regression".into(),
            last: None,
            had_evidence: true,
        };
        figures.guards.insert("errors".into(), guard);
    }
    let mut stage = Stage::new(PAUSES).await;
    stage.act(Action::Start).await.unwrap();
    assert_eq!(stage.look(said).await, Ticked::Moved);
    stage.look(said).await;
    for reason in [None, Some("  ".to_owned())] {
        let asked = ActionAsked { reason, ..ActionAsked::default() };
        let refused = stage.act_with(Action::Resume, asked).await.unwrap_err();
        assert_eq!(refused.status(), 409);
        assert!(refused.to_string().contains("`errors` says regression: give a `reason`"), "{refused}");
        assert_eq!(stage.shown().await.state, "PAUSED");
    }
    let moves = stage.figures(well).await.moves;
    stage.act(Action::Resume).await.unwrap();
    let kept = stage.control.read_plan("p").await.unwrap().kept;
    assert_eq!((kept.moves, &kept.again), (moves + 1, &[("errors".to_owned(), moves + 1)].into()));
    // The guard that was spoken for begins at 1; what it says from then on counts again.
    assert_eq!(stage.look(well).await, Ticked::Nothing);
    assert_eq!(stage.look(said).await, Ticked::Moved);
    assert_eq!(stage.shown().await.state, "PAUSED");
}

#[tokio::test]
async fn a_store_that_is_nearly_full_is_told_of_once_each_time() {
    let stage = Stage::new(PLAN).await;
    let mut told = Vec::new();
    for full in [None, Some("etcd takes 71 %"), Some("etcd takes 80 %"), None, Some("etcd takes 75 %")] {
        stage.store.crowd(full);
        stage.control.tell_crowded().await.unwrap();
        told.push(stage.told().await.len());
    }
    assert_eq!(told, [0, 1, 1, 1, 2], "also while nothing else is written");
    assert!(stage.told().await[0].text.contains("etcd takes 71 %"));
}
