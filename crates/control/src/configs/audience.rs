//! The audiences of running plans: who gets the other value.
//!
//! Owns: the rules of each plan, compiled in a set of their own, and the request that stands for the caller. Never: a
//! look at what was given before, or at a store.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use graygate_judge::plan::State;
use graygate_rules::compile::{self, Compiled, Memory};
use graygate_rules::decide::{Arrival, Buffers, NetworkSet, Overrides, Peer, Scratch, Trust};
use graygate_rules::documents::plan::Subject;
use graygate_rules::documents::{DocumentId, DocumentSet, Kind, Raw};
use graygate_rules::vocab::{Attribute, Name};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::item::{ItemId, ItemPlace};
use crate::plans::{Kept, Spec, rules};
use crate::state::Revision;

/// The word for those who get the other value.
const GRAY: &str = "gray";
/// What is hashed where the plan says nothing else.
const IDENTITY: &str = "identity: [header:user-id, header:instance-id, ip]\n";
const INSTANCE: HeaderName = HeaderName::from_static("instance-id");
const USER: HeaderName = HeaderName::from_static("user-id");
/// The host of a request for a value, which names none.
const HOST: &str = "configuration";

/// Who asks for a value.
#[derive(Clone, Debug)]
pub struct Asker<'a> {
    pub instance: Option<&'a str>,
    pub user: Option<&'a str>,
    pub address: IpAddr,
}

impl Asker<'_> {
    /// What is hashed of it: the first that is there of what the plan names, else of user, instance and address.
    pub fn identity(&self, by: Option<&[Attribute]>) -> String {
        let of = |attribute: &Attribute| match attribute {
            Attribute::Header(name) if *name == USER => self.user.map(str::to_owned),
            Attribute::Header(name) if *name == INSTANCE => self.instance.map(str::to_owned),
            Attribute::Ip => Some(self.address.to_string()),
            _ => None,
        };
        let usual = [Attribute::Header(USER), Attribute::Header(INSTANCE)];
        let mut found = by.unwrap_or(&usual).iter().filter_map(of).filter(|text| !text.is_empty());
        found.next().unwrap_or_else(|| self.address.to_string())
    }
}

/// One plan's other values, and how far it has come.
#[derive(Clone, Debug)]
pub struct Audience {
    pub plan: String,
    pub run: u64,
    /// Of the plan's record: the transition it has come to.
    pub moves: u64,
    pub state: State,
    pub revision: Revision,
    pub place: ItemPlace,
    pub values: HashMap<String, Arc<str>>,
    /// Its place among the compiled rules; none where it gives nothing to anyone.
    service: Option<Name>,
    /// What is hashed instead of the usual.
    pub by: Option<Vec<Attribute>>,
}

impl Audience {
    /// Whether some of those who ask get the other value.
    pub fn is_giving(&self) -> bool {
        matches!(self.state, State::Active | State::Paused)
    }
}

/// All audiences, compiled together.
#[derive(Debug)]
pub struct Audiences {
    pub all: Vec<Audience>,
    /// Those that concern a key, by its item's name.
    by_key: HashMap<String, Vec<usize>>,
    compiled: Compiled,
    /// The parts of lists that were read.
    pub lists: BTreeMap<DocumentId, Arc<Raw>>,
}

impl Audiences {
    pub fn none() -> Audiences {
        let compiled =
            compile::compile_next(&DocumentSet::default(), Memory::default(), &|path| std::fs::read(path));
        Audiences { all: Vec::new(), by_key: HashMap::new(), compiled, lists: BTreeMap::new() }
    }

    /// Compiles the plans; `parts` are the texts of a list, by its name. Plans that cannot be read give nothing.
    pub fn of(
        plans: &[(Kept, Revision)],
        parts: impl Fn(&str) -> Vec<(DocumentId, Arc<Raw>)>,
        before: &Audiences,
    ) -> Audiences {
        let (mut all, mut documents, mut lists) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for (kept, revision) in plans {
            let Ok(spec) = Spec::read(&kept.plan, &kept.text, kept.is_json) else { continue };
            let Subject::Config(config) = &spec.plan.subject else { continue };
            let mut audience = Audience {
                plan: kept.plan.clone(),
                run: kept.run,
                moves: kept.moves,
                state: kept.progress.state,
                revision: *revision,
                place: ItemPlace {
                    app: config.app.clone(),
                    environment: config.environment.clone(),
                    group: config.group.clone(),
                },
                values: config
                    .values
                    .iter()
                    .map(|(key, value)| (key.clone(), value.as_str().into()))
                    .collect(),
                service: None,
                by: spec.plan.by.clone(),
            };
            if audience.is_giving() && put_rules(&spec, kept, &mut documents).is_some() {
                audience.service = Name::parse(&kept.plan);
                for list in spec.plan.conditions().flat_map(|(_, condition)| named_lists(condition)) {
                    lists.extend(parts(&list));
                }
            }
            all.push(audience);
        }
        documents.extend(lists.iter().map(|(id, raw)| (id.clone(), raw.clone())));
        let set = DocumentSet { documents: documents.into(), ..DocumentSet::default() };
        let memory = before.compiled.memory.clone();
        let compiled = compile::compile_next(&set, memory, &|path| std::fs::read(path));
        let mut by_key: HashMap<String, Vec<usize>> = HashMap::new();
        for (number, audience) in all.iter().enumerate() {
            for key in audience.values.keys() {
                let id = ItemId { place: audience.place.clone(), key: key.clone() };
                by_key.entry(id.to_string()).or_default().push(number);
            }
        }
        Audiences { all, by_key, compiled, lists }
    }

    /// The audiences of plans that name a key, running or not.
    pub fn of_key(&self, name: &str) -> impl Iterator<Item = &Audience> {
        self.by_key.get(name).into_iter().flatten().filter_map(|number| self.all.get(*number))
    }

    /// Whether the plan's rules give the other value to who asks. What cannot be admitted as a request gets none.
    pub fn gives(&self, audience: &Audience, asker: &Asker<'_>, now: i128) -> bool {
        let Some(service) = &audience.service else { return false };
        let mut headers = HeaderMap::with_capacity(2);
        for (name, value) in [(INSTANCE, asker.instance), (USER, asker.user)] {
            let Some(text) = value else { continue };
            let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) else { return false };
            headers.insert(name, value);
        }
        WORK.with_borrow_mut(|(buffers, scratch)| {
            let arrival = Arrival {
                method: "GET",
                authority: Some(HOST.as_bytes()),
                path: b"/",
                query: None,
                fields: (&headers).into(),
                peer: Peer { address: asker.address, scheme: "http", trusted: false },
                version: Version::HTTP_11,
                now,
                fresh_identity: None,
            };
            TRUST.with(|trust| {
                let Ok(request) = arrival.admit(trust, buffers).request else { return false };
                let snapshot = &self.compiled.snapshot;
                let Some(choice) = snapshot.decide_in(service, &request, scratch) else { return false };
                let version = snapshot.service(choice.service).zip(choice.version);
                version
                    .and_then(|(plan, id)| plan.version(id))
                    .is_some_and(|found| found.word.as_str() == GRAY)
            })
        })
    }
}

thread_local! {
    static WORK: RefCell<(Buffers, Scratch)> = RefCell::default();
    static TRUST: Trust = Trust {
        forwarded: NetworkSet::default(),
        version: NetworkSet::default(),
        version_header: HeaderName::from_static("x-gray-version"),
        baggage: false,
        overrides: Overrides::default(),
        places: None,
    };
}

/// The rules of a plan, as those of a service of its own: written by what writes rules of every plan.
fn put_rules(spec: &Spec, kept: &Kept, documents: &mut BTreeMap<DocumentId, Arc<Raw>>) -> Option<()> {
    let service = Name::parse(&spec.name)?;
    let mut stand_in = spec.clone();
    stand_in.plan.subject =
        Subject::Services { services: vec![service.clone()], version: Name::parse(GRAY)? };
    let written = rules::rules(&stand_in, &kept.progress, &BTreeMap::new()).ok()?;
    documents.insert(DocumentId::of(Kind::Service, service.as_str())?, Arc::new(Raw::yaml(IDENTITY)));
    for (name, text) in written {
        documents.insert(DocumentId::parse(&name)?, Arc::new(Raw::yaml(text.as_str())));
    }
    Some(())
}

fn named_lists(condition: &graygate_rules::documents::Condition) -> Vec<String> {
    use graygate_rules::documents::{Condition, Operator};
    match condition {
        Condition::All(inner) | Condition::Any(inner) => inner.iter().flat_map(named_lists).collect(),
        Condition::Not(inner) => named_lists(inner),
        Condition::Match(asked) => match &asked.operator {
            Operator::InList(name) => vec![name.to_string()],
            _ => Vec::new(),
        },
    }
}
