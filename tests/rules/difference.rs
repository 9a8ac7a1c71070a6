//! A compile of differences against the whole one, after random series of changes.
//!
//! Both remember what they made before. What they say has to be the same to the letter: rules with their order and their
//! outcomes, versions, services, problems, notes, what is held back, and what every request gets.

use std::sync::Arc;

use graygate_rules::compile::{Compiled, Memory, compile_next, compile_whole, notes};
use graygate_rules::decide::{RulePlan, reached};
use graygate_rules::documents::DocumentSet;

use crate::oracle::cases::{
    change, change_lists, change_many_rules, change_rules, document_sets, many_rules,
};
use crate::oracle::dice::Dice;
use crate::oracle::program::{decided, explained, no_file};
use crate::oracle::requests::ask;

/// Rules of services that are large enough for their indexes to be edited.
const MANY: usize = 320;
const CHANGES: usize = 25;
const REQUESTS: usize = 3;

/// What a series of changes met, so that it says something.
#[derive(Default, Debug)]
struct Met {
    followed: usize,
    whole: usize,
    held_back: usize,
    edited: usize,
    mirrored: usize,
    /// Followed, with a list of another size.
    listed: usize,
}

#[test]
fn a_difference_comes_to_what_the_whole_comes_to() {
    let mut met = Met::default();
    for seed in 0..8 {
        let mut dice = Dice::new(seed);
        let [mut set, _] = document_sets(&mut dice);
        if seed % 4 == 0 {
            many_rules(&mut set, &mut dice, MANY);
        }
        let (mut memory, mut reference) = (Memory::default(), Memory::default());
        let mut before: Option<Compiled> = None;
        for at in 0..CHANGES {
            let place = format!("seed {seed}, change {at}");
            let followed = compile_next(&set, memory, &no_file);
            let whole = compile_whole(&set, reference, &no_file);
            compare(&followed, &whole, &place);
            for _ in 0..REQUESTS {
                let ask = ask(&mut dice);
                assert_eq!(decided(&followed, &ask), decided(&whole, &ask), "{place}, {ask:?}");
                assert_eq!(explained(&followed, &ask), explained(&whole, &ask), "{place}, {ask:?}");
            }
            met.meet(before.as_ref(), &followed);
            (memory, reference) = (followed.memory.clone(), whole.memory);
            // Now and then an index was built again meanwhile.
            if let Some(stale) = memory.stale().filter(|_| at % 3 == 0) {
                memory.renew(&stale.renewed());
            }
            before = Some(followed);
            next(&mut set, &mut dice, seed);
        }
    }
    let Met { followed, whole, held_back, edited, mirrored, listed } = met;
    let least = [followed, whole, held_back, edited, mirrored, listed].into_iter().min();
    assert!(least > Some(10) && followed > 80, "{met:?}");
}

/// Mostly rules, often lists, sometimes everything.
fn next(set: &mut DocumentSet, dice: &mut Dice, seed: u64) {
    match dice.below(12) {
        0 => change(set, dice),
        2..5 => change_lists(set, dice),
        1 if seed.is_multiple_of(4) => change_many_rules(set, dice, MANY),
        _ => change_rules(set, dice),
    }
}

impl Met {
    fn meet(&mut self, before: Option<&Compiled>, now: &Compiled) {
        let Some(before) = before else { return };
        match Arc::ptr_eq(&before.services, &now.services) {
            true => {
                self.followed += 1;
                self.listed += usize::from(before.counts.list_members != now.counts.list_members);
            }
            false => self.whole += 1,
        }
        self.held_back += usize::from(!now.problems.is_empty());
        self.edited += now.snapshot.services.iter().filter(|service| service.index.drift() > 0).count();
        self.mirrored += now.snapshot.services.iter().filter(|service| !service.mirrors.is_empty()).count();
    }
}

fn compare(followed: &Compiled, whole: &Compiled, place: &str) {
    assert_eq!(followed.problems, whole.problems, "{place}");
    let lines =
        |compiled: &Compiled| compiled.problems.iter().map(|problem| problem.line).collect::<Vec<_>>();
    assert_eq!(lines(followed), lines(whole), "{place}");
    assert_eq!(followed.counts, whole.counts, "{place}");
    assert_eq!(format!("{:?}", followed.messages), format!("{:?}", whole.messages), "{place}");
    assert_eq!(followed.memory.good_texts(), whole.memory.good_texts(), "{place}");
    let good = |compiled: &Compiled| notes(&compiled.snapshot, 0);
    assert_eq!(good(followed), good(whole), "{place}");
    assert_eq!(followed.snapshot.services.len(), whole.snapshot.services.len(), "{place}");
    for (own, other) in followed.snapshot.services.iter().zip(&whole.snapshot.services) {
        // What conditions say was compared request by request.
        let said = |rule: &Arc<RulePlan>| {
            let RulePlan { name, standing, starts, ends, when, outcome, mirror } = &**rule;
            format!("{name} {standing:?} {starts:?} {ends:?} {} {outcome:?} {mirror:?}", when.is_some())
        };
        let rules = [own, other].map(|plan| plan.rules.iter().map(said).collect::<Vec<_>>());
        assert_eq!(rules[0], rules[1], "{place}, {}", own.name);
        assert_eq!(own.mirrors, other.mirrors, "{place}, {}", own.name);
        let words = [own, other].map(|plan| format!("{:?} {:?}", plan.versions, plan.identity));
        assert_eq!(words[0], words[1], "{place}, {}", own.name);
        assert_eq!(
            (own.index.count(), reached(&own.rules)),
            (other.index.count(), reached(&other.rules)),
            "{place}"
        );
        assert_eq!(own.index.impossible(), other.index.impossible(), "{place}");
    }
    for (own, other) in followed.services.iter().zip(whole.services.iter()) {
        assert_eq!(own.spec, other.spec, "{place}");
        assert_eq!(own.transport, other.transport, "{place}");
    }
}
