//! What a gateway does next: each lane's steps, and the keys that say who takes its messages.
//!
//! Answers: which step comes next, is it true here, and what is to be held or given up? Never: decides what a client may do.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Action, CLOSING, COUNT_EVERY, Client, Primed, SILENCE, State};
use crate::board::{LaneKey, Record, Step, View};
use crate::mutation::{self, Mutation};

/// Topics on which the lane's group has to be made before the next step: no message there is marked before.
fn to_prime(record: &Record) -> Option<&BTreeSet<String>> {
    match record.step {
        Step::Priming => Some(&record.topics),
        Step::Open if !record.joining.is_empty() => Some(&record.joining),
        _ => None,
    }
}

impl State {
    /// What to do now. `unix` is the wall clock, in seconds.
    pub fn next(&mut self, now: Instant, unix: u64) -> Vec<Action> {
        self.polls.retain(|_, poll| poll.until.is_none_or(|until| now < until));
        let is_silent =
            |client: &Client| client.streams == 0 && now.saturating_duration_since(client.seen) >= SILENCE;
        let silent = self.clients.extract_if(.., |_, client| is_silent(client)).map(|(name, _)| name);
        self.silent.extend(silent);
        let Some(view) = self.view.clone().filter(|_| self.is_declared) else { return Vec::new() };
        let mut actions = Vec::new();
        for group in self.groups.values() {
            for lane in &group.lanes {
                let key = LaneKey::new(&group.name, lane);
                if !view.records.contains_key(&key) {
                    let (topics, joining) = (group.topics.clone(), BTreeSet::new());
                    let record = Record { step: Step::Priming, since: unix, topics, joining };
                    actions.push(Action::Create(key, record));
                }
            }
        }
        for key in view.records.keys() {
            self.step(&view, key, unix, &mut actions);
            self.hold(&view, key, now, &mut actions);
        }
        self.tell_counts(&view, now, &mut actions);
        self.let_go(&actions);
        actions
    }

    /// What is to be given up counts as given up from now on: a client that comes before the next look must not find it.
    fn let_go(&mut self, actions: &[Action]) {
        let Some(view) = &mut self.view else { return };
        for action in actions {
            match action {
                Action::DropLive(key) => view.forget_live(key, &self.id),
                Action::DropDrain(key) => view.forget_drain(key, &self.id),
                _ => {}
            }
        }
    }

    /// One step of opening or closing, and this gateway's own word on it.
    fn step(&mut self, view: &View, key: &LaneKey, unix: u64, actions: &mut Vec<Action>) {
        let Some(kept) = view.records.get(key) else { return };
        let group = self.groups.get(&key.group).filter(|group| group.lanes.contains(&key.lane));
        let (step, modified) = (kept.record.step, kept.modified);
        let own = (key.clone(), self.id.clone());
        if self.is_true_here(view, key, &kept.record) && view.confirmed.get(&own) != Some(&modified) {
            actions.push(Action::Confirm(key.clone(), modified));
        }
        if let Some(topics) = to_prime(&kept.record)
            && self.primed.get(key).is_none_or(|(primed, _)| primed != topics)
        {
            actions.push(Action::Prime(key.clone(), topics.clone()));
        }
        let is_confirmed = view.is_confirmed(key);
        let over = unix.saturating_sub(kept.record.since) >= CLOSING.as_secs();
        let mut record = kept.record.clone();
        let next = match (step, group.is_some()) {
            (Step::Priming, true) if is_confirmed => Step::Excluding,
            (Step::Excluding, true) if is_confirmed => Step::Open,
            (Step::Unmarking | Step::Draining, true) => Step::Open,
            (Step::Open, true) if !record.joining.is_empty() => {
                if !is_confirmed {
                    return;
                }
                let joined = std::mem::take(&mut record.joining);
                record.topics.extend(joined);
                Step::Open
            }
            (Step::Open, true) => {
                let declared = group.map(|group| &group.topics).into_iter().flatten();
                record.joining = declared.filter(|topic| !record.topics.contains(*topic)).cloned().collect();
                if record.joining.is_empty() {
                    return;
                }
                Step::Open
            }
            (Step::Open, false) => Step::Unmarking,
            (Step::Unmarking, false) if is_confirmed => Step::Draining,
            // Nothing was ever marked so, and a lane that comes back has to be made like a new one.
            (Step::Priming | Step::Excluding, false) => {
                actions.push(Action::Remove { key: key.clone(), modified });
                return;
            }
            (Step::Draining, false) if over => {
                actions.push(Action::Remove { key: key.clone(), modified });
                return;
            }
            _ => return,
        };
        (record.step, record.since) = (next, unix);
        actions.push(Action::Advance { key: key.clone(), modified, record });
    }

    /// Whether what a step asks for is so at this gateway.
    fn is_true_here(&self, view: &View, key: &LaneKey, record: &Record) -> bool {
        let Some(mark) = view.mark(key) else { return false };
        if let Some(topics) = to_prime(record) {
            let primed = self.primed.get(key);
            return primed.is_some_and(|(primed, how_far)| primed == topics && *how_far == Primed::Done);
        }
        match record.step {
            // With that mistake there is nothing to wait for.
            Step::Excluding if mutation::is(Mutation::FilterByLiveness) => true,
            Step::Excluding => {
                !self.polls.values().any(|poll| poll.group == key.group && !poll.excluded.contains(&mark))
            }
            Step::Unmarking => !self.sends.values().any(|send| send == key),
            Step::Priming | Step::Open | Step::Draining => true,
        }
    }

    /// Keys that say whose the lane's messages are.
    fn hold(&self, view: &View, key: &LaneKey, now: Instant, actions: &mut Vec<Action>) {
        let live = self.live_clients(key, now);
        let told = view.live.get(key).and_then(|by| by.get(&self.id)).copied();
        match (live, told) {
            (0, Some(_)) => actions.push(Action::DropLive(key.clone())),
            (0, None) => {}
            (live, told) if told != Some(live) => actions.push(Action::SetLive(key.clone(), live)),
            _ => {}
        }
        let drains = view.is_drained_by(key, &self.id);
        let takeover = self.groups.get(&key.group).map_or(Duration::ZERO, |group| group.takeover);
        let is_quiet =
            self.last_live.get(key).is_none_or(|at| now.saturating_duration_since(*at) >= takeover);
        let may_drain = live == 0 && !view.is_live(key) && self.has_base_clients(&key.group);
        let is_open = view.step(key).is_some_and(|step| step >= Step::Open);
        match (drains, may_drain) {
            (true, false) => actions.push(Action::DropDrain(key.clone())),
            (false, true) if is_quiet && is_open => actions.push(Action::SetDrain(key.clone())),
            _ => {}
        }
    }

    fn tell_counts(&mut self, view: &View, now: Instant, actions: &mut Vec<Action>) {
        for (key, counted) in &self.counts {
            let is_told = self.told.get(key).is_some_and(|(told, at)| {
                told == counted || now.saturating_duration_since(*at) < COUNT_EVERY
            });
            if !is_told && view.records.contains_key(key) {
                self.told.insert(key.clone(), (*counted, now));
                actions.push(Action::Count(key.clone(), *counted));
            }
        }
    }
}
