//! What one decision costs, from a request whose target is normal: by number and kind of rules, by number of routes,
//! by where the match stands. `linear` asks one after another, in the same run, and is what the indexes are held
//! against.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench serves no client")]

mod policies;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use graygate_rules::compile::{Compiled, Memory, compile_next};
use graygate_rules::decide::{
    Decision, PathBuffer, PatternSets, Request, Scratch, Snapshot, ValueSet, index_rules, normalise_host,
};
use graygate_rules::documents::{DocumentId, Raw};
use http::HeaderValue;
use policies::{
    Documents, agent_regex, contains, equality, half_regex, headers, list, number, path_regex, prefix, regex,
    request, rule_documents, semver, with_rules,
};

/// Numbers of rules and of routes.
const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];
const LISTS: [usize; 3] = [10_000, 1_000_000, 10_000_000];

/// The sizes to measure; where each bench only has to run once, the first, so that it takes seconds without optimisation.
fn sizes(all: &[usize]) -> &[usize] {
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    if is_measured { all } else { &all[..1] }
}

/// The largest number of rules to measure.
fn most() -> usize {
    sizes(&SIZES).last().copied().unwrap()
}

/// One way to ask a snapshot.
type Ask = fn(&Snapshot, &Request<'_>, &mut Scratch);
const ASKS: [(&str, Ask); 2] = [
    ("index", |snapshot, request, scratch| {
        black_box(snapshot.decide(request, scratch));
    }),
    ("linear", |snapshot, request, scratch| {
        black_box(snapshot.decide_linear(request, scratch));
    }),
];

/// Kinds of documents, each with the text of the document of a number.
type Kinds<const N: usize> = [(&'static str, fn(usize) -> String); N];

/// Measures both ways to ask, after they agreed.
fn measure(criterion: &mut Criterion, name: &str, compiled: &Compiled, request: &Request<'_>) {
    let (mut scratch, snapshot) = (Scratch::default(), &compiled.snapshot);
    let told = |decision: Decision<'_>| format!("{decision:?}");
    let indexed = told(snapshot.decide(request, &mut scratch));
    assert_eq!(indexed, told(snapshot.decide_linear(request, &mut scratch)), "{name}");
    for (way, ask) in ASKS {
        criterion.bench_function(&format!("{name}/{way}"), |bencher| {
            bencher.iter(|| ask(snapshot, black_box(request), &mut scratch));
        });
    }
}

fn rules(criterion: &mut Criterion) {
    let kinds: Kinds<10> = [
        ("equality", equality),
        ("regex", regex),
        ("half_regex", half_regex),
        ("list", list),
        ("prefix", prefix),
        ("contains", contains),
        ("number", number),
        ("path_regex", path_regex),
        ("agent_regex", agent_regex),
        ("semver", semver),
    ];
    for (kind, rule) in kinds {
        for &size in sizes(&SIZES) {
            let compiled = with_rules(size, rule);
            let last = size - 1;
            for (place, tenant, user) in [
                ("first", "t0.x".to_string(), "u0-1".to_string()),
                ("last", format!("t{last}.x"), format!("u{}-1", last % 10)),
                ("none", if kind == "number" { "-1" } else { "absent" }.into(), "u3-1".into()),
            ] {
                if kind == "number" && place != "none" {
                    continue;
                }
                let whole = !matches!(kind, "contains" | "prefix");
                let tenant = tenant.strip_suffix(".x").filter(|_| whole).unwrap_or(&tenant);
                let number = tenant.trim_start_matches('t');
                let version = format!("7.{number}.3");
                let path = format!("/v1/{tenant}/list/42");
                let mut headers = headers(if kind == "semver" { &version } else { tenant }, &user);
                if kind == "agent_regex" {
                    let agent = format!(
                        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 \
                         (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.{number}.49(0x18003137) NetType/WIFI"
                    );
                    headers.insert("user-agent", HeaderValue::from_str(&agent).unwrap());
                }
                let name = format!("rules/{kind}/{place}/{size}");
                measure(criterion, &name, &compiled, &request("www.example.com", &path, &headers));
            }
        }
    }
}

fn routes(criterion: &mut Criterion) {
    let kinds: Kinds<4> = [
        ("hosts", |i| format!("hosts: [h{i}.example.com]\nservice: s")),
        ("wildcards", |i| format!("hosts: ['*.h{i}.example.com']\npaths: [{{prefix: /api}}]\nservice: s")),
        ("paths", |i| format!("hosts: [example.com]\npaths: [{{prefix: /p{i}/api}}]\nservice: s")),
        ("patterns", |i| format!("paths: [{{regex: '/p{i}/(?<org>[^/]+)/api'}}]\nservice: s")),
    ];
    for (kind, route) in kinds {
        for &size in sizes(&SIZES) {
            let mut documents = Documents::default();
            documents.yaml("services/s", "{}");
            for i in 0..size {
                documents.yaml(&format!("routes/{i:05}"), &route(i));
            }
            let compiled = documents.compile();
            let headers = headers("t", "u");
            for (place, i) in [("first", 0), ("last", size - 1), ("none", size)] {
                let (host, path) = match kind {
                    "hosts" => (format!("h{i}.example.com"), "/a/b".to_string()),
                    "wildcards" => (format!("www.h{i}.example.com"), "/api/x".to_string()),
                    "paths" => ("example.com".to_string(), format!("/p{i}/api/x")),
                    _ => ("example.com".to_string(), format!("/p{i}/org/api")),
                };
                let name = format!("routes/{kind}/{place}/{size}");
                measure(criterion, &name, &compiled, &request(&host, &path, &headers));
            }
        }
    }
}

/// Building the index of a service's rules: what a change pays beside reading it, off the request threads.
fn build(criterion: &mut Criterion) {
    let kinds: Kinds<3> = [("equality", equality), ("half_regex", half_regex), ("contains", contains)];
    let size = most();
    for (kind, rule) in kinds {
        let compiled = with_rules(size, rule);
        let rules = &compiled.snapshot.services[0].rules;
        let mut sets = PatternSets::default();
        index_rules(rules, &mut sets);
        sets.turn();
        criterion.bench_function(&format!("index/unchanged/{kind}/{size}"), |bencher| {
            bencher.iter(|| {
                let index = index_rules(black_box(rules), &mut sets);
                sets.turn();
                index
            });
        });
    }
}

/// A document, and what it is changed to; `None` where it is taken out.
type Change = (DocumentId, Option<String>);

/// A change of one rule among ten thousand, from the documents to the snapshot.
fn change(criterion: &mut Criterion) {
    let no_file = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let kinds: Kinds<3> = [("equality", equality), ("half_regex", half_regex), ("contains", contains)];
    let size = most();
    for (kind, rule) in kinds {
        let mut set = rule_documents(size, rule).set();
        criterion.bench_function(&format!("compile/whole/{kind}/{size}"), |bencher| {
            bencher.iter(|| compile_next(&set, Memory::default(), &no_file));
        });
        let mut memory = Some(compile_next(&set, Memory::default(), &no_file).memory);
        // The rule of a turn, all over the order; by its own condition, and by one that no other rule has.
        let id = |turn: usize| DocumentId::parse(&format!("rules/{:05}", turn * 4_001 % size)).unwrap();
        let own = |turn: usize| rule(turn * 4_001 % size);
        let another = |turn: usize| rule(size + turn);
        let changes: [(&str, &dyn Fn(usize) -> Change); 5] = [
            ("one_of", &|turn| (id(turn), Some(another(turn)))),
            ("share_of", &|turn| {
                let text = own(turn);
                let (when, _) = text.split_once('\n').unwrap();
                (id(turn), Some(format!("{when}\nsplit: {{gray: {}}}", turn % 100)))
            }),
            ("moved_of", &|turn| (id(turn), Some(format!("{}\npriority: {}", own(turn), turn % 3 - 1)))),
            ("added_to", &|turn| {
                (DocumentId::parse(&format!("rules/{turn}-new")).unwrap(), Some(another(turn)))
            }),
            ("removed_from", &|turn| (DocumentId::parse(&format!("rules/{turn}-new")).unwrap(), None)),
        ];
        for (what, change) in changes {
            let mut turn = 1;
            criterion.bench_function(&format!("compile/{what}/{kind}/{size}"), |bencher| {
                bencher.iter(|| {
                    turn += 1;
                    match change(turn) {
                        (id, Some(text)) => {
                            drop(set.documents.insert(id, Arc::new(Raw::yaml(text.as_str()))))
                        }
                        (id, None) => drop(set.documents.remove(&id)),
                    }
                    let before = memory.take().unwrap_or_default();
                    let compiled = compile_next(&set, before, &no_file);
                    memory = Some(compiled.memory);
                    compiled.snapshot
                });
            });
        }
        let compiled = compile_next(&set, memory.unwrap_or_default(), &no_file);
        let drift = compiled.snapshot.services[0].index.drift();
        println!("{kind}: {drift} rules beside the base");
        let headers = headers(&format!("t{}", size - 1), "u3-1");
        let asked = request("www.example.com", "/", &headers);
        measure(criterion, &format!("rules/{kind}/changed/{size}"), &compiled, &asked);
    }
}

/// Keys that are asked one after the other, so many that the caches do not hold what they lead to.
const KEYS: usize = 1 << 18;

/// Membership in lists of user ids, and what a member takes.
fn lists(criterion: &mut Criterion) {
    for &members in sizes(&LISTS) {
        let text: String = (0..members).map(|member| format!("u-{member:08}\n")).collect();
        let set = ValueSet::of_parts([text.as_bytes().split(|byte| *byte == b'\n')]);
        tell(&format!("list_bytes_{members}"), set.bytes() as f64 / members as f64);
        for (what, first) in [("hit", 0), ("miss", members)] {
            // Steps of a prime lead all over the list.
            let member = |step: usize| first + step * 7_919 % members;
            let keys: Vec<String> = (0..KEYS).map(|step| format!("u-{:08}", member(step))).collect();
            assert!(keys.iter().all(|key| set.contains(key.as_bytes()) == (what == "hit")));
            let mut turn = 0;
            criterion.bench_function(&format!("list/{what}/{members}"), |bencher| {
                bencher.iter(|| {
                    turn = (turn + 1) % KEYS;
                    set.contains(black_box(keys[turn].as_bytes()))
                });
            });
        }
    }
}

/// Leaves a number where the table looks for those that were measured.
fn tell(name: &str, number: f64) {
    println!("{name}: {number:.1}");
    let place =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/criterion").join(name).join("new");
    std::fs::create_dir_all(&place).unwrap();
    let text = format!("{{\"median\": {{\"point_estimate\": {number}}}}}");
    std::fs::write(place.join("estimates.json"), text).unwrap();
}

/// Writing a path and a host in one way.
fn normalise(criterion: &mut Criterion) {
    for (name, path) in [
        ("plain", "/portal/api/v1/patients/12345"),
        ("encoded", "/portal/%E7%94%A8%E6%88%B7/a%20b/12345"),
        ("dots", "/portal/./api//v1/../v2/patients"),
    ] {
        let mut buffer = PathBuffer::default();
        criterion.bench_function(&format!("normalise/path/{name}"), |bencher| {
            bencher.iter(|| buffer.normalise(black_box(path.as_bytes())).is_ok());
        });
    }
    let mut buffer = String::new();
    criterion.bench_function("normalise/host", |bencher| {
        bencher.iter(|| normalise_host(black_box(b"WWW.Example.com:8080"), &mut buffer).is_some());
    });
}

/// Short samples: the whole table in a few minutes, on a machine that has other things to do as well.
fn short() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(150))
        .measurement_time(Duration::from_millis(300))
        .without_plots()
}

criterion_group! {name = benches; config = short(); targets = rules, routes, lists, build, change, normalise}
criterion_main!(benches);
