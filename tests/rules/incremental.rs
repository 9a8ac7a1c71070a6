//! A compile that follows on from the one before, against one that knows nothing and against the slow evaluator.
//!
//! Rules are written, moved, broken and taken out, lists and services change, and after each change all three are asked
//! the same: what decides, and what every single rule says, so that a rule that is wrong behind another is seen too.

use std::collections::BTreeMap;
use std::sync::Arc;

use graygate_rules::compile::{Compiled, Memory, Stale, compile, compile_next};
use graygate_rules::decide::RuleIndex;
use graygate_rules::documents::{DocumentId, DocumentSet, Documents, Raw};
use graygate_rules::vocab::Name;

use crate::oracle::cases::{change, change_many_rules, document_sets, many_rules};
use crate::oracle::dice::Dice;
use crate::oracle::program::{decided, explained, no_file};
use crate::oracle::requests::ask;
use crate::oracle::{Ask, Oracle};

/// Changes one after the other, each on what the one before left.
const CHANGES: usize = 30;
/// Requests after each.
const REQUESTS: usize = 10;
const SEEDS: u64 = 12;

#[test]
fn what_follows_on_decides_as_if_all_were_read_again() {
    let (mut kept, mut made) = (0, 0);
    for seed in 0..SEEDS {
        follow(seed, &mut kept, &mut made);
    }
    // It would say nothing if every index were kept, or none.
    assert!(kept > 100 && made > 100, "{kept} indexes kept, {made} made");
}

fn follow(seed: u64, kept: &mut usize, made: &mut usize) {
    let mut dice = Dice::new(seed);
    let [mut set, _] = document_sets(&mut dice);
    let (mut oracle, mut memory) = (Oracle::default(), Memory::default());
    let mut indexes: BTreeMap<Name, Arc<RuleIndex>> = BTreeMap::new();
    for at in 0..CHANGES {
        let followed = compile_next(&set, memory, &no_file);
        for service in &followed.snapshot.services {
            match indexes.insert(service.name.clone(), service.index.clone()) {
                Some(before) if Arc::ptr_eq(&before, &service.index) => *kept += 1,
                _ => *made += 1,
            }
        }
        let fresh = afresh(followed.memory.good_texts());
        oracle.take(&set);
        for _ in 0..REQUESTS {
            let ask = ask_all([&followed, &fresh], &oracle, &mut dice, (seed, at));
            assert_eq!(
                explained(&followed, &ask),
                explained(&fresh, &ask),
                "seed {seed}, change {at}, {ask:?}"
            );
        }
        memory = followed.memory;
        change(&mut set, &mut dice);
    }
}

/// One request, which all decide alike.
fn ask_all(
    [followed, fresh]: [&Compiled; 2],
    oracle: &Oracle,
    dice: &mut Dice,
    (seed, at): (u64, usize),
) -> Ask {
    let ask = ask(dice);
    assert_eq!(decided(followed, &ask), oracle.judge(&ask), "seed {seed}, change {at}, {ask:?}");
    assert_eq!(decided(followed, &ask), decided(fresh, &ask), "seed {seed}, change {at}, {ask:?}");
    ask
}

/// Rules of a service that is large enough for its index to stay while they change.
const MANY: usize = 320;
const MANY_CHANGES: usize = 25;

#[test]
fn an_index_that_stays_while_rules_change_decides_as_one_made_again() {
    let (mut changed, mut made, mut renewed) = (0, 0, 0);
    for seed in 0..3 {
        let mut dice = Dice::new(seed);
        let [mut set, _] = document_sets(&mut dice);
        set.documents.retain(|id, _| id.kind.folder() != "rules");
        many_rules(&mut set, &mut dice, MANY);
        let (mut oracle, mut memory) = (Oracle::default(), Memory::default());
        let mut stale = None;
        for at in 0..MANY_CHANGES {
            let followed = compile_next(&set, memory, &no_file);
            let fresh = afresh(followed.memory.good_texts());
            for service in &followed.snapshot.services {
                *(if service.index.drift() > 0 { &mut changed } else { &mut made }) += 1;
            }
            oracle.take(&set);
            for _ in 0..REQUESTS {
                ask_all([&followed, &fresh], &oracle, &mut dice, (seed, at));
            }
            memory = followed.memory;
            // What was stale some changes ago is taken up, as if a thread had taken its time.
            if at % 2 == 0 {
                renewed += usize::from(stale.is_some());
                stale.take().into_iter().for_each(|stale: Stale| memory.renew(&stale.renewed()));
                stale = memory.stale();
            }
            change_many_rules(&mut set, &mut dice, MANY);
            if at % 5 == 0 {
                change(&mut set, &mut dice);
            }
        }
    }
    assert!(changed > 40 && made > 5 && renewed > 1, "{changed} changed, {made} made, {renewed} renewed");
}

/// The documents in force, compiled by one that has never seen any.
fn afresh(good: &Documents) -> Compiled {
    let read = |(id, raw): (&DocumentId, &Arc<Raw>)| (id.clone(), Arc::new(Raw::clone(raw)));
    let set = DocumentSet { documents: good.iter().map(read).collect(), ..DocumentSet::default() };
    compile(&set, &Memory::default(), &no_file)
}
