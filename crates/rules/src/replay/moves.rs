//! What two decisions about one request differ in, counted.

use std::collections::BTreeMap;

use serde::Serialize;

use super::question::{About, Got, Question};
use crate::vocab::Name;

/// How many requests that would move are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Examples {
    pub in_all: usize,
    pub of_one_move: usize,
}

impl Examples {
    /// As many as there are, up to a limit: a list for another program.
    pub fn up_to(limit: usize) -> Examples {
        Examples { in_all: limit, of_one_move: limit }
    }
}

impl Default for Examples {
    /// A person reads them.
    fn default() -> Examples {
        Examples { in_all: 20, of_one_move: 5 }
    }
}

/// Who would move, in the order and the words of the contract.
#[derive(Serialize, Clone, Default, Debug)]
pub struct Moves {
    /// How many were decided.
    pub requests: u64,
    /// Those that would get another version, or another service.
    pub moved: u64,
    /// Most requests first.
    pub by: Vec<Move>,
    /// Rules that would decide for more or for fewer requests, most moves first; `rule: null` is where none matches.
    pub rules: Vec<Shift>,
    pub examples: Vec<Example>,
    /// Requests for which a share decided, before or after, and that carry no identity: they get `release`.
    pub undrawn: u64,
    /// Lines of the log that are no request.
    pub left_out: u64,
}

/// Requests that would get another version of one service. Who changes the service leaves one (`to: null`) and joins
/// another (`from: null`), and is counted in both.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub struct Move {
    pub service: String,
    pub from: Option<String>,
    pub to: Option<String>,
    pub requests: u64,
}

/// What becomes of one rule.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub struct Shift {
    pub service: String,
    pub rule: Option<String>,
    /// Requests it decides today, and would decide.
    pub before: u64,
    pub after: u64,
    /// Of those that move: how many it would newly decide, and no longer decide. One that moves inside a rule is in
    /// both.
    pub gained: u64,
    pub lost: u64,
}

/// One request that would move.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub struct Example {
    pub method: String,
    pub host: String,
    pub path: String,
    pub client: String,
    /// Of a made-up user.
    pub identity: Option<String>,
    pub service: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
    pub from_rule: Option<String>,
    pub to_rule: Option<String>,
}

type MoveKey<'s> = (&'s Name, Option<&'s Name>, Option<&'s Name>);

#[derive(Default)]
pub struct Tally<'s> {
    requests: u64,
    moved: u64,
    undrawn: u64,
    by: BTreeMap<MoveKey<'s>, u64>,
    rules: BTreeMap<(&'s Name, Option<&'s Name>), Counts>,
    wanted: Examples,
    examples: Vec<Example>,
    shown: BTreeMap<[Option<&'s Name>; 4], usize>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    before: u64,
    after: u64,
    gained: u64,
    lost: u64,
}

impl<'s> Tally<'s> {
    pub fn showing(wanted: Examples) -> Tally<'s> {
        Tally { wanted, ..Tally::default() }
    }

    pub fn count(&mut self, question: &Question, old: Got<'s>, new: Got<'s>) {
        self.requests += 1;
        self.undrawn += u64::from(old.undrawn || new.undrawn);
        let moved = (old.service, old.version) != (new.service, new.version);
        if let Some(service) = old.service {
            let counts = self.rules.entry((service, old.rule)).or_default();
            counts.before += 1;
            counts.lost += u64::from(moved);
        }
        if let Some(service) = new.service {
            let counts = self.rules.entry((service, new.rule)).or_default();
            counts.after += 1;
            counts.gained += u64::from(moved);
        }
        if moved {
            self.moved += 1;
            self.count_move(old, new);
            self.show(question, old, new);
        }
    }

    fn count_move(&mut self, old: Got<'s>, new: Got<'s>) {
        let mut add = |service: Option<&'s Name>, from, to| {
            if let Some(service) = service {
                *self.by.entry((service, from, to)).or_default() += 1;
            }
        };
        if old.service == new.service {
            add(old.service, old.version, new.version);
        } else if old.service.is_none() || new.service.is_none() {
            add(old.service.or(new.service), old.version, new.version);
        } else {
            add(old.service, old.version, None);
            add(new.service, None, new.version);
        }
    }

    fn show(&mut self, question: &Question, old: Got<'s>, new: Got<'s>) {
        let shown = self.shown.entry([old.service, old.version, new.service, new.version]).or_default();
        if self.examples.len() == self.wanted.in_all || *shown == self.wanted.of_one_move {
            return;
        }
        *shown += 1;
        let identity = match &question.about {
            About::Route => None,
            About::Service { identity, .. } => Some(identity.clone()),
        };
        self.examples.push(Example {
            method: question.method.clone(),
            host: question.host.clone(),
            path: question.path.clone(),
            client: question.client.to_string(),
            identity,
            service: owned(new.service.or(old.service)),
            from: owned(old.version),
            to: owned(new.version),
            from_rule: owned(old.rule),
            to_rule: owned(new.rule),
        });
    }

    pub fn finish(self, left_out: u64) -> Moves {
        let mut by: Vec<Move> = self
            .by
            .into_iter()
            .map(|((service, from, to), requests)| Move {
                service: service.to_string(),
                from: owned(from),
                to: owned(to),
                requests,
            })
            .collect();
        // Stable, so that what is equally large stays in the order of names.
        by.sort_by_key(|entry| std::cmp::Reverse(entry.requests));
        let changed = |counts: &Counts| counts.before != counts.after || counts.gained + counts.lost > 0;
        let mut rules: Vec<Shift> = self
            .rules
            .into_iter()
            .filter(|(_, counts)| changed(counts))
            .map(|((service, rule), counts)| {
                let Counts { before, after, gained, lost } = counts;
                Shift { service: service.to_string(), rule: owned(rule), before, after, gained, lost }
            })
            .collect();
        rules.sort_by_key(|shift| std::cmp::Reverse(shift.gained + shift.lost));
        Moves {
            requests: self.requests,
            moved: self.moved,
            by,
            rules,
            examples: self.examples,
            undrawn: self.undrawn,
            left_out,
        }
    }
}

fn owned(name: Option<&Name>) -> Option<String> {
    name.map(|name| name.to_string())
}
