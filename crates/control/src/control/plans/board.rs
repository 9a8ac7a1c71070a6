//! The plans as this process knows them: what was told of each already, and what is counted.
//!
//! Owns: that each transition is told once by this process, no matter who made it. Never: the truth, which is the store's.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use graygate_judge::plan::State;
use parking_lot::Mutex;

use crate::plans::{Kept, Sight, Spec, Transition, begun_step, share};

/// Lines and rows of a run that are not written yet.
#[derive(Default)]
pub struct Pending {
    pub lines: String,
    pub rows: String,
    pub first: Option<u64>,
}

/// What is known.
#[derive(Default)]
pub struct Board {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    is_loaded: bool,
    plans: BTreeMap<String, Kept>,
    sights: BTreeMap<String, Sight>,
    /// Lines and rows that are not written yet, by plan and run.
    pending: BTreeMap<(String, u64), Pending>,
    /// By plan, target and who: a person or the controller.
    transitions: BTreeMap<(String, String, &'static str), u64>,
}

impl Board {
    /// Takes up a record; the transitions that are news here, none of which is told again. Before the first listing was
    /// taken up nothing is news: it happened before this process was there.
    pub fn take(&self, kept: &Kept) -> std::ops::Range<u64> {
        let mut inner = self.inner.lock();
        let known = inner.plans.get(&kept.plan).map_or(0, |known| known.moves);
        if kept.moves < known || (kept.moves == known && inner.plans.contains_key(&kept.plan)) {
            return 0..0;
        }
        inner.plans.insert(kept.plan.clone(), kept.clone());
        match inner.is_loaded {
            true => known + 1..kept.moves + 1,
            false => 0..0,
        }
    }

    /// All records were taken up once.
    pub fn loaded(&self) {
        self.inner.lock().is_loaded = true;
    }

    /// A second of a run: when, its line, and the rows it was made of.
    pub fn add_line(&self, plan: &str, run: u64, (second, line, rows): (u64, String, Vec<String>)) {
        let mut inner = self.inner.lock();
        let pending = inner.pending.entry((plan.to_owned(), run)).or_default();
        pending.first.get_or_insert(second);
        pending.lines.push_str(&line);
        pending.lines.push('\n');
        for row in rows {
            pending.rows.push_str(&row);
            pending.rows.push('\n');
        }
    }

    pub fn take_pending(&self, plan: &str, run: u64) -> Pending {
        self.inner.lock().pending.remove(&(plan.to_owned(), run)).unwrap_or_default()
    }

    /// What is not written yet.
    pub fn pending(&self, plan: &str, run: u64, rows: bool) -> String {
        let inner = self.inner.lock();
        let pending = inner.pending.get(&(plan.to_owned(), run));
        pending.map_or_else(String::new, |pending| if rows { &pending.rows } else { &pending.lines }.clone())
    }

    pub fn see(&self, plan: &str, sight: Sight) {
        self.inner.lock().sights.insert(plan.to_owned(), sight);
    }

    pub fn count(&self, plan: &str, transition: &Transition) {
        let by = if transition.by_controller { "controller" } else { "person" };
        let key = (plan.to_owned(), transition.to.clone(), by);
        *self.inner.lock().transitions.entry(key).or_default() += 1;
    }

    /// In Prometheus' text format.
    pub fn metrics(&self) -> String {
        let inner = self.inner.lock();
        let mut out = String::new();
        let mut family = |name: &str, kind: &str, lines: Vec<String>| {
            let _ = writeln!(out, "# TYPE {name} {kind}");
            for line in lines {
                let _ = writeln!(out, "{name}{line}");
            }
        };
        let plans = || inner.plans.values();
        let states = plans().flat_map(|kept| {
            State::ALL.map(|state| {
                let is_it = u8::from(kept.progress.state == state);
                format!("{{plan=\"{}\",state=\"{}\"}} {is_it}", kept.plan, state.as_str())
            })
        });
        family("graygate_plan_state", "gauge", states.collect());
        let steps =
            plans().map(|kept| format!("{{plan=\"{}\"}} {}", kept.plan, begun_step(kept.progress.begun)));
        family("graygate_plan_step", "gauge", steps.collect());
        let shares = plans().map(|kept| {
            let spec = Spec::read(&kept.plan, &kept.text, kept.is_json).ok();
            let share = spec.map_or(0.0, |spec| share(&spec, &kept.progress));
            format!("{{plan=\"{}\"}} {share}", kept.plan)
        });
        family("graygate_plan_share", "gauge", shares.collect());
        let evidence = plans().filter_map(|kept| Some((kept, inner.sights.get(&kept.plan)?))).flat_map(
            |(kept, sight)| {
                let guards = sight.guards.iter().filter(|_| sight.run == kept.run && kept.runs());
                guards.filter_map(|(guard, shown)| {
                    Some(format!("{{plan=\"{}\",guard=\"{guard}\"}} {}", kept.plan, shown.log10_e?))
                })
            },
        );
        family("graygate_plan_evidence", "gauge", evidence.collect());
        let moves = inner
            .transitions
            .iter()
            .map(|((plan, to, by), count)| format!("{{plan=\"{plan}\",to=\"{to}\",by=\"{by}\"}} {count}"));
        family("graygate_plan_transitions_total", "counter", moves.collect());
        out
    }
}
