//! Who may take which messages, and what a gateway does next about it.
//!
//! Answers: may this lane's clients receive now, does base drain it, are messages marked, and which step comes next?
//! A pure machine: what clients do and what the board says go in, [`Action`]s come out; time is an argument.
//! Two promises are kept by two keys each: a drainer writes its key, then looks for living clients; a gateway with living
//! clients writes its key, then looks for drainers. The one that wrote later sees the other, and base gives way. What comes
//! next is decided in [`steps`]. Never: IO.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::board::{Counted, LaneKey, Record, Step, View};
use super::mutation::{self, Mutation};

mod steps;

/// A client of a lane that was not heard for so long has gone; clients beat every ten seconds.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a lane that is closed is drained: the longest of what a broker keeps, a delay, and retries.
pub const CLOSING: Duration = Duration::from_secs(72 * 3_600);
/// How long a poll may still pop messages at the broker after its client has gone: the longest poll, and a bit.
const ABANDONED: Duration = Duration::from_secs(25);
/// Between two writes of what was counted.
const COUNT_EVERY: Duration = Duration::from_secs(2);

/// A group whose messages have lanes, as its document says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    pub name: String,
    pub topics: BTreeSet<String>,
    pub lanes: BTreeSet<String>,
    pub takeover: Duration,
    /// The versions of the service's instances, by address.
    pub addresses: BTreeMap<IpAddr, String>,
}

/// A client that has a stream of settings open.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Client {
    group: String,
    /// `None`: of base.
    lane: Option<String>,
    seen: Instant,
    streams: usize,
}

/// A receive of base that is on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Poll {
    group: String,
    excluded: BTreeSet<String>,
    /// Of one whose client has gone: until when it may still pop.
    until: Option<Instant>,
}

/// What is to be written, or done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// A record that is not there yet.
    Create(LaneKey, Record),
    /// Only where it was not changed since.
    Advance {
        key: LaneKey,
        modified: i64,
        record: Record,
    },
    Remove {
        key: LaneKey,
        modified: i64,
    },
    /// Make the lane's group at the broker, for these topics; told by [`State::primed`].
    Prime(LaneKey, BTreeSet<String>),
    Confirm(LaneKey, i64),
    SetLive(LaneKey, usize),
    DropLive(LaneKey),
    SetDrain(LaneKey),
    DropDrain(LaneKey),
    Count(LaneKey, Counted),
}

/// What this gateway knows.
#[derive(Debug)]
pub struct State {
    id: String,
    groups: BTreeMap<String, Group>,
    /// Whether documents have been read: a lane they do not name before that is no lane to close.
    is_declared: bool,
    view: Option<View>,
    /// Until when what this gateway holds is its own; `None` before it held anything.
    holds_until: Option<Instant>,
    clients: BTreeMap<String, Client>,
    /// Clients that fell silent, for [`State::take_silent`].
    silent: Vec<String>,
    polls: BTreeMap<u64, Poll>,
    sends: BTreeMap<u64, LaneKey>,
    last: u64,
    /// For which topics, and how far.
    primed: BTreeMap<LaneKey, (BTreeSet<String>, Primed)>,
    last_live: BTreeMap<LaneKey, Instant>,
    counts: BTreeMap<LaneKey, Counted>,
    told: BTreeMap<LaneKey, (Counted, Instant)>,
    takeovers: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Primed {
    Asked,
    Done,
}

impl State {
    pub fn new(id: &str) -> State {
        State {
            id: id.to_owned(),
            groups: BTreeMap::new(),
            is_declared: false,
            view: None,
            holds_until: None,
            clients: BTreeMap::new(),
            silent: Vec::new(),
            polls: BTreeMap::new(),
            sends: BTreeMap::new(),
            last: 0,
            primed: BTreeMap::new(),
            last_live: BTreeMap::new(),
            counts: BTreeMap::new(),
            told: BTreeMap::new(),
            takeovers: 0,
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn declare(&mut self, groups: Vec<Group>) {
        self.groups = groups.into_iter().map(|group| (group.name.clone(), group)).collect();
        self.is_declared = true;
    }

    /// The board as it is, and until when this gateway's keys last.
    pub fn look(&mut self, view: View, holds_until: Instant, now: Instant) {
        for key in view.live.keys() {
            self.last_live.insert(key.clone(), now);
        }
        let drained = |view: &View, id: &str| -> BTreeSet<LaneKey> {
            view.drains.keys().filter(|key| view.is_drained_by(key, id)).cloned().collect()
        };
        let before = self.view.as_ref().map(|view| drained(view, &self.id)).unwrap_or_default();
        let taken = drained(&view, &self.id).difference(&before).count();
        self.takeovers += u64::try_from(taken).unwrap_or(0);
        self.primed.retain(|key, _| view.records.contains_key(key));
        self.view = Some(view);
        self.holds_until = Some(holds_until);
    }

    /// Whether it is known which lanes there are.
    pub fn is_settled(&self) -> bool {
        self.is_declared && self.view.is_some()
    }

    /// Whether it is known which messages of this group are not base's.
    pub fn knows(&self, group: &str) -> bool {
        self.is_declared && (self.view.is_some() || !self.has_group(group))
    }

    pub fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// Whether this gateway's keys are its own by its own clock.
    pub fn is_current(&self, now: Instant) -> bool {
        self.holds_until.is_some_and(|until| now < until)
    }

    pub fn takeovers(&self) -> u64 {
        self.takeovers
    }

    /// Whether anything of this group is this gateway's business.
    pub fn has_group(&self, group: &str) -> bool {
        self.groups.contains_key(group)
            || self.view.iter().any(|view| view.records.keys().any(|key| key.group == group))
    }

    fn has_lane(&self, group: &str, lane: &str) -> bool {
        let is_declared = self.groups.get(group).is_some_and(|group| group.lanes.contains(lane));
        is_declared || self.view.iter().any(|view| view.records.contains_key(&LaneKey::new(group, lane)))
    }

    /// The lane of a consumer of a group: by its listener, or by its address among the service's instances.
    pub fn lane_of(&self, group: &str, version: Option<&str>, address: IpAddr) -> Option<String> {
        let known = self.groups.get(group).and_then(|group| group.addresses.get(&address.to_canonical()));
        let lane = version.or(known.map(String::as_str))?;
        self.has_lane(group, lane).then(|| lane.to_owned())
    }

    /// What a message is marked with, if it belongs to a lane that is open.
    pub fn mark(&self, topic: &str, lane: &str) -> Option<(LaneKey, String)> {
        let group = self.groups.values().find(|group| group.topics.contains(topic))?;
        let key = LaneKey::new(&group.name, lane);
        let view = self.view.as_ref()?;
        let is_early = match view.step(&key)? {
            Step::Priming => mutation::is(Mutation::MarkBeforePriming),
            Step::Excluding => {
                mutation::is(Mutation::MarkBeforePriming) || mutation::is(Mutation::MarkBeforePolls)
            }
            _ => false,
        };
        let is_primed = view.records.get(&key).is_some_and(|kept| kept.record.topics.contains(topic));
        let is_open = is_primed && view.step(&key)? == Step::Open || is_early;
        (is_open && group.lanes.contains(lane)).then_some(())?;
        view.mark(&key).map(|mark| (key, mark))
    }

    /// The lane of a producer, by its listener or by its address among the instances of the topic's service.
    pub fn producer_lane(&self, topic: &str, version: Option<&str>, address: IpAddr) -> Option<String> {
        let group = self.groups.values().find(|group| group.topics.contains(topic))?;
        self.lane_of(&group.name, version, address)
    }

    /// The marks that base leaves out.
    pub fn excluded(&self, group: &str) -> Vec<String> {
        let Some(view) = &self.view else { return Vec::new() };
        let mut marks: Vec<String> = view
            .records
            .iter()
            .filter(|(key, kept)| key.group == group && kept.record.step >= Step::Excluding)
            .filter(|(key, _)| !mutation::is(Mutation::FilterByLiveness) || view.is_live(key))
            .filter_map(|(key, _)| view.mark(key))
            .collect();
        marks.sort();
        marks
    }

    /// Whether base may not hand out a message with this mark: it is a lane's, or could be one's that this gateway, cut
    /// off, has not heard of.
    pub fn leaves_to_lane(&self, group: &str, mark: &str, now: Instant) -> bool {
        if mutation::is(Mutation::MarkBeforePolls) {
            return false;
        }
        !self.is_current(now) || self.excluded(group).iter().any(|own| own == mark)
    }

    /// The mark of a lane's messages, once its group is made.
    pub fn lane_mark(&self, key: &LaneKey) -> Option<String> {
        let view = self.view.as_ref()?;
        (view.step(key)? >= Step::Excluding).then(|| view.mark(key)).flatten()
    }

    /// Whether the lane's own clients may receive. What was theirs stays theirs while the board is away.
    pub fn lane_may_receive(&self, key: &LaneKey) -> bool {
        let Some(view) = &self.view else { return false };
        self.lane_mark(key).is_some() && view.is_live_by(key, &self.id) && !view.is_drained(key)
    }

    /// Topics on which there may be messages of the lane, whatever documents say by now.
    pub fn lane_topics(&self, key: &LaneKey) -> BTreeSet<String> {
        let kept = self.view.as_ref().and_then(|view| view.records.get(key));
        kept.map(|kept| kept.record.topics.clone()).unwrap_or_default()
    }

    /// Whether base may receive the lane's messages here.
    pub fn base_may_drain(&self, key: &LaneKey, now: Instant) -> bool {
        let Some(view) = &self.view else { return false };
        self.is_current(now)
            && view.is_drained_by(key, &self.id)
            && !view.is_live(key)
            && self.live_clients(key, now) == 0
    }

    /// Lanes whose messages on this topic base may be asked to take: those that have no living client.
    pub fn idle_lanes(&self, group: &str, topic: &str, now: Instant) -> Vec<String> {
        let Some(view) = &self.view else { return Vec::new() };
        let idle = view.records.iter().filter(|(key, kept)| {
            key.group == group
                && kept.record.step >= Step::Open
                && kept.record.topics.contains(topic)
                && !view.is_live(key)
                && self.live_clients(key, now) == 0
        });
        idle.map(|(key, _)| key.lane.clone()).collect()
    }

    /// A client has opened its stream of settings.
    pub fn opened(&mut self, client: &str, group: &str, lane: Option<String>, now: Instant) {
        let streams = self.clients.get(client).map_or(0, |client| client.streams);
        let entry = Client { group: group.to_owned(), lane, seen: now, streams: streams + 1 };
        self.clients.insert(client.to_owned(), entry);
    }

    /// A client was heard.
    pub fn heard(&mut self, client: &str, now: Instant) {
        if let Some(client) = self.clients.get_mut(client) {
            client.seen = now;
        }
    }

    /// A client has sent its heartbeat: it is there, though its stream may have ended with another process. Clients may take
    /// minutes to open one again.
    pub fn beat(&mut self, client: &str, group: &str, lane: Option<&str>, now: Instant) {
        let new = || Client { group: group.to_owned(), lane: lane.map(str::to_owned), seen: now, streams: 0 };
        self.clients.entry(client.to_owned()).or_insert_with(new).seen = now;
    }

    /// One of its streams has ended.
    pub fn closed(&mut self, client: &str) {
        if let Some(entry) = self.clients.get_mut(client) {
            entry.streams = entry.streams.saturating_sub(1);
            if entry.streams == 0 {
                self.clients.remove(client);
            }
        }
    }

    /// Clients that fell silent since this was asked: what was kept for them can go.
    pub fn take_silent(&mut self) -> Vec<String> {
        std::mem::take(&mut self.silent)
    }

    pub fn has_client(&self, client: &str) -> bool {
        self.clients.contains_key(client)
    }

    /// The client said that it ends.
    pub fn left(&mut self, client: &str) {
        self.clients.remove(client);
    }

    /// The group of a client of base.
    pub fn base_group(&self, client: &str) -> Option<&str> {
        self.clients.get(client).filter(|client| client.lane.is_none()).map(|client| client.group.as_str())
    }

    pub fn live_clients(&self, key: &LaneKey, now: Instant) -> usize {
        let is_of = |client: &&Client| {
            client.group == key.group
                && client.lane.as_deref() == Some(key.lane.as_str())
                && now.saturating_duration_since(client.seen) < SILENCE
        };
        self.clients.values().filter(is_of).count()
    }

    fn has_base_clients(&self, group: &str) -> bool {
        self.clients.values().any(|client| client.lane.is_none() && client.group == group)
    }

    /// A receive of base begins; its number is told at its end.
    pub fn poll_begins(&mut self, group: &str, excluded: &[String]) -> u64 {
        self.last += 1;
        let excluded = excluded.iter().cloned().collect();
        self.polls.insert(self.last, Poll { group: group.to_owned(), excluded, until: None });
        self.last
    }

    /// It has come back whole.
    pub fn poll_ended(&mut self, poll: u64) {
        self.polls.remove(&poll);
    }

    /// Its client has gone, and it may still pop messages at the broker.
    pub fn poll_abandoned(&mut self, poll: u64, now: Instant) {
        if let Some(poll) = self.polls.get_mut(&poll) {
            poll.until = Some(now + ABANDONED);
        }
    }

    /// Marked messages leave for the broker.
    pub fn send_begins(&mut self, key: &LaneKey) -> u64 {
        self.last += 1;
        self.sends.insert(self.last, key.clone());
        self.last
    }

    pub fn send_ended(&mut self, send: u64) {
        self.sends.remove(&send);
    }

    pub fn count(&mut self, key: &LaneKey, sent: u64, acknowledged: u64) {
        let counted = self.counts.entry(key.clone()).or_default();
        counted.sent += sent;
        counted.acknowledged += acknowledged;
    }

    /// The lane's group is being made: it need not be asked for again.
    pub fn priming(&mut self, key: &LaneKey, topics: &BTreeSet<String>) {
        self.primed.insert(key.clone(), (topics.clone(), Primed::Asked));
    }

    /// The lane's group stands at the broker, or could not be made and is asked for again. What was asked for other topics
    /// meanwhile has an answer of its own.
    pub fn primed(&mut self, key: &LaneKey, topics: &BTreeSet<String>, is_done: bool) {
        if self.primed.get(key).is_none_or(|(asked, _)| asked != topics) {
            return;
        }
        match is_done {
            true => self.primed.insert(key.clone(), (topics.clone(), Primed::Done)),
            false => self.primed.remove(key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_beats_is_there_without_a_stream_and_gone_once_it_is_silent() {
        let (mut state, begun, key) = (State::new("one"), Instant::now(), LaneKey::new("g", "a"));
        state.look(View::default(), begun, begun);
        state.declare(Vec::new());
        state.beat("client", "g", Some("a"), begun);
        assert_eq!(state.live_clients(&key, begun), 1);
        state.opened("client", "g", Some("a".to_owned()), begun);
        state.beat("client", "g", Some("a"), begun);
        state.closed("client");
        assert_eq!(state.live_clients(&key, begun), 0, "its stream was its life");
        state.beat("client", "g", None, begun);
        let _ = state.next(begun + SILENCE, 0);
        assert!(!state.has_client("client"));
        assert_eq!(state.take_silent(), ["client"], "sessions in its name would stay open for ever");
    }
    fn record(step: Step, topics: &[&str], joining: &[&str]) -> Record {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Record { step, since: 0, topics: names(topics), joining: names(joining) }
    }

    fn view(step: Step) -> View {
        let record = record(step, &["t"], &[]);
        let kept = super::super::board::Kept { record, created: 7, modified: 9 };
        View { records: BTreeMap::from([(LaneKey::new("g", "a"), kept)]), ..View::default() }
    }

    #[test]
    fn a_gateway_that_has_read_no_documents_closes_no_lane() {
        let (mut state, now) = (State::new("one"), Instant::now());
        state.look(view(Step::Open), now, now);
        assert_eq!(state.next(now, 0), []);
        assert!(!state.is_settled() && !state.knows("other"), "it would hand out as base's what is a lane's");
        state.declare(Vec::new());
        let unmarking = record(Step::Unmarking, &["t"], &[]);
        let closes = Action::Advance { key: LaneKey::new("g", "a"), modified: 9, record: unmarking };
        assert!(state.next(now, 0).contains(&closes));
    }

    #[test]
    fn a_lane_that_is_taken_out_before_it_is_open_is_gone_and_never_opens_unmade() {
        for step in [Step::Priming, Step::Excluding] {
            let (mut state, now) = (State::new("one"), Instant::now());
            state.declare(Vec::new());
            state.look(view(step), now, now);
            assert!(
                state.next(now, 0).contains(&Action::Remove { key: LaneKey::new("g", "a"), modified: 9 })
            );
        }
    }

    #[test]
    fn a_topic_that_is_added_to_an_open_lane_is_marked_once_every_gateway_has_primed_it() {
        let (mut state, now, key) = (State::new("one"), Instant::now(), LaneKey::new("g", "a"));
        let topics: BTreeSet<String> = ["t", "u"].map(str::to_owned).into();
        let group = Group {
            name: "g".into(),
            topics: topics.clone(),
            lanes: ["a".to_owned()].into(),
            takeover: Duration::ZERO,
            addresses: BTreeMap::new(),
        };
        state.declare(vec![group]);
        let mut view = view(Step::Open);
        let is_marked = |state: &State, topic| state.mark(topic, "a").is_some();
        let advance = |modified, record| Action::Advance { key: key.clone(), modified, record };
        let put = |view: &mut View, record, modified| {
            let kept = view.records.get_mut(&key).unwrap();
            (kept.record, kept.modified) = (record, modified);
        };
        state.look(view.clone(), now, now);
        assert!(is_marked(&state, "t") && !is_marked(&state, "u"), "no group begins there yet");
        let joining = record(Step::Open, &["t"], &["u"]);
        assert!(state.next(now, 0).contains(&advance(9, joining.clone())));

        put(&mut view, joining, 10);
        view.gateways = ["one", "two"].map(str::to_owned).into();
        state.look(view.clone(), now, now);
        let new = ["u".to_owned()].into();
        assert!(state.next(now, 0).contains(&Action::Prime(key.clone(), new)));
        let new = ["u".to_owned()].into();
        state.priming(&key, &new);
        state.primed(&key, &topics, true);
        assert!(!state.next(now, 0).contains(&Action::Confirm(key.clone(), 10)), "other topics were primed");
        state.primed(&key, &new, true);
        assert!(state.next(now, 0).contains(&Action::Confirm(key.clone(), 10)));
        let joined = record(Step::Open, &["t", "u"], &[]);
        view.confirmed.insert((key.clone(), "one".into()), 10);
        state.look(view.clone(), now, now);
        assert!(!state.next(now, 0).contains(&advance(10, joined.clone())) && !is_marked(&state, "u"));
        view.confirmed.insert((key.clone(), "two".into()), 10);
        state.look(view.clone(), now, now);
        assert!(state.next(now, 0).contains(&advance(10, joined.clone())));

        put(&mut view, joined, 11);
        state.look(view.clone(), now, now);
        assert!(is_marked(&state, "u"));
        state.declare(Vec::new());
        assert!(!is_marked(&state, "u"));
        assert_eq!(state.idle_lanes("g", "u", now), ["a"], "what was marked before is still drained");
        assert_eq!(state.idle_lanes("g", "v", now), [""; 0]);
    }
}
