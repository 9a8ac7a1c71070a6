//! Instructions of single calls, counted by callgrind: comparable between machines, and the same in every run.
//!
//! `instructions` runs every case below valgrind, which counts only inside [`measured`], and prints a table;
//! `instructions changes` does so with the changes of rules alone.
//! `instructions CASE SIZE` is one of these runs.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement serves no client"
)]

#[path = "../benches/policies/changes.rs"]
mod changes;
#[path = "../benches/policies/mod.rs"]
mod policies;
#[path = "../benches/policies/pools.rs"]
mod pools;

use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use changes::{Changes, Kind, Running, no_file};
use graygate_proxy::observe::{
    Answered, Client, Drawn, Epoch, Identity, Observer, Question, Rest, Sighting, Subject, Tried,
};
use graygate_proxy::pools::Walk;
use graygate_rules::compile::{Compiled, Memory, ReadFile, compile_next, compile_whole};
use graygate_rules::decide::{PathBuffer, Scratch, ValueSet, normalise_host};
use graygate_rules::documents::DocumentSet;
use graygate_rules::spec::Balance;
use graygate_rules::vocab::Share;
use policies::{Documents, equality, half_regex, headers, list, request, with_rules};
use pools::pools;

/// Calls that are counted, after as many that are not, so that buffers and automata have grown.
const CALLS: usize = 1_000;

/// What is measured, and at which sizes.
const CASES: [(&str, &[usize]); 21] = [
    ("decide, rules of texts", &[10, 100, 1_000, 10_000]),
    ("decide, half of the rules patterns", &[10, 100, 1_000, 10_000]),
    ("decide, rules of lists", &[10, 100, 1_000, 10_000]),
    ("decide, no rule matches", &[10, 100, 1_000, 10_000]),
    ("route by path", &[10, 100, 1_000, 10_000]),
    ("member of a list", &[10_000, 1_000_000]),
    ("no member of a list", &[10_000, 1_000_000]),
    ("normalise a plain path", &[1]),
    ("normalise an encoded path", &[1]),
    ("normalise a host", &[1]),
    ("pick, round_robin, instances", &[2, 100]),
    ("pick, hash, instances", &[2, 100]),
    ("count a request, not asked", &[1]),
    ("count a request, asked, rows", &[2, 1_000]),
    ("count an error, asked, rows", &[2]),
    (CHANGES[0], &[1_000, 10_000]),
    (CHANGES[1], &[1_000, 10_000]),
    (CHANGES[2], &[1_000, 10_000]),
    (CHANGES[3], &[1_000, 10_000]),
    (CHANGES[4], &[1_000, 10_000]),
    (CHANGES[5], &[1_000, 10_000]),
];

/// One rule of so many is another: the set with it, the compile, from the set to the snapshot in force with what was
/// before let go, the same where only its share is another and where a list that one rule asks has a member more, and the
/// compile by way of all documents.
const CHANGES: [&str; 6] = [
    "change a rule, the set",
    "change a rule, compile",
    "change a rule, in force",
    "change a share, in force",
    "join a list, in force",
    "change a rule, compile whole",
];
/// Calls of each of these.
const CHANGED: usize = 100;

fn calls(case: &str) -> usize {
    if CHANGES.contains(&case) { CHANGED } else { CALLS }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [case, size] => run(case, size.parse().unwrap()),
        [changes] if changes == "changes" => table(|case| CHANGES.contains(&case)),
        _ => table(|_| true),
    }
}

fn table(is_wanted: impl Fn(&str) -> bool) {
    println!("| instructions of one call | size | count |\n|---|--:|--:|");
    for (case, sizes) in CASES.into_iter().filter(|(case, _)| is_wanted(case)) {
        for size in sizes {
            println!("| {case} | {size} | {} |", count(case, *size) / calls(case));
        }
    }
}

/// One case below valgrind, which says what it counted in a line `Collected : N`.
fn count(case: &str, size: usize) -> usize {
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg("--toggle-collect=*measured*")
        .arg(std::env::current_exe().unwrap())
        .args([case, &size.to_string()])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stderr);
    let collected = told.lines().find_map(|line| line.split_once("Collected : "));
    match collected.map(|(_, count)| count.trim().parse()) {
        Some(Ok(count)) if run.status.success() => count,
        _ => panic!("{case} {size}: {told}"),
    }
}

/// The only thing counted; callgrind knows it by its name.
#[inline(never)]
fn measured(calls: usize, call: &mut dyn FnMut()) {
    for _ in 0..calls {
        call();
    }
}

fn repeat(call: impl FnMut()) {
    repeat_so_often(CALLS, call);
}

fn repeat_so_often(calls: usize, mut call: impl FnMut()) {
    for _ in 0..calls {
        call();
    }
    measured(calls, &mut call);
}

fn run(case: &str, size: usize) {
    let last = size - 1;
    let (tenant, user) = (format!("t{last}"), format!("u{}-1", last % 10));
    match case {
        "decide, rules of texts" => decide(&with_rules(size, equality), "/", &tenant, &user),
        "decide, half of the rules patterns" => decide(&with_rules(size, half_regex), "/", &tenant, &user),
        "decide, rules of lists" => decide(&with_rules(size, list), "/", &tenant, &user),
        "decide, no rule matches" => decide(&with_rules(size, half_regex), "/", "absent", &user),
        "route by path" => decide(&routes(size), &format!("/p{last}/api/x"), &tenant, &user),
        "member of a list" => member(size, "m5"),
        "no member of a list" => member(size, "absent"),
        "normalise a plain path" => path("/portal/api/v1/patients/12345"),
        "normalise an encoded path" => path("/portal/%E7%94%A8%E6%88%B7/a%20b/12345"),
        "normalise a host" => {
            let mut buffer = String::new();
            repeat(|| {
                black_box(normalise_host(black_box(b"WWW.Example.com:8080"), &mut buffer));
            });
        }
        "pick, round_robin, instances" => pick(Balance::RoundRobin, size),
        "pick, hash, instances" => pick(Balance::Hash, size),
        "count a request, not asked" => count_request(Asked::No, GOOD, size),
        "count a request, asked, rows" => count_request(Asked::Yes, GOOD, size),
        "count an error, asked, rows" => count_request(Asked::Yes, Answered { is_error: true, ..GOOD }, size),
        "change a rule, the set" => {
            let mut changes = Changes::of(size, Kind::Condition);
            repeat_so_often(CHANGED, || drop(black_box(changes.next_set())));
        }
        "change a rule, compile" => compile(size, compile_next),
        "change a rule, compile whole" => compile(size, compile_whole),
        "change a rule, in force" => publish(size, Kind::Condition),
        "change a share, in force" => publish(size, Kind::Share),
        "join a list, in force" => publish(size, Kind::Member),
        _ => panic!("`{case}` is no case"),
    }
}

fn decide(compiled: &Compiled, path: &str, tenant: &str, user: &str) {
    let (headers, mut scratch) = (headers(tenant, user), Scratch::default());
    let request = request("www.example.com", path, &headers);
    repeat(|| {
        black_box(compiled.snapshot.decide(black_box(&request), &mut scratch));
    });
}

fn compile(size: usize, compile: fn(&DocumentSet, Memory, ReadFile<'_>) -> Compiled) {
    let mut changes = Changes::of(size, Kind::Condition);
    let mut memory = compile_whole(&changes.next_set(), Memory::default(), &no_file).memory;
    let sets: Vec<_> = (0..2 * CHANGED).map(|_| changes.next_set()).collect();
    let mut sets = sets.into_iter();
    repeat_so_often(CHANGED, || {
        let compiled = compile(&sets.next().unwrap(), std::mem::take(&mut memory), &no_file);
        memory = compiled.memory;
    });
}

fn publish(size: usize, kind: Kind) {
    let (mut changes, mut running) = (Changes::of(size, kind), Running::default());
    running.put_in_force(changes.next_set());
    repeat_so_often(CHANGED, || running.put_in_force(changes.next_set()));
}

fn routes(size: usize) -> Compiled {
    let mut documents = Documents::default();
    documents.yaml("services/s", "{}");
    for i in 0..size {
        documents.yaml(&format!("routes/{i:05}"), &format!("paths: [{{prefix: /p{i}/api}}]\nservice: s"));
    }
    documents.compile()
}

fn member(size: usize, value: &str) {
    let members: Vec<String> = (0..size).map(|i| format!("m{i}")).collect();
    let set = ValueSet::of_parts([members.iter().map(String::as_bytes)]);
    repeat(|| {
        black_box(set.contains(black_box(value.as_bytes())));
    });
}

fn path(path: &str) {
    let mut buffer = PathBuffer::default();
    repeat(|| {
        black_box(buffer.normalise(black_box(path.as_bytes())).is_ok());
    });
}

fn pick(balance: Balance, instances: usize) {
    let (pools, now, mut key) = (pools(balance, u16::try_from(instances).unwrap(), 1), Instant::now(), 0);
    repeat(|| {
        key += 1;
        let mut walk = Walk::new(Some(0), None, Some(key), 1);
        drop(black_box(pools.pick(&mut walk, now)));
    });
}

/// Whether a caller asks about the service.
#[derive(Clone, Copy, PartialEq)]
enum Asked {
    No,
    Yes,
}

const GOOD: Answered = Answered { is_error: false, is_warm: true, rest: Rest::Silent };

/// What `observe` adds to one request, from its decision to its response header. Each is another client's.
fn count_request(asked: Asked, answered: Answered, rows: usize) {
    let now = Instant::now();
    let identity = Identity { proxy: "edge".into(), boot: "0".into() };
    let observer = Arc::new(Observer::new(identity, Epoch::new(now, SystemTime::now()), now));
    if asked == Asked::Yes {
        observer.ask(&Question::parse("services=patient&salt=x").unwrap(), now);
    }
    let routes: Vec<String> = (0..rows).map(|row| format!("route-{row}")).collect();
    let clients: Vec<String> = (0..2 * CALLS).map(|client| format!("1000{client}")).collect();
    let mut call = 0;
    repeat(|| {
        if black_box(&observer).counts(black_box("patient")) {
            let subject = Subject {
                service: "patient",
                route: &routes[call % rows],
                rule: Some("plan.patient-8.share"),
                share: Share::parse("5").unwrap(),
                version: "gray",
            };
            let client = Client::new("patient", clients[call].as_bytes());
            let mut sighting = Box::new(Sighting::new(observer.clone(), client, now, Drawn::Yes));
            sighting.tried(Tried::Own, &subject, now);
            sighting.answered(answered, now);
        }
        call += 1;
    });
}
