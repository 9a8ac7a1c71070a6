//! What the proof looks for in its log: seven promises, each a function that names what breaks it.

use std::collections::{BTreeMap, BTreeSet};

/// Seconds since 1970.
pub type Time = f64;

/// Between the moment at which a lane is told to live and the one at which a client of base has read an answer that left
/// before.
const ON_ITS_WAY: Time = 2.0;
/// How much a broker that is killed may have forgotten, and how long it may still forget once it is back: acknowledgements wait in its memory for up to 13 s before positions
/// move on (`popCkStayBufferTime` and `popCkStayBufferTimeOut`), and positions are written every 5 s.
const FORGOTTEN: Time = 20.0;

/// What became of a message that a producer sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Committed,
    RolledBack,
    /// The producer was told nothing.
    Unknown,
}

/// Through whose group a message came, as its handle says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Via {
    Base,
    /// The lane's group, by its own consumer.
    Lane,
    /// The lane's group, by one of base.
    Drained,
}

/// One delivery to a consumer.
#[derive(Clone, PartialEq, Debug)]
pub struct Delivery {
    pub id: String,
    pub consumer: String,
    pub via: Via,
    /// The mark of a lane's message: its name and a revision.
    pub mark: Option<String>,
    pub begin: Time,
    /// `None` where the consumer ended before its handler did.
    pub end: Option<Time>,
    pub acknowledged: bool,
}

impl Delivery {
    fn lane(&self) -> Option<&str> {
        self.mark.as_deref()?.split('.').next()
    }

    fn group(&self) -> String {
        match self.via {
            Via::Base => String::new(),
            _ => self.lane().unwrap_or_default().to_owned(),
        }
    }
}

/// A time in which a lane had consumers that base had made room for.
#[derive(Clone, PartialEq, Debug)]
pub struct Living {
    pub lane: String,
    pub from: Time,
    pub to: Time,
}

/// A time in which a process was away.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cut {
    pub from: Time,
    pub to: Time,
}

impl Cut {
    pub fn at(moment: Time) -> Cut {
        Cut { from: moment, to: moment }
    }
}

/// All that was seen.
#[derive(Default, Debug)]
pub struct Log {
    pub sent: BTreeMap<String, Fate>,
    /// When the producer was told that the broker has it.
    pub stored: BTreeMap<String, Time>,
    /// Of the group with lanes.
    pub deliveries: Vec<Delivery>,
    /// Of a group without lanes on the same topic: the mark of each message it saw.
    pub third: BTreeMap<String, Option<String>>,
    /// What that group acknowledged. Its calls pass as they come: what the broker itself does not bring again is missing here.
    pub third_done: BTreeSet<String>,
    /// Of a group whose consumer is connected to RocketMQ itself: what it gets again, no gateway had a hand in.
    pub straight: Vec<Delivery>,
    pub living: Vec<Living>,
    /// When consumers lost their process or gateway.
    pub cuts: BTreeMap<String, Vec<Cut>>,
    /// When the broker was killed.
    pub kills: Vec<Cut>,
    /// Lanes that were closed while messages of theirs were on their way.
    pub closed: BTreeSet<String>,
    /// Where messages still wait at brokers, once all is quiet.
    pub behind: Vec<String>,
}

impl Log {
    /// Messages that the group without lanes began and never got again: no gateway had a hand in them.
    pub fn not_again(&self) -> usize {
        self.third.keys().filter(|id| !self.third_done.contains(*id)).count()
    }

    /// Deliveries to the group connected to RocketMQ itself that were acknowledged and yet came again.
    pub fn again_straight(&self) -> Vec<&Delivery> {
        let mut last: BTreeMap<&str, Time> = BTreeMap::new();
        for one in &self.straight {
            let at = last.entry(&one.id).or_insert(one.begin);
            *at = at.max(one.begin);
        }
        self.straight.iter().filter(|one| one.acknowledged && one.begin < last[one.id.as_str()]).collect()
    }

    /// Whether RocketMQ has a message twice, as it has one whose commit is repeated before the first is noted: the group that
    /// is connected to it had acknowledged the message, and got it again at that time as well.
    fn is_there_twice(&self, id: &str, at: Time) -> bool {
        let own = || self.straight.iter().filter(|one| one.id == id);
        let mut again = own().filter(|one| (one.begin - at).abs() < ON_ITS_WAY);
        let had = |again: &Delivery| {
            own().any(|one| one.acknowledged && one.end.is_some_and(|end| end < again.begin))
        };
        again.any(had)
    }

    /// How long each broker that was killed, once it was back, forgot acknowledgements that it had confirmed: until the last
    /// one of which the group connected to RocketMQ itself knows. Nothing is forgiven that this group did not see as well.
    fn forgetful(&self) -> Vec<Cut> {
        let again = self.again_straight();
        let after = |kill: &Cut| {
            let begins = again.iter().map(|one| one.begin);
            let last =
                begins.filter(|at| (kill.to..kill.to + FORGOTTEN).contains(at)).max_by(Time::total_cmp)?;
            Some(Cut { from: kill.to, to: last + ON_ITS_WAY })
        };
        self.kills.iter().filter_map(after).collect()
    }
}

/// What breaks a promise, by the letter of its check.
pub type Broken = BTreeMap<char, Vec<String>>;

/// Its letter, what it promises, and how a log is looked through for what breaks it.
type Check = (char, &'static str, fn(&Log) -> Vec<String>);

pub const CHECKS: [Check; 7] = [
    ('a', "every committed message is acknowledged, no rolled-back one is delivered", arrived),
    ('b', "no message is acknowledged through two groups, and both end without a backlog", one_group),
    ('c', "base takes no message of a lane that lives", never_while_it_lives),
    ('d', "no message is handled twice at a time, or again once it is acknowledged", one_at_a_time),
    ('e', "order within a message group and lane", in_order),
    ('f', "a group without lanes sees everything", others_see_all),
    ('g', "messages of closed lanes are acknowledged", closed_lanes_end),
];

pub fn broken(log: &Log) -> Broken {
    let found = CHECKS.iter().map(|(letter, _, check)| (*letter, check(log)));
    found.filter(|(_, found)| !found.is_empty()).collect()
}

fn with(log: &Log, fate: Fate) -> impl Iterator<Item = &String> {
    log.sent.iter().filter(move |(_, of)| **of == fate).map(|(id, _)| id)
}

fn acknowledged(log: &Log) -> BTreeSet<&str> {
    log.deliveries.iter().filter(|one| one.acknowledged).map(|one| one.id.as_str()).collect()
}

fn arrived(log: &Log) -> Vec<String> {
    let done = acknowledged(log);
    let lost = with(log, Fate::Committed).filter(|id| !done.contains(id.as_str()));
    let lost = lost.map(|id| format!("{id} is lost; the third group saw {:?}", log.third.get(id)));
    let back: BTreeSet<&str> = with(log, Fate::RolledBack).map(String::as_str).collect();
    let seen = log.deliveries.iter().filter(|one| back.contains(one.id.as_str()));
    lost.chain(seen.map(|one| format!("{} was rolled back, and delivered", one.id))).collect()
}

fn one_group(log: &Log) -> Vec<String> {
    let mut groups: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut found = Vec::new();
    for one in log.deliveries.iter().filter(|one| one.acknowledged) {
        groups.entry(&one.id).or_default().insert(one.group());
    }
    found.extend(groups.iter().filter(|(_, of)| of.len() > 1).map(|(id, of)| format!("{id} through {of:?}")));
    found.extend(log.behind.iter().cloned());
    found
}

fn never_while_it_lives(log: &Log) -> Vec<String> {
    let of_base = log.deliveries.iter().filter(|one| one.via != Via::Lane);
    let broken = of_base.filter(|one| {
        let is_in = |living: &Living| {
            Some(living.lane.as_str()) == one.lane()
                && living.from + ON_ITS_WAY < one.begin
                && one.begin < living.to
        };
        log.living.iter().any(is_in)
    });
    broken
        .map(|one| format!("{} of {:?} went to {} at {}", one.id, one.mark, one.consumer, one.begin))
        .collect()
}

fn one_at_a_time(log: &Log) -> Vec<String> {
    let mut by_id: BTreeMap<&str, Vec<&Delivery>> = BTreeMap::new();
    for one in &log.deliveries {
        by_id.entry(&one.id).or_default().push(one);
    }
    let forgetful = log.forgetful();
    let was_unheard = |one: &Delivery| {
        one.acknowledged && forgetful.iter().any(|cut| (cut.from..cut.to).contains(&one.begin))
    };
    let mut found = Vec::new();
    for (id, mut all) in by_id {
        all.sort_by(|one, other| one.begin.total_cmp(&other.begin));
        for (at, first) in all.iter().enumerate() {
            for second in &all[at + 1..] {
                let is_over = first.end.is_some_and(|end| end <= second.begin);
                let is_again = !is_over || (first.acknowledged && !was_unheard(first));
                let is_excused = was_cut(log, first, second.begin)
                    || was_forgotten(log, &all, second.begin)
                    || (is_over && log.is_there_twice(id, second.begin));
                if is_again && !is_excused {
                    found.push(format!("{id}: {first:?} and {second:?}"));
                }
            }
        }
    }
    found
}

/// Whether the consumer lost its process or gateway while it had the message, or while its word on it was on its way.
fn was_cut(log: &Log, delivery: &Delivery, until: Time) -> bool {
    let was_at = |cut: &Cut| {
        delivery.begin - ON_ITS_WAY <= cut.to
            && delivery.end.is_none_or(|end| cut.from <= end + ON_ITS_WAY)
            && cut.from <= until
    };
    log.cuts.get(&delivery.consumer).is_some_and(|cuts| cuts.iter().any(was_at))
}

/// Whether a broker that was killed had the message and did not know for sure yet that it was acknowledged: from its disk it
/// delivers again what was on its way, and what waited for its time or for the next attempt.
fn was_forgotten(log: &Log, deliveries: &[&Delivery], until: Time) -> bool {
    let Some(first) = deliveries.first() else { return false };
    let ends = deliveries.iter().filter(|one| one.acknowledged).filter_map(|one| one.end);
    let acknowledged = ends.min_by(Time::total_cmp);
    let stored = log.stored.get(&first.id);
    log.kills.iter().any(|kill| {
        kill.from <= until
            && stored.is_none_or(|at| *at <= kill.to)
            && acknowledged.is_none_or(|at| kill.from <= at + FORGOTTEN)
    })
}

/// Ids of a message group are `row-<group>-<number>`. A message has its place among the others once its producer knows that
/// it is stored: one of unknown fate may wait on the disk of a broker that is away, while the next ones go to another.
fn in_order(log: &Log) -> Vec<String> {
    let mut rows: BTreeMap<(&str, String), Vec<(Time, u64)>> = BTreeMap::new();
    let is_placed = |one: &&Delivery| one.acknowledged && log.sent.get(&one.id) != Some(&Fate::Unknown);
    for one in log.deliveries.iter().filter(is_placed) {
        let mut parts = one.id.split('-');
        let (Some("row"), Some(group), Some(number)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let row = rows.entry((group, one.group())).or_default();
        row.push((one.begin, number.parse().unwrap()));
    }
    let mut found = Vec::new();
    for (row, mut all) in rows {
        all.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut highest = 0;
        let mut seen = BTreeSet::new();
        for (_, number) in all {
            // Once more is no disorder: at least once stays that.
            if seen.insert(number) && number < highest {
                found.push(format!("{row:?}: {number} after {highest}"));
            }
            highest = highest.max(number);
        }
    }
    found
}

fn others_see_all(log: &Log) -> Vec<String> {
    let is_of_it = |id: &&String| !id.starts_with("row-");
    let missed = with(log, Fate::Committed).filter(is_of_it).filter(|id| !log.third.contains_key(*id));
    missed.map(|id| format!("the third group never saw {id}")).collect()
}

fn closed_lanes_end(log: &Log) -> Vec<String> {
    let done = acknowledged(log);
    let of_closed = log.third.iter().filter(|(_, mark)| {
        let lane = mark.as_deref().and_then(|mark| mark.split('.').next());
        lane.is_some_and(|lane| log.closed.contains(lane))
    });
    let lost = of_closed.filter(|(id, _)| !done.contains(id.as_str()));
    lost.map(|(id, mark)| format!("{id} of {mark:?} is lost")).collect()
}

fn delivery(id: &str, via: Via, mark: Option<&str>, begin: Time) -> Delivery {
    let consumer = format!("{via:?}");
    let mark = mark.map(str::to_owned);
    Delivery { id: id.to_owned(), consumer, via, mark, begin, end: Some(begin + 1.0), acknowledged: true }
}

/// A log in which all is well.
fn sound() -> Log {
    let sent = [("plain-1", Fate::Committed), ("plain-2", Fate::Committed), ("back-1", Fate::RolledBack)];
    let row = |number: u64| delivery(&format!("row-x-{number}"), Via::Base, None, number as Time);
    Log {
        sent: sent.into_iter().map(|(id, fate)| (id.to_owned(), fate)).collect(),
        deliveries: vec![
            delivery("plain-1", Via::Base, None, 10.0),
            delivery("plain-2", Via::Drained, Some("feat1.7"), 10.0),
            row(1),
            row(2),
        ],
        third: [("plain-1", None), ("plain-2", Some("feat1.7"))]
            .into_iter()
            .map(|(id, mark)| (id.to_owned(), mark.map(str::to_owned)))
            .collect(),
        living: vec![Living { lane: "feat1".into(), from: 50.0, to: 90.0 }],
        closed: BTreeSet::from(["feat1".to_owned()]),
        ..Log::default()
    }
}

#[test]
fn each_check_sees_what_breaks_its_promise_and_nothing_else() {
    assert_eq!(broken(&sound()), Broken::new());
    type Break = fn(&mut Log);
    let cases: [(&str, &str, Break); 14] = [
        ("a message is lost", "a", |log| drop(log.deliveries.remove(0))),
        ("a message is only begun", "a", |log| log.deliveries[0].acknowledged = false),
        ("a rolled-back one comes", "a", |log| log.deliveries.push(delivery("back-1", Via::Base, None, 1.0))),
        ("both groups handle one", "b", |log| {
            log.cuts.insert("Drained".into(), vec![Cut::at(12.0)]);
            log.deliveries.push(delivery("plain-2", Via::Base, Some("feat1.7"), 20.0));
        }),
        ("a backlog stays", "b", |log| log.behind.push("1 message waits".into())),
        ("base drains a lane that lives", "c", |log| log.deliveries[1].begin = 60.0),
        ("base has a lane's message", "c", |log| {
            log.deliveries[1] = delivery("plain-2", Via::Base, Some("feat1.7"), 60.0);
        }),
        ("two handle it at a time", "d", |log| {
            log.deliveries.push(delivery("plain-1", Via::Base, None, 10.5))
        }),
        ("it comes again", "d", |log| log.deliveries.push(delivery("plain-1", Via::Base, None, 30.0))),
        ("its consumer was cut off long after", "d", |log| {
            log.cuts.insert("Base".into(), vec![Cut::at(25.0)]);
            log.deliveries.push(delivery("plain-1", Via::Base, None, 30.0));
        }),
        ("the broker was killed long after", "d", |log| {
            log.kills.push(Cut { from: 40.0, to: 45.0 });
            log.deliveries.push(delivery("plain-1", Via::Base, None, 50.0));
        }),
        ("out of order", "e", |log| log.deliveries[2].begin = 5.0),
        ("the third group misses one", "f", |log| drop(log.third.remove("plain-1"))),
        ("a closed lane's message is lost", "ag", |log| drop(log.deliveries.remove(1))),
    ];
    for (name, letters, change) in cases {
        let mut log = sound();
        change(&mut log);
        let found = broken(&log);
        assert_eq!(found.keys().collect::<String>(), letters, "{name}: {found:?}");
    }
}

#[test]
fn who_was_cut_off_may_have_lost_a_message_and_what_left_before_may_arrive() {
    let mut log = sound();
    log.deliveries.push(delivery("plain-1", Via::Base, None, 10.5));
    log.cuts.insert("Base".into(), vec![Cut::at(10.2)]);
    log.deliveries[1].begin = 51.0;
    assert_eq!(broken(&log), Broken::new());
    log.cuts.clear();
    log.kills.push(Cut { from: 10.6, to: 16.0 });
    assert_eq!(
        broken(&log).keys().collect::<String>(),
        "d",
        "two had it before the broker was killed, not one after"
    );
    log.deliveries.last_mut().unwrap().begin = 17.0;
    assert_eq!(broken(&log), Broken::new());
    log.stored.insert("plain-1".into(), 16.5);
    assert_eq!(broken(&log).keys().collect::<String>(), "d", "the broker that was killed never had it");
}

#[test]
fn a_message_has_its_place_once_it_is_stored() {
    let mut log = sound();
    log.deliveries[2].begin = 5.0;
    log.sent.insert("row-x-1".into(), Fate::Committed);
    assert_eq!(broken(&log).keys().collect::<String>(), "e");
    log.sent.insert("row-x-1".into(), Fate::Unknown);
    assert_eq!(broken(&log), Broken::new());
}

#[test]
fn what_rocketmq_forgets_by_itself_is_forgiven_where_the_group_connected_to_it_saw_the_same() {
    let mut log = sound();
    log.kills.push(Cut { from: 3.0, to: 8.0 });
    log.stored.insert("plain-1".into(), 9.0);
    log.deliveries.push(delivery("plain-1", Via::Base, None, 33.0));
    let letters = |log: &Log| broken(log).keys().collect::<String>();
    assert_eq!(letters(&log), "d", "the other group got nothing again");
    log.straight = [9.5, 32.5].map(|begin| delivery("plain-2", Via::Base, None, begin)).into();
    assert_eq!(letters(&log), "");
    log.deliveries.push(delivery("plain-1", Via::Base, None, 33.5));
    assert_eq!(letters(&log), "d", "two at a time are never forgiven");
    log.deliveries.pop();
    log.straight[0].acknowledged = false;
    assert_eq!(letters(&log), "d", "it was not acknowledged there");
    log.straight[0] = delivery("plain-2", Via::Base, None, 5.0);
    assert_eq!(letters(&log), "d", "the broker was not back yet");
}

#[test]
fn what_rocketmq_has_twice_may_come_twice_where_the_group_connected_to_it_saw_both() {
    let letters = |log: &Log| broken(log).keys().collect::<String>();
    let mut log = sound();
    log.deliveries.push(delivery("plain-1", Via::Base, None, 30.0));
    log.straight = [10.0, 30.5].map(|begin| delivery("plain-1", Via::Base, None, begin)).into();
    assert_eq!(letters(&log), "");
    log.straight[1].begin = 20.0;
    assert_eq!(letters(&log), "d", "the other group got it at another time");
    log.straight[1] = delivery("plain-2", Via::Base, None, 30.5);
    assert_eq!(letters(&log), "d", "the other group got another one");
    log.straight = [10.0, 30.5].map(|begin| delivery("plain-1", Via::Base, None, begin)).into();
    log.straight[0].acknowledged = false;
    assert_eq!(letters(&log), "d", "it was not acknowledged there");
    log.straight[0].acknowledged = true;
    log.deliveries[0].end = Some(40.0);
    assert_eq!(letters(&log), "d", "two at a time are never forgiven");
}
