//! From a registry to documents: what operators of registries have run into, as cases.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use graygate_control::registries::config::{Registries, read};
use graygate_control::registries::engine;
use graygate_control::registries::reconcile::{Change, Written, raw};
use graygate_control::registries::status::Status;
use graygate_control::registries::store::{Documents, InstanceStore, StoreError};
use graygate_rules::documents::fields::{Field, Notes};
use graygate_rules::documents::text::{self, Syntax};
use graygate_rules::documents::{Document, DocumentId, Raw, parse};
use graygate_rules::vocab::Name;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use graygate_testing::registries::servers::{free_port, set_enabled};
use graygate_testing::registries::{providers, servers};

const LIMIT: Duration = Duration::from_secs(60);

/// Documents in memory.
#[derive(Default)]
struct Memory {
    documents: Mutex<Arc<Documents>>,
    bodies: Mutex<BTreeMap<String, String>>,
}

impl Memory {
    fn put(&self, id: &str, body: &str) {
        self.bodies.lock().unwrap().insert(id.to_owned(), body.to_owned());
        self.refresh();
    }

    fn remove(&self, id: &str) {
        self.bodies.lock().unwrap().remove(id);
        self.refresh();
    }

    fn refresh(&self) {
        let mut documents = Documents::default();
        for (id, body) in self.bodies.lock().unwrap().iter() {
            let id = DocumentId::parse(id).unwrap();
            match parse(&id, &Raw::yaml(body.as_str())).unwrap() {
                Document::Service(service) => {
                    documents.discover.insert(Name::parse(&id.name).unwrap(), service.discover.clone());
                }
                _ => {
                    let service = Name::parse(id.head()).unwrap();
                    documents.instances.entry(service).or_default().push(Written::read(&id, &raw(body)));
                }
            }
        }
        *self.documents.lock().unwrap() = Arc::new(documents);
    }

    /// The instances of a service as `address version`, with a star where they drain.
    fn instances(&self, service: &str) -> Vec<String> {
        let start = format!("instances/{service}/");
        let bodies = self.bodies.lock().unwrap();
        let mut found: Vec<String> = bodies
            .iter()
            .filter(|(id, _)| id.starts_with(&start))
            .map(|(id, body)| {
                match parse(&DocumentId::parse(id).unwrap(), &Raw::yaml(body.as_str())).unwrap() {
                    Document::Instance(one) => {
                        format!("{} {}{}", one.address, one.version, if one.draining { "*" } else { "" })
                    }
                    other => panic!("{other:?}"),
                }
            })
            .collect();
        found.sort();
        found
    }
}

#[async_trait]
impl InstanceStore for Memory {
    fn read(&self) -> Option<Arc<Documents>> {
        Some(self.documents.lock().unwrap().clone())
    }

    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        for change in changes {
            match change {
                Change::Put { id, text } => self.put(&id.to_string(), text),
                Change::Delete { id } => self.remove(&id.to_string()),
            }
        }
        Ok(())
    }
}

/// Registries that run over documents in memory.
struct Case {
    store: Arc<Memory>,
    shown: watch::Receiver<Arc<Status>>,
    running: JoinHandle<()>,
}

impl Drop for Case {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn settings(yaml: &str) -> Registries {
    let node = text::parse(yaml, Syntax::Yaml).unwrap();
    let notes = Notes::of("control.yaml");
    let registries = read(&Field::root(&node, &notes));
    assert!(notes.is_empty(), "{:?}", notes.into_problems());
    registries.unwrap()
}

impl Case {
    fn new(yaml: &str, documents: &[(&str, &str)]) -> Case {
        let store = Arc::new(Memory::default());
        documents.iter().for_each(|(id, body)| store.put(id, body));
        Case::over(yaml, store)
    }

    /// As a control process that starts over what there is.
    fn over(yaml: &str, store: Arc<Memory>) -> Case {
        let (shows, shown) = watch::channel(Arc::default());
        let running = tokio::spawn(engine::run(settings(yaml), store.clone(), shows, || "now".to_owned()));
        Case { store, shown, running }
    }

    async fn until(&self, what: &str, holds: impl Fn(&Case) -> bool) -> Duration {
        let begun = Instant::now();
        while !holds(self) {
            let (all, status) = (&self.store.bodies, self.shown.borrow().clone());
            assert!(begun.elapsed() < LIMIT, "not within {LIMIT:?}: {what}; {all:?} {status:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        begun.elapsed()
    }

    async fn has(&self, service: &str, instances: &[&str]) -> Duration {
        let what = format!("{service}: {instances:?}");
        self.until(&what, |case| case.store.instances(service) == instances).await
    }

    /// Nothing changes for a while.
    async fn keeps(&self, service: &str, instances: &[&str], while_: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < while_ {
            assert_eq!(self.store.instances(service), instances);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn is_up(&self) -> bool {
        self.shown.borrow().registries.iter().all(|registry| registry.up)
    }

    fn problems(&self) -> Vec<String> {
        self.shown.borrow().problems().map(|problem| problem.message.clone()).collect()
    }
}

fn nacos(address: &str) -> String {
    format!("{{r: {{nacos: {{addresses: ['{address}']}}}}}}")
}

const DISCOVER: &str = "discover: {registry: r, name: a, tags: [developer]}";

/// Metadata reach the documents, a broken entry costs its neighbours nothing, two services share a name without
/// duplicates, "offline" counts within a second, and the last instance leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_life_in_nacos() {
    let server = servers::nacos();
    let services = [("services/patient", DISCOVER), ("services/portal", "discover: {registry: r, name: a}")];
    let case = Case::new(&nacos(&server.address()), &services);
    case.until("up", Case::is_up).await;
    let mut gray =
        providers::nacos(&server, "a", "10.0.0.1:80", r#"{"version":"gray","developer":"li","weight":"x"}"#);
    case.has("patient", &["10.0.0.1:80 gray"]).await;
    case.has("portal", &["10.0.0.1:80 gray"]).await;
    let body = case.store.bodies.lock().unwrap()["instances/patient/r.10.0.0.1-80"].clone();
    assert!(body.contains(r#"tags: {"developer": "li"}"#) && body.contains("weight: 100"), "{body}");
    assert!(body.contains(r#"by: "r""#), "{body}");

    let _broken = providers::nacos(&server, "a", "10.0.0.3:80", r#"{"version":"a b"}"#);
    case.until("the problem", |case| case.problems().iter().any(|said| said.contains("`a b`"))).await;
    let mut plain = providers::nacos(&server, "a", "10.0.0.2:80", "{}");
    case.has("patient", &["10.0.0.1:80 gray", "10.0.0.2:80 release"]).await;

    set_enabled(&server, "a", "10.0.0.1:80", false);
    let stopped = |case: &Case| !case.store.instances("patient").contains(&"10.0.0.1:80 gray".to_owned());
    let took = case.until("offline", stopped).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    set_enabled(&server, "a", "10.0.0.1:80", true);
    case.has("patient", &["10.0.0.1:80 gray", "10.0.0.2:80 release"]).await;

    plain.tell("leave");
    case.has("patient", &["10.0.0.1:80 gray"]).await;
    gray.tell("leave");
    case.has("patient", &[]).await;
    case.has("portal", &[]).await;
}

/// A restarted registry that shows nothing, a control process that starts while the registry is away, and one that
/// starts over documents that were written before: no instance is lost.
#[tokio::test(flavor = "multi_thread")]
async fn no_instance_is_lost_by_a_restart() {
    let mut server = servers::nacos();
    let case = Case::new(&nacos(&server.address()), &[("services/patient", DISCOVER)]);
    let first = providers::nacos(&server, "a", "10.0.0.1:80", "{}");
    let second = providers::nacos(&server, "a", "10.0.0.2:80", "{}");
    let both = ["10.0.0.1:80 release", "10.0.0.2:80 release"];
    case.has("patient", &both).await;

    first.crash();
    second.crash();
    server.kill();
    case.until("down", |case| !case.is_up()).await;
    case.keeps("patient", &both, Duration::from_secs(1)).await;
    let store = case.store.clone();
    drop(case);

    let case = Case::over(&nacos(&server.address()), store);
    case.keeps("patient", &both, Duration::from_secs(1)).await;
    server.start();
    case.until("up", Case::is_up).await;
    let is_held = |case: &Case| {
        let shown = case.shown.borrow();
        shown.registries.iter().flat_map(|one| one.services.values()).any(|one| one.held_back.len() == 2)
    };
    case.until("held back", is_held).await;
    case.keeps("patient", &both, Duration::from_secs(2)).await;
    // One comes back; the other is still waited for.
    let _first = providers::nacos(&server, "a", "10.0.0.1:80", "{}");
    let one_is_held = |case: &Case| {
        let shown = case.shown.borrow();
        shown.registries.iter().flat_map(|one| one.services.values()).any(|one| one.held_back.len() == 1)
    };
    case.until("one is back", one_is_held).await;
    assert_eq!(case.store.instances("patient"), both);
}

/// What hands wrote, registries that are not in the settings, and a `discover` that is taken away.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_discovered_is_written_and_taken_away() {
    let server = servers::zookeeper();
    let yaml = format!("{{r: {{zookeeper: {{addresses: ['{}'], layout: host_port}}}}}}", server.address());
    let by = |registry: &str| format!("{{address: '10.0.0.9:80', version: old, by: {registry}}}");
    let (gone, unknown) = (by("gone"), by("unknown"));
    let case = Case::new(
        &yaml,
        &[
            ("services/a", "discover: {registry: r, name: a}"),
            ("services/b", "discover: {registry: unknown, name: b}"),
            ("instances/a/hand", "{address: '10.0.0.8:80', version: mine}"),
            ("instances/a/gone.10.0.0.9-80", &gone),
            ("instances/b/unknown.10.0.0.9-80", &unknown),
        ],
    );
    let gray = providers::zookeeper(&server, "/services/a/10.0.0.1_80", r#"{"gray":"true"}"#);
    case.has("a", &["10.0.0.1:80 gray", "10.0.0.8:80 mine"]).await;
    assert!(case.problems().iter().any(|said| said.contains("`unknown` is not in the settings")));
    // An operator's own copy under our name stays his.
    case.store.put("instances/a/r.10.0.0.1-80", "{address: '10.0.0.1:80', version: taken-over}");
    let mut other = providers::zookeeper(&server, "/services/a/10.0.0.2_80", "{}");
    case.has("a", &["10.0.0.1:80 taken-over", "10.0.0.2:80 release", "10.0.0.8:80 mine"]).await;
    // Metadata change where they are.
    other.tell(r#"update {"version":"v2","instance_status":"OUT_OF_SERVICE"}"#);
    case.has("a", &["10.0.0.1:80 taken-over", "10.0.0.2:80 v2*", "10.0.0.8:80 mine"]).await;
    case.store.put("services/a", "{}");
    case.has("a", &["10.0.0.1:80 taken-over", "10.0.0.8:80 mine"]).await;
    assert_eq!(case.store.instances("b"), ["10.0.0.9:80 old"]);
    drop(gray);
}

/// DNS: failures keep what there was, an answer without records clears it after a second look.
#[tokio::test(flavor = "multi_thread")]
async fn dns_failures_keep_and_success_with_none_clears() {
    let records = "_http._tcp.a 1 IN SRV 0 0 80 gray.test.\n_http._tcp.a 1 IN SRV 0 0 80 base.test.\n\
        gray 1 IN A 10.0.0.1\nbase 1 IN A 10.0.0.2\n";
    let mut server = servers::dns(records);
    let yaml = format!("{{r: {{dns: {{servers: ['127.0.0.1:{}', '{}']}}}}}}", free_port(), server.address());
    let discover = "discover: {registry: r, name: _http._tcp.a.test, version_from: label}";
    let case = Case::new(&yaml, &[("services/a", discover)]);
    let both = ["10.0.0.1:80 gray", "10.0.0.2:80 base"];
    case.has("a", &both).await;
    let without = "gray 1 IN A 10.0.0.1\nbase 1 IN A 10.0.0.2\n";
    server.set_zone(2, without);
    case.until("silence", |case| case.problems().iter().any(|said| said.contains("SRV"))).await;
    case.keeps("a", &both, Duration::from_secs(1)).await;
    server.kill();
    case.until("down", |case| !case.is_up()).await;
    case.keeps("a", &both, Duration::from_secs(1)).await;
    server.set_zone_of_dead(3, records);
    server.start();
    case.until("up", Case::is_up).await;
    // A third one that comes on this link, and goes with it.
    server.set_zone(4, &format!("{records}_http._tcp.a 1 IN SRV 0 0 81 base.test.\n"));
    case.has("a", &["10.0.0.1:80 gray", "10.0.0.2:80 base", "10.0.0.2:81 base"]).await;
    server.set_zone(5, records);
    case.has("a", &both).await;
}

/// A whole service goes at once on a link that has shown it: a second look, and then it is believed.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_answer_is_asked_again_and_then_believed() {
    let server = servers::zookeeper();
    let yaml = format!("{{r: {{zookeeper: {{addresses: ['{}'], layout: host_port}}}}}}", server.address());
    let case = Case::new(&yaml, &[("services/a", "discover: {registry: r, name: a}")]);
    case.until("up", Case::is_up).await;
    let pair = providers::zookeeper_pair(&server, ("/services/a/10.0.0.1_80", "/services/a/10.0.0.2_80"));
    let both = ["10.0.0.1:80 release", "10.0.0.2:80 release"];
    case.has("a", &both).await;
    let mut pair = pair;
    pair.tell("leave");
    case.keeps("a", &both, Duration::from_secs(8)).await;
    case.has("a", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_in_eureka() {
    let server = servers::eureka();
    let address = server.address();
    let yaml = format!("{{r: {{eureka: {{addresses: ['http://{address}/eureka'], every: 1s}}}}}}");
    let case = Case::new(&yaml, &[("services/a", "discover: {registry: r, name: patient-server}")]);
    case.until("up", Case::is_up).await;
    let mut gray = providers::eureka(&server, "patient-server", "10.0.0.1:80", r#"{"version":"gray"}"#);
    case.has("a", &["10.0.0.1:80 gray"]).await;
    gray.tell("leave");
    case.has("a", &[]).await;
}
