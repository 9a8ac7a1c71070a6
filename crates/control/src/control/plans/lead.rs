//! The leader's loop over plans.
//!
//! Owns: the second: who runs, what proxies counted and run, figures for each plan, a look at each, and what is kept. Gives
//! the lead up where most proxies cannot be read from here. Never: what a look comes to. Start at
//! [`Control::lead_plans`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use graygate_judge::blocks::Row;
use graygate_judge::offline::Line;

use super::board::Pending;
use super::fleet::Fleet;
use super::keep::line_of;
use super::tick::{Figures, Memo, Ticked};
use crate::control::plane::Control;
use crate::error::{Error, Result};
use crate::evidence::{Cursors, Gathered, Question};
use crate::plans::fleet::Wanted;
use crate::plans::{Kept, PLANS, Spec, Trial};
use crate::state::{StateError, read_json};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Evidence is kept at least so often; contract and crash allow ten seconds.
const KEEP_EVERY: Duration = Duration::from_secs(8);
/// Lines and rows are written in batches of so many seconds.
const LINES_EVERY: Duration = Duration::from_secs(5);
/// Rows of a round that are kept for those who check a verdict; writing down more would cost more than judging them.
const KEPT_ROWS: usize = 20_000;
/// Between two times of thinning out.
const THIN_EVERY: Duration = Duration::from_secs(60);
/// A proxy that could not be read for so long holds plans up.
const UNREADABLE: Duration = Duration::from_secs(30);
/// A leader that reads fewer than half of the proxies for so long gives up its lead, for so long.
const BLIND: Duration = Duration::from_secs(30);
const ASIDE: Duration = Duration::from_secs(60);
/// A fleet of more proxies is asked what it runs only while a plan waits for it, and every few seconds.
const SMALL_FLEET: usize = 20;
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Plans that are looked at side by side: most of a look is waiting for the store, and what several write at once still
/// finds its place in one audit.
const LOOKS_AT_ONCE: usize = 8;

/// What the leader holds.
struct Leader {
    control: Arc<Control>,
    fleet: Fleet,
    looked: Option<Instant>,
    is_urgent: bool,
    runs: BTreeMap<String, Held>,
    last: Option<Instant>,
    blind_since: Option<Instant>,
}

/// What it holds of one plan.
struct Held {
    spec: Spec,
    kept: Kept,
    trial: Trial,
    memo: Memo,
    wanted: Option<(u64, Wanted)>,
    saved: Instant,
    flushed: Instant,
    thinned: Instant,
    judged: Option<Instant>,
    /// The newest line, and the minute whose line was kept with the run.
    line: Option<(u64, String)>,
    minute: u64,
    measured: BTreeMap<String, Instant>,
}

impl Control {
    /// Moves plans while this process leads, until it is dropped.
    pub async fn lead_plans(self: Arc<Self>) {
        let mut leader = Leader::new(self.clone());
        let mut seconds = tokio::time::interval(EVERY);
        seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            if !self.leadership.leads() || self.check_ready().is_err() {
                leader.forget();
                continue;
            }
            if let Err(error) = leader.second().await {
                tracing::warn!(%error, "plans are not looked at for now");
            }
        }
    }
}

impl Leader {
    fn new(control: Arc<Control>) -> Leader {
        Leader {
            control,
            fleet: Fleet::default(),
            looked: None,
            is_urgent: false,
            runs: BTreeMap::new(),
            last: None,
            blind_since: None,
        }
    }

    /// Another process leads, and what was held here is old.
    fn forget(&mut self) {
        self.runs.clear();
        (self.last, self.blind_since) = (None, None);
    }

    async fn second(&mut self) -> Result<()> {
        let now = self.control.clock.instant();
        let elapsed = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.last = Some(now);
        self.take_up(now).await?;
        if self.runs.is_empty() {
            return Ok(());
        }
        self.look_at_fleet(now).await;
        let gathered = self.gather(now).await;
        self.check_sight(&gathered, now);
        let unreadable: Vec<String> = gathered
            .iter()
            .flat_map(|(_, gathered)| &gathered.unreadable)
            .filter(|(_, since)| *since >= UNREADABLE)
            .map(|(name, _)| name.clone())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        self.measure(now).await;
        self.look(&Look { now, elapsed, unreadable }).await;
        Ok(())
    }

    /// The plans that run, each with its evidence.
    async fn take_up(&mut self, now: Instant) -> Result<()> {
        let mut running = BTreeMap::new();
        for entry in self.control.records(PLANS).await? {
            let kept: Kept = read_json(&entry.name, &entry.stored.value)?;
            if kept.runs() {
                running.insert(kept.plan.clone(), kept);
            }
        }
        self.runs.retain(|name, held| running.get(name).is_some_and(|kept| kept.run == held.kept.run));
        for (name, kept) in running {
            if let Some(held) = self.runs.get_mut(&name) {
                held.kept = kept;
                continue;
            }
            match self.held(&name, kept, now).await {
                Ok(held) => drop(self.runs.insert(name, held)),
                Err(error) => tracing::warn!(%error, plan = name, "the evidence of a plan cannot be read"),
            }
        }
        Ok(())
    }

    async fn held(&self, name: &str, kept: Kept, now: Instant) -> Result<Held> {
        let spec = Spec::read(name, &kept.text, kept.is_json)?;
        let kept_before = match self.control.kept_trial(name, kept.run).await {
            // What cannot be read any more is begun again: less evidence, and no one widens for it.
            Err(Error::Internal(error)) => {
                tracing::warn!(error, plan = name, "the evidence of a run begins again");
                None
            }
            other => other?,
        };
        let second = u64::try_from(self.control.clock.now().unix_timestamp()).unwrap_or(0);
        let trial = kept_before.unwrap_or_else(|| Trial::new(&spec, &kept, second));
        // Each plan at a time of its own: a hundred at once would hold all of them up.
        let phase = |every: Duration| every.mul_f64(f64::from(crc32fast::hash(name.as_bytes()) % 64) / 64.0);
        let since = |every: Duration| now.checked_sub(phase(every)).unwrap_or(now);
        Ok(Held {
            spec,
            kept,
            trial,
            memo: Memo::default(),
            wanted: None,
            saved: since(KEEP_EVERY),
            flushed: since(LINES_EVERY),
            thinned: since(THIN_EVERY),
            judged: None,
            line: None,
            minute: 0,
            measured: BTreeMap::new(),
        })
    }

    async fn look_at_fleet(&mut self, now: Instant) {
        let since = self.looked.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        if !self.is_urgent && self.fleet.len() > SMALL_FLEET && since < LOOK_EVERY {
            return;
        }
        self.fleet.look(&self.control).await;
        self.looked = Some(now);
    }

    /// What proxies counted since, asked once for all runs that hash alike, and judged.
    async fn gather(&mut self, now: Instant) -> Vec<(String, Gathered)> {
        let salts: BTreeSet<String> = self.runs.values().map(|held| held.kept.salt.clone()).collect();
        let mut gathered = Vec::new();
        for salt in salts {
            let of_salt = |held: &&mut Held| held.kept.salt == salt && !held.spec.is_of_values();
            let services: BTreeSet<String> = self
                .runs
                .values()
                .filter(|held| held.kept.salt == salt)
                .flat_map(|held| held.spec.services.iter().cloned())
                .collect();
            if services.is_empty() {
                continue;
            }
            let mut cursors = Cursors::oldest(
                self.runs.values().filter(|held| held.kept.salt == salt).map(|held| &held.trial.cursors),
            );
            let before = cursors.clone();
            let question = Question { services: services.into_iter().collect(), salt: salt.clone() };
            let mut answer = self.control.live.gatherer.gather(&question, &mut cursors).await;
            self.control.metrics.late(answer.late);
            let fleet_now = median(answer.nows.values().copied().collect());
            self.control.live.hear_of_plans(&answer, &question.services, now);
            let rows = std::mem::take(&mut answer.rows);
            let are_kept = rows.iter().map(Vec::len).sum::<usize>() <= KEPT_ROWS;
            let mut by_service = of_services(rows, &question.services, &before);
            for held in self.runs.values_mut().filter(of_salt) {
                let services = held.spec.services.iter();
                let own = services.filter_map(|service| by_service.remove(service.as_str()));
                let mut own =
                    own.reduce(|one, other| [one, other].into_iter().flatten().collect()).unwrap_or_default();
                // What all have heard is gone already.
                if !held.trial.cursors.are(&before) {
                    own.retain(|row| !held.trial.cursors.include(row));
                }
                held.judge(own, (fleet_now, now), (are_kept, &*self.control));
                held.trial.cursors = cursors.clone();
            }
            gathered.push((salt, answer));
        }
        gathered
    }

    /// A leader that sees less than half of the fleet leaves the lead to one that may see more.
    fn check_sight(&mut self, gathered: &[(String, Gathered)], now: Instant) {
        let is_blind = gathered.iter().any(|(_, gathered)| gathered.read * 2 < gathered.of);
        if !is_blind {
            self.blind_since = None;
            return;
        }
        let since = *self.blind_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= BLIND {
            tracing::warn!(
                "fewer than half of the proxies can be read from here: another process shall lead"
            );
            self.control.leadership.stand_aside(ASIDE);
            self.blind_since = None;
        }
    }

    async fn measure(&mut self, now: Instant) {
        let control = self.control.clone();
        let mut asked = Vec::new();
        for (plan, held) in &mut self.runs {
            for metric in &held.spec.plan.guards.metrics {
                let name = metric.name.to_string();
                let last = held.measured.get(&name);
                if last.is_some_and(|last| now.saturating_duration_since(*last) < metric.every) {
                    continue;
                }
                held.measured.insert(name, now);
                let url = control.measures.get(metric.from.as_str()).cloned();
                asked.push((plan.clone(), metric.clone(), url));
            }
        }
        let questions = asked.into_iter().map(|(plan, metric, url)| async move {
            let answer = match url {
                Some(url) => super::measure::ask(&url, &metric.query).await,
                None => None,
            };
            (plan, metric, answer)
        });
        for (plan, metric, answer) in futures_util::future::join_all(questions).await {
            if let Some(held) = self.runs.get_mut(&plan) {
                held.trial.measure(&metric, answer);
            }
        }
    }

    /// Looks at every plan, a few side by side.
    async fn look(&mut self, look: &Look) {
        let (control, fleet) = (&self.control, &self.fleet);
        let looks = self.runs.iter_mut().map(|(name, held)| {
            let look = held.look(name, (control, fleet), look);
            look.map(move |looked| match looked {
                Ok(is_urgent) => is_urgent,
                Err(error) => {
                    tracing::warn!(%error, plan = name, "a plan is not looked at for now");
                    false
                }
            })
            .boxed()
        });
        let looks: Vec<_> = looks.collect();
        let urgent: Vec<bool> = stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).collect().await;
        self.is_urgent = urgent.contains(&true);
    }
}

/// What is the same for every plan of a second.
struct Look {
    now: Instant,
    elapsed: Duration,
    unreadable: Vec<String>,
}

/// Rows by service, of those that were asked for: one plan at most moves a service, so that its rows are that plan's alone.
/// What stood before its proxy's cursor is left out.
fn of_services(rows: Vec<Vec<Row>>, services: &[String], before: &Cursors) -> HashMap<String, Vec<Row>> {
    let each = rows.iter().map(Vec::len).sum::<usize>() / services.len().max(1);
    let mut of: HashMap<String, Vec<Row>> =
        services.iter().map(|service| (service.clone(), Vec::with_capacity(each))).collect();
    for told in rows {
        // All of one proxy, and mostly none of them was heard before.
        let is_new = !told.first().is_some_and(|first| before.include(first));
        for row in told {
            if let Some(of_service) = of.get_mut(&*row.key.series.service)
                && (is_new || !before.include(&row))
            {
                of_service.push(row);
            }
        }
    }
    of
}

impl Held {
    /// Looks at a plan once; answers whether it waits for the fleet.
    async fn look(
        &mut self,
        name: &str,
        (control, fleet): (&Arc<Control>, &Fleet),
        look: &Look,
    ) -> Result<bool> {
        let wanted = match &self.wanted {
            Some((moves, wanted)) if *moves == self.kept.moves => wanted,
            _ => {
                let wanted = control.wanted(&self.spec, &self.kept).await?;
                &self.wanted.insert((self.kept.moves, wanted)).1
            }
        };
        let followed = fleet.followed(wanted);
        let mut is_urgent = !followed.behind.is_empty();
        let judge = self.trial.judge();
        let documented = super::documents::instances(&control.view(), &self.spec);
        let figures = Figures {
            run: self.kept.run,
            moves: self.kept.moves,
            regressions: self.trial.regressions(),
            without_evidence: self.trial.without_evidence(&self.spec),
            step_requests: judge.step_requests(),
            gray: judge.requests().gray,
            release: judge.requests().release,
            left: self.trial.left(),
            guards: self.trial.guards_shown(&self.spec),
            why: self.trial.why(),
            behind: followed.behind,
            lost: followed.lost,
            unreadable: look.unreadable.clone(),
            instances: Some(fleet.instances(control, &self.spec, documented)),
        };
        let figures = match self.spec.is_of_values() {
            true => control.figures_of_values(&self.kept, figures).await?,
            false => figures,
        };
        let ticked = control.tick_plan(name, (&mut self.memo, look.elapsed), &figures).await;
        if matches!(ticked, Ok(Ticked::RolledBack)) {
            is_urgent = true;
            let (control, plan) = (control.clone(), name.to_owned());
            tokio::spawn(async move {
                if let Err(error) = control.keep_outcome(&plan).await {
                    tracing::debug!(%error, plan, "what a rollback came to is not known");
                }
            });
        }
        self.keep(name, control, look.now).await?;
        ticked.map(|_| is_urgent)
    }

    fn judge(
        &mut self,
        rows: Vec<Row>,
        (fleet, now): (Option<u64>, Instant),
        (are_kept, control): (bool, &Control),
    ) {
        let own = u64::try_from(control.clock.now().unix_timestamp()).unwrap_or(0);
        let second = fleet.unwrap_or(own);
        self.trial.follow(&self.spec, &self.kept, second);
        let passed = match (self.judged, self.trial.second) {
            (Some(judged), _) => now.saturating_duration_since(judged).as_secs().max(1),
            (None, Some(before)) => second.saturating_sub(before).max(1),
            (None, None) => 1,
        };
        self.judged = Some(now);
        let is_silent = rows.is_empty();
        let blocks: Vec<String> = if are_kept { rows.iter().map(line_of).collect() } else { Vec::new() };
        self.trial.second(passed, fleet, rows);
        if is_silent {
            return;
        }
        let line = serde_json::to_string(&Line::of(self.trial.judge(), second)).unwrap_or_default();
        self.line = Some((second, line.clone()));
        control.plans.add_line(&self.spec.name, self.kept.run, (second, line, blocks));
    }

    /// Keeps what is due.
    async fn keep(&mut self, name: &str, control: &Control, now: Instant) -> Result<()> {
        let is_due = |last, every| now.saturating_duration_since(last) >= every;
        if is_due(self.saved, KEEP_EVERY) {
            let line = self.line.take().filter(|(second, _)| second / 60 > self.minute);
            match control.keep_trial(name, &self.trial, line.as_ref()).await {
                Ok(()) => {
                    self.saved = now;
                    self.minute = line.map_or(self.minute, |(second, _)| second / 60);
                }
                Err(StateError::LeadLost) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        if is_due(self.flushed, LINES_EVERY) {
            self.flushed = now;
            let pending: Pending = control.plans.take_pending(name, self.kept.run);
            control.keep_lines((name, self.kept.run), pending).await?;
        }
        if is_due(self.thinned, THIN_EVERY) {
            self.thinned = now;
            let second = u64::try_from(control.clock.now().unix_timestamp()).unwrap_or(0);
            control.thin_lines(name, second).await?;
        }
        Ok(())
    }
}

/// The middle one, so that no single clock decides.
fn median(mut seconds: Vec<u64>) -> Option<u64> {
    seconds.sort_unstable();
    seconds.get(seconds.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::SystemClock;
    use crate::people::SessionSettings;
    use crate::state::Leadership;
    use crate::state::memory::Memory;

    fn seen(read: usize, of: usize) -> Vec<(String, Gathered)> {
        vec![("salt".to_owned(), Gathered { read, of, ..Gathered::default() })]
    }

    #[tokio::test]
    async fn a_leader_that_sees_less_than_half_for_thirty_seconds_stands_aside_for_a_minute() {
        let (leadership, asked) = Leadership::watched();
        let mut control =
            Control::new(Arc::new(Memory::default()), Arc::new(SystemClock), SessionSettings::default());
        control.leadership = leadership;
        let mut leader = Leader::new(Arc::new(control));
        let begun = Instant::now();
        let mut look = |second: u64, (read, of): (usize, usize)| {
            leader.check_sight(&seen(read, of), begun + Duration::from_secs(second));
            *asked.borrow()
        };
        for (second, seen) in
            [(0, (1, 3)), (29, (0, 1)), (30, (1, 2)), (31, (1, 3)), (60, (1, 3)), (61, (0, 0)), (62, (1, 3))]
        {
            assert_eq!(look(second, seen), None, "second {second}");
        }
        for second in 63..92 {
            assert_eq!(look(second, (49, 100)), None, "second {second}");
        }
        let until = look(92, (49, 100)).expect("thirty seconds are over");
        let aside = until.saturating_duration_since(tokio::time::Instant::now());
        assert!(aside > ASIDE - Duration::from_secs(10) && aside <= ASIDE, "{aside:?}");
    }
}
