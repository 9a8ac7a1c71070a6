//! The compiled decision against a second, obvious evaluator, on random documents and requests.
//!
//! `GRAYGATE_CASES=1000000 cargo test --release --test differential` looks deeper; `GRAYGATE_SEED=...` repeats what a
//! failure printed.
#![cfg(test)]

mod oracle;

use std::collections::BTreeMap;

use graygate::compile::{Compiled, Memory, compile};
use graygate::decide::{
    self, Decision, Groups, Origin, PathBuffer, Request, Routed, Scratch, normalise_host,
};
use graygate::documents::{DocumentId, DocumentSet};
use oracle::cases::{Dice, ask, document_sets};
use oracle::{Ask, Headers, Oracle, Served, Verdict};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// Requests sent through the documents of each of a seed's two moments.
const REQUESTS: usize = 100;
/// What `make test` looks at.
const CASES: usize = 100_000;

#[test]
fn compiled_documents_decide_as_the_contract_says() {
    if let Some(seed) = number("GRAYGATE_SEED") {
        check(seed as u64, &mut Tally::default()).unwrap();
        return;
    }
    let cases = number("GRAYGATE_CASES").unwrap_or(CASES);
    let seeds = u32::try_from(cases.div_ceil(2 * REQUESTS)).unwrap();
    let config = Config { cases: seeds, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    let tally = std::cell::RefCell::new(Tally::default());
    let seed = any::<u64>().prop_map(|seed| seed);
    let outcome = TestRunner::new(config)
        .run(&seed, |seed| check(seed, &mut tally.borrow_mut()).map_err(TestCaseError::fail));
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let tally = tally.into_inner();
    println!("{tally:?}");
    tally.assert_healthy();
}

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

/// How often each kind of outcome was seen.
#[derive(Default, Debug)]
struct Tally {
    cases: usize,
    seen: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn count(&mut self, verdict: &Verdict) {
        self.cases += 1;
        let mut note = |word| *self.seen.entry(word).or_default() += 1;
        match verdict {
            Verdict::BadRequest => note("bad_request"),
            Verdict::NoRoute => note("no_route"),
            Verdict::Redirect { .. } => note("redirect"),
            Verdict::NoService { .. } => note("no_service"),
            Verdict::Served(served) => {
                note(served.reason);
                if served.bucket.is_some() {
                    note("split");
                }
                if served.issue_cookie {
                    note("issue_cookie");
                }
                if served.chain.len() > 2 {
                    note("long_chain");
                }
                if served.host.is_some() {
                    note("rewritten_host");
                }
            }
        }
    }

    /// Agreement on requests that never meet a document would say nothing.
    fn assert_healthy(&self) {
        for (word, percent) in [
            ("bad_request", 2),
            ("no_route", 5),
            ("redirect", 3),
            ("no_service", 2),
            ("rule", 15),
            ("default", 3),
            ("inherited", 2),
            ("split", 4),
            ("issue_cookie", 2),
            ("long_chain", 2),
            ("rewritten_host", 2),
        ] {
            let seen = self.seen.get(word).copied().unwrap_or_default();
            assert!(seen * 100 >= self.cases * percent, "{word}: fewer than {percent} percent of {self:?}");
        }
    }
}

/// Both evaluators on one seed's documents and requests.
fn check(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let sets = document_sets(&mut dice);
    let mut oracle = Oracle::default();
    let mut memory = Memory::default();
    for (moment, set) in sets.iter().enumerate() {
        oracle.take(set);
        let compiled = compile(set, &memory, &no_file);
        for _ in 0..REQUESTS {
            let ask = ask(&mut dice);
            let (expected, found) = (oracle.judge(&ask), decided(&compiled, &ask));
            if expected != found {
                let documents = fewest(&sets[..=moment], &ask);
                return Err(format!(
                    "GRAYGATE_SEED={seed}\nmoment {moment}\n{documents}path {} of {ask:?}\n\
                     the contract says {expected:?}\nthe program says {found:?}",
                    ask.path.escape_ascii()
                ));
            }
            tally.count(&expected);
        }
        memory = compiled.memory;
    }
    Ok(())
}

fn no_file(_: &std::path::Path) -> std::io::Result<Vec<u8>> {
    Err(std::io::ErrorKind::NotFound.into())
}

fn disagree(sets: &[DocumentSet], ask: &Ask) -> bool {
    let mut oracle = Oracle::default();
    let mut memory = Memory::default();
    let mut differs = false;
    for set in sets {
        oracle.take(set);
        let compiled = compile(set, &memory, &no_file);
        differs = oracle.judge(ask) != decided(&compiled, ask);
        memory = compiled.memory;
    }
    differs
}

/// The documents without which the two would still disagree are left out, so that a person can read the rest.
fn fewest(sets: &[DocumentSet], ask: &Ask) -> String {
    let mut sets = sets.to_vec();
    for at in 0..sets.len() {
        let ids: Vec<DocumentId> =
            sets[at].documents.keys().chain(sets[at].ambiguous.keys()).cloned().collect();
        for id in ids {
            let mut fewer = sets.clone();
            fewer[at].documents.remove(&id);
            fewer[at].ambiguous.remove(&id);
            if disagree(&fewer, ask) {
                sets = fewer;
            }
        }
    }
    let mut text = String::new();
    for (at, set) in sets.iter().enumerate() {
        for (id, raw) in &set.documents {
            text.push_str(&format!("{at} {id}: {}\n", String::from_utf8_lossy(&raw.body)));
        }
        for id in set.ambiguous.keys() {
            text.push_str(&format!("{at} {id}: under two names\n"));
        }
    }
    text
}

/// What the program does with a request.
fn decided(compiled: &Compiled, ask: &Ask) -> Verdict {
    let (mut buffer, mut host_buffer, mut scratch) =
        (PathBuffer::default(), String::new(), Scratch::default());
    let Ok(path) = buffer.normalise(&ask.path) else { return Verdict::BadRequest };
    let Some(host) = normalise_host(ask.host.as_bytes(), &mut host_buffer) else {
        return Verdict::BadRequest;
    };
    let request = Request {
        method: &ask.method,
        scheme: ask.scheme,
        host: host.name,
        path,
        query: ask.query.as_deref().map(str::as_bytes),
        headers: &ask.headers,
        client: ask.client,
        pins_trusted: ask.trusted,
        inherited: ask.inherited.as_deref(),
        now: ask.now,
        fresh_identity: ask.fresh.as_deref(),
    };
    let named = |routed: &Routed<'_>| routed.route.name.to_string();
    match compiled.snapshot.decide(&request, &mut scratch) {
        Decision::NoRoute => Verdict::NoRoute,
        Decision::NoService(routed, service) => {
            Verdict::NoService { route: named(&routed), service: service.to_string() }
        }
        Decision::Redirect(routed) => {
            let decide::Target::Redirect(redirect) = &routed.route.target else { panic!("no redirect") };
            let origin = Origin {
                scheme: ask.scheme,
                host: host.name,
                port: host.port,
                path,
                query: ask.query.as_deref(),
            };
            let groups = Groups::of(&routed, path.view);
            let location = decide::location(redirect, &routed, &origin, &groups).ok();
            Verdict::Redirect { route: named(&routed), status: redirect.status, location }
        }
        Decision::Version(routed, choice) => served(compiled, ask, &request, &routed, choice),
    }
}

fn served(
    compiled: &Compiled,
    ask: &Ask,
    request: &Request<'_>,
    routed: &Routed<'_>,
    choice: decide::Choice,
) -> Verdict {
    let service = compiled.snapshot.service(choice.service).unwrap();
    let groups = Groups::of(routed, request.path.view);
    // An unknown word has no plan: it falls back as every version does.
    let (version, chain) = match choice.version.and_then(|version| service.version(version)) {
        Some(plan) => {
            let word = |id: &usize| service.version(*id).unwrap().word.to_string();
            (plan.word.to_string(), plan.chain.iter().map(word).collect())
        }
        None => {
            let word = ask.inherited.clone().unwrap();
            (word.clone(), vec![word, "release".into()])
        }
    };
    let (path, host) = match decide::rewrite(routed, request.path, &groups) {
        Ok(rewritten) => (rewritten.path, rewritten.host.map(Ok)),
        Err(decide::BadTarget) => (None, Some(Err(()))),
    };
    let mut headers = ask.headers.clone();
    decide::apply(&decide::edits(&routed.route.request_headers, &groups), &mut headers);
    Verdict::Served(Box::new(Served {
        route: routed.route.name.to_string(),
        service: service.name.to_string(),
        version,
        reason: choice.reason.as_str(),
        rule: choice.rule.map(|id| service.rules[id].name.to_string()),
        bucket: choice.bucket.map(|bucket| bucket.number()),
        issue_cookie: choice.issue_cookie,
        chain,
        path: path.unwrap_or_else(|| request.path.upstream.to_string()),
        host,
        headers: by_name(&headers),
    }))
}

fn by_name(headers: &http::HeaderMap) -> Headers {
    let mut found = Headers::new();
    for (name, value) in headers {
        found.entry(name.to_string()).or_default().push(value.as_bytes().escape_ascii().to_string());
    }
    found
}
