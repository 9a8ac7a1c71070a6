//! The compiled decision against a second, obvious evaluator, on random documents and requests.
//!
//! `GRAYGATE_CASES=1000000 cargo test --release --test rules differential` looks deeper; `GRAYGATE_SEED=...` repeats
//! what a failure printed.

use std::collections::BTreeMap;

use graygate_rules::compile::{Memory, compile};
use graygate_rules::documents::{DocumentId, DocumentSet};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::oracle::cases::document_sets;
use crate::oracle::dice::Dice;
use crate::oracle::program::{decided, no_file};
use crate::oracle::requests::ask;
use crate::oracle::{Ask, Oracle, Verdict};

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
            ("override", 2),
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
