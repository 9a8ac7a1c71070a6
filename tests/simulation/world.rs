//! The store, the connection, the process and its disk, moved step by step by a seed.

use crate::store::{Event, PREFIX, STRAY, State, Store};
use graygate_proxy::live::{Admitted, Generation, Guard, Live, Publisher};
use graygate_proxy::metrics::Metrics;
use graygate_proxy::pools::Registry;
use graygate_rules::compile::Memory;
use graygate_rules::decide::Outcome;
use graygate_rules::vocab::Counting;
use graygate_store::Update;
use graygate_store::cache::{Cache, Good};
use graygate_store::etcd::mirror::{Heard, Mirror};
use graygate_store::etcd::{Change, Listing, Part};
use std::collections::VecDeque;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;

/// Everything that is written; `fleet/` is not looked at, but moves the store's revision like a document.
const IDS: [&str; 14] = [
    "routes/r1",
    "routes/r2",
    "services/a",
    "services/b",
    "rules/x1",
    "rules/x2",
    "rules/x3",
    "rules/x4",
    "lists/l/p1",
    "lists/l/p2",
    "instances/a/i1",
    "instances/b/i2",
    "fleet/proxy",
    STRAY,
];

/// What happened in some seeds; a simulation in which nothing goes wrong shows nothing.
#[derive(Default, Debug)]
pub struct Seen {
    published: usize,
    lost: usize,
    repeated: usize,
    reordered: usize,
    compacted: usize,
    wiped: usize,
    crashed: usize,
    torn: usize,
    started_from_cache: usize,
    stale: usize,
    mismatches: usize,
    held_back: usize,
    broken: usize,
}

impl Seen {
    pub fn add(&mut self, other: &Seen) {
        for (sum, one) in self.counts().into_iter().zip(other.values()) {
            *sum += one;
        }
    }

    pub fn everything(&self) -> bool {
        self.values().into_iter().all(|count| count > 0)
    }

    fn counts(&mut self) -> [&mut usize; 13] {
        [
            &mut self.published,
            &mut self.lost,
            &mut self.repeated,
            &mut self.reordered,
            &mut self.compacted,
            &mut self.wiped,
            &mut self.crashed,
            &mut self.torn,
            &mut self.started_from_cache,
            &mut self.stale,
            &mut self.mismatches,
            &mut self.held_back,
            &mut self.broken,
        ]
    }

    fn values(&self) -> [usize; 13] {
        [
            self.published,
            self.lost,
            self.repeated,
            self.reordered,
            self.compacted,
            self.wiped,
            self.crashed,
            self.torn,
            self.started_from_cache,
            self.stale,
            self.mismatches,
            self.held_back,
            self.broken,
        ]
    }
}

/// Chance by seed: the same everywhere and for ever (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

impl Watch {
    fn has_told(&self, revision: i64) -> bool {
        self.inbox.is_empty() && self.next > revision
    }
}

struct Message {
    revision: i64,
    events: Vec<Event>,
}

/// One watch of a connection. Nothing is known about the order between the messages of two.
struct Watch {
    part: Part,
    /// What it sends next.
    next: i64,
    inbox: VecDeque<Message>,
}

/// A connection that has listed, and perhaps watches.
struct Session {
    watched: [Watch; 2],
    watches: bool,
    comparison: Option<Listing>,
    /// Whether a message was lost or came before another: until the next listing the state may be one that never was.
    misled: bool,
}

/// What dies with the process.
struct Process {
    mirror: Mirror,
    session: Option<Session>,
    pending: Option<Update>,
    guard: Guard,
    live: Arc<Live>,
    publisher: Publisher,
    /// What should run, worked out the slow way.
    running: State,
    good: Option<Good>,
}

pub struct World {
    chance: Chance,
    now: Instant,
    store: Store,
    process: Process,
    cache: Cache,
    disk: TempDir,
    /// Everything that was ever to be cached.
    stored: Vec<Good>,
    texts: u64,
    pub seen: Seen,
}

/// A text by the model's own mark: nothing of the program reads it.
fn is_good(text: &str) -> bool {
    !text.contains("BROKEN")
}

fn process() -> Process {
    let live = Arc::new(Live::default());
    Process {
        mirror: Mirror::new(PREFIX),
        session: None,
        pending: None,
        guard: Guard::new(Counting::Stored),
        publisher: Publisher::new(live.clone(), Arc::new(Registry::new(0)), Metrics::default()),
        live,
        running: State::new(),
        good: None,
    }
}

fn texts(documents: &graygate_rules::documents::Documents) -> State {
    let text = |raw: &graygate_rules::documents::Raw| String::from_utf8(raw.body.to_vec()).unwrap();
    documents.iter().map(|(id, raw)| (id.to_string(), text(raw))).collect()
}

impl World {
    pub fn new(seed: u64) -> World {
        // The cache is synced to its disk; in memory that costs nothing.
        let memory = std::path::Path::new("/dev/shm");
        let disk = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let disk = disk.unwrap();
        World {
            chance: Chance(seed),
            now: Instant::now(),
            store: Store::new(),
            process: process(),
            cache: Cache::new(disk.path(), "simulation"),
            disk,
            stored: Vec::new(),
            texts: 0,
            seen: Seen::default(),
        }
    }

    pub fn step(&mut self) {
        self.now += Duration::from_millis(self.chance.below(15) as u64);
        match self.chance.below(100) {
            0..25 => self.write(),
            25..28 => {
                self.store.compact();
                self.seen.compacted += 1;
            }
            28..29 => self.wipe(),
            29..40 => self.connect(),
            40..55 => self.send(),
            55..72 => self.deliver(),
            72..77 => self.disturb(),
            77..79 => self.disconnect(),
            79..82 => self.compare(),
            82..92 => self.publish(),
            92..96 => self.keep(),
            96..97 => self.tear(),
            _ => self.crash(),
        }
        if self.process.mirror.due().is_some_and(|due| due <= self.now) {
            self.flush();
        }
    }

    fn write(&mut self) {
        let several = if self.chance.one_in(3) { 1 + self.chance.below(5) } else { 1 };
        let mut changes: Vec<(&str, Option<String>)> = Vec::new();
        for _ in 0..several {
            let id = IDS[self.chance.below(IDS.len())];
            if changes.iter().all(|(known, _)| *known != id) {
                let value = (!self.chance.one_in(6)).then(|| self.text(id));
                changes.push((id, value));
            }
        }
        self.store.write(changes);
    }

    /// A text of its own, sometimes broken.
    fn text(&mut self, id: &str) -> String {
        self.texts += 1;
        let number = self.texts;
        if self.chance.one_in(5) && !id.starts_with("lists/") {
            return format!("BROKEN: [{number}\n");
        }
        match id.split('/').next().unwrap() {
            "routes" => format!("service: a # {number}\n"),
            "services" => format!("retries: 1 # {number}\n"),
            "rules" => format!("services: [a]\nversion: v{number}\n"),
            "lists" => format!("user-{number}\n"),
            "instances" => format!("{{address: \"127.0.0.1:80\", version: v{number}}}\n"),
            _ => number.to_string(),
        }
    }

    fn wipe(&mut self) {
        self.disconnect();
        self.store.wipe();
        self.seen.wiped += 1;
    }

    /// Lists, or, where that is done, opens the watch.
    fn connect(&mut self) {
        let process = &mut self.process;
        match &mut process.session {
            None => {
                let next = process.mirror.listed(self.store.listing());
                let watched =
                    [Part::Documents, Part::Strays].map(|part| Watch { part, next, inbox: VecDeque::new() });
                process.session = Some(Session { watched, watches: false, comparison: None, misled: false });
            }
            Some(session) if !session.watches => {
                if session.watched.iter().any(|watch| watch.next <= self.store.compacted) {
                    self.seen.stale += 1;
                    return self.disconnect();
                }
                session.watches = true;
                let update = process.mirror.update(self.now);
                self.offer(update);
            }
            Some(_) => {}
        }
    }

    fn send(&mut self) {
        let watch = self.chance.below(2);
        self.send_on(watch);
    }

    /// The server sends one or several revisions in one message, never a part of one.
    fn send_on(&mut self, watch: usize) {
        let Some(session) = self.process.session.as_mut().filter(|session| session.watches) else { return };
        let watch = &mut session.watched[watch];
        if watch.next <= self.store.compacted {
            self.seen.stale += 1;
            return self.disconnect();
        }
        let waiting = self.store.events_from(watch.part, watch.next);
        let Some(first) = waiting.first() else { return };
        let upto = first.revision + self.chance.below(3) as i64;
        let events: Vec<_> = waiting.into_iter().take_while(|event| event.revision <= upto).collect();
        watch.next = upto.min(self.store.revision) + 1;
        watch.inbox.push_back(Message { revision: self.store.revision, events });
    }

    fn deliver(&mut self) {
        let watch = self.chance.below(2);
        self.deliver_on(watch);
    }

    fn deliver_on(&mut self, watch: usize) {
        let process = &mut self.process;
        let watch = process.session.as_mut().map(|session| &mut session.watched[watch]);
        let Some((part, message)) = watch.and_then(|watch| Some((watch.part, watch.inbox.pop_front()?)))
        else {
            return;
        };
        let changes = message.events.iter().map(|event| Change {
            key: event.key.as_bytes(),
            mod_revision: event.revision,
            value: event.value.as_deref().map(str::as_bytes),
        });
        let heard = Heard { part: Some(part), revision: message.revision, changes: changes.collect() };
        match process.mirror.heard(&heard, self.now) {
            Ok(Some(update)) => self.offer(update),
            Ok(None) => {}
            Err(_) => {
                self.seen.stale += 1;
                self.disconnect();
            }
        }
    }

    /// What no network should do to a stream, and some do.
    fn disturb(&mut self) {
        let Some(session) = &mut self.process.session else { return };
        let inbox = &mut session.watched[self.chance.below(2)].inbox;
        let count = inbox.len();
        match self.chance.below(3) {
            0 if count > 0 => {
                let _ = inbox.remove(self.chance.below(count));
                session.misled = true;
                self.seen.lost += 1;
            }
            1 if count > 0 => {
                let message = &inbox[self.chance.below(count)];
                let again = Message { revision: message.revision, events: message.events.clone() };
                inbox.push_back(again);
                self.seen.repeated += 1;
            }
            2 if count > 1 => {
                inbox.swap(0, count - 1);
                session.misled = true;
                self.seen.reordered += 1;
            }
            _ => {}
        }
    }

    fn disconnect(&mut self) {
        if self.process.session.is_some() {
            self.flush();
            self.process.session = None;
        }
    }

    fn flush(&mut self) {
        if let Some(update) = self.process.mirror.flush() {
            self.offer(update);
        }
    }

    /// A comparison begins, or ends once everything that was on its way has arrived.
    fn compare(&mut self) {
        let process = &mut self.process;
        let Some(session) = process.session.as_mut().filter(|session| session.watches) else { return };
        match session.comparison.take() {
            None => {
                process.mirror.begin_comparison();
                session.comparison = Some(self.store.listing());
            }
            Some(listing) if session.watched.iter().all(|watch| watch.has_told(listing.revision)) => {
                if let Err(stale) = process.mirror.judge(Some(&listing)) {
                    assert!(session.misled, "differs without having been misled: {}", stale.reason);
                    self.seen.mismatches += stale.mismatches;
                    self.disconnect();
                }
            }
            early => session.comparison = early,
        }
    }

    /// The watcher publishes: whatever was not taken yet is replaced.
    fn offer(&mut self, update: Update) {
        let state = texts(&update.set.documents);
        let misled = self.process.session.as_ref().is_some_and(|session| session.misled);
        let revision = i64::try_from(update.set.revision).unwrap();
        match misled {
            false => assert!(self.store.had(revision, &state), "at {revision} there was never {state:?}"),
            true => {
                for (id, text) in &state {
                    assert!(self.store.ever_had(id, text), "{id} never was {text:?}");
                }
            }
        }
        self.process.pending = Some(update);
    }

    fn publish(&mut self) {
        if let Some(update) = self.process.pending.take() {
            let admitted = self.process.guard.admit(update.set);
            self.put_in_force(&admitted);
            let process = &mut self.process;
            if !admitted.is_held_back {
                let documents = process.publisher.good_texts().clone();
                process.good = Some(Good { revision: admitted.set.revision, documents });
            }
        }
    }

    fn put_in_force(&mut self, admitted: &Admitted) {
        let process = &mut self.process;
        let no_files = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let generation = process.publisher.publish(admitted, SystemTime::UNIX_EPOCH, &no_files);
        let before = std::mem::take(&mut process.running);
        for (id, text) in texts(&admitted.set.documents) {
            match is_good(&text) {
                true => drop(process.running.insert(id, text)),
                false => {
                    self.seen.broken += 1;
                    assert!(generation.problems.iter().any(|(problem, _)| problem.document() == id));
                    process
                        .running
                        .extend(before.get_key_value(&id).map(|(id, text)| (id.clone(), text.clone())));
                }
            }
        }
        assert_eq!(texts(process.publisher.good_texts()), process.running);
        check_rules(&generation, &process.running);
        assert!(Arc::ptr_eq(&process.live.running().unwrap(), &generation));
        self.seen.published += 1;
        self.seen.held_back += usize::from(admitted.is_held_back);
    }

    fn keep(&mut self) {
        if let Some(good) = self.process.good.take() {
            self.cache.store(&good).unwrap();
            self.stored.push(good);
        }
    }

    /// The disk loses the end of the file, or a bit of it; or the process died while it wrote.
    fn tear(&mut self) {
        let file = self.disk.path().join("documents.cache");
        let Some(mut bytes) = fs::read(&file).ok().filter(|bytes| !bytes.is_empty()) else { return };
        let at = self.chance.below(bytes.len());
        match self.chance.below(3) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << self.chance.below(8),
            _ => return fs::write(self.disk.path().join(".documents.cache.1"), &bytes[..at]).unwrap(),
        }
        fs::write(&file, bytes).unwrap();
        self.seen.torn += 1;
    }

    /// Everything in memory is gone. The source may answer before the cache is run, or not.
    fn crash(&mut self) {
        self.seen.crashed += 1;
        self.process = process();
        let Ok(Some(set)) = self.cache.load() else { return };
        let known = |good: &Good| good.revision == set.revision && good.documents == set.documents;
        assert!(self.stored.iter().any(known), "the cache holds what never ran");
        self.process.publisher.remember(Memory::from_good(set.documents.clone()));
        self.process.running = texts(&set.documents);
        let admitted = self.process.guard.admit(Arc::new(set));
        if self.chance.one_in(2) {
            self.put_in_force(&admitted);
            self.seen.started_from_cache += 1;
        }
    }

    /// Nothing goes wrong any more, and someone writes once more.
    pub fn quiet(&mut self) {
        self.store.write(vec![
            ("routes/r1", Some("service: a\n".into())),
            ("services/a", Some("retries: 2\n".into())),
            ("rules/x1", Some("services: [a]\nversion: newest\n".into())),
        ]);
        // One comparison finds what was lost; a new session lists, so that two rounds are always enough.
        for _ in 0..2 {
            while self.process.session.as_ref().is_none_or(|session| !session.watches) {
                self.connect();
            }
            self.hear_everything();
            if self.process.session.as_ref().is_some_and(|session| session.comparison.is_some()) {
                self.compare();
            }
            if self.process.session.is_some() {
                self.compare();
                self.compare();
            }
        }
        self.flush();
        self.publish();
        let newest = self.store.state();
        let generation = self.process.live.running().unwrap();
        let told = self.process.mirror.update(self.now).set;
        assert_eq!(i64::try_from(told.revision), Ok(self.store.revision));
        assert_eq!(texts(&told.documents), newest);
        assert_eq!(!told.strays.is_empty(), self.store.has_stray());
        for (id, text) in &newest {
            let runs = self.process.running.get(id);
            match is_good(text) {
                true => assert_eq!(runs, Some(text), "{id}"),
                false => assert!(runs.is_none_or(|text| is_good(text) && self.store.ever_had(id, text))),
            }
        }
        assert!(self.process.running.keys().all(|id| newest.contains_key(id)));
        assert!(generation.problems.iter().all(|(problem, _)| problem.document() != "etcd"));
    }

    fn hear_everything(&mut self) {
        for watch in [0, 1] {
            while let Some(session) = &mut self.process.session {
                let one = &mut session.watched[watch];
                if one.has_told(self.store.revision) {
                    break;
                }
                if !one.inbox.is_empty() {
                    self.deliver_on(watch);
                } else if one.next > self.store.compacted
                    && self.store.events_from(one.part, one.next).is_empty()
                {
                    one.next = self.store.revision + 1;
                } else {
                    self.send_on(watch);
                }
            }
        }
    }
}

/// The rules that decide are the ones of the texts in force, with their versions.
fn check_rules(generation: &Generation, running: &State) {
    let Some(service) = generation.snapshot.services.iter().find(|service| service.name.as_str() == "a")
    else {
        return assert!(!running.contains_key("services/a"));
    };
    let decides: Vec<_> = service
        .rules
        .iter()
        .map(|rule| match rule.outcome {
            Outcome::Version(id) => (rule.name.to_string(), service.versions[id].word.to_string()),
            Outcome::Split { .. } => panic!("no one wrote a split"),
        })
        .collect();
    let written: Vec<_> = running
        .iter()
        .filter_map(|(id, text)| Some((id.strip_prefix("rules/")?, text)))
        .map(|(name, text)| (name.to_owned(), text.trim().rsplit(' ').next().unwrap().to_owned()))
        .collect();
    assert_eq!(decides, written);
}
