//! The leader's loop over plans.
//!
//! Owns: the second: who runs, what proxies counted and run, figures for each plan, a look at each, and what is kept. Gives
//! the lead up where most proxies cannot be read from here. Never: what a look comes to. Start at
//! [`Control::lead_plans`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    saved: Option<Instant>,
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
        let mut leader = Leader {
            control: self.clone(),
            fleet: Fleet::default(),
            looked: None,
            is_urgent: false,
            runs: BTreeMap::new(),
            last: None,
            blind_since: None,
        };
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
        let names: Vec<String> = self.runs.keys().cloned().collect();
        self.is_urgent = false;
        for name in names {
            if let Err(error) = self.look(&name, (now, elapsed), &unreadable).await {
                let error = error.to_string();
                tracing::warn!(error, plan = name, "a plan is not looked at for now");
            }
        }
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
            // What cannot be read any more is begun anew: less evidence, and nobody widens for it.
            Err(Error::Internal(error)) => {
                tracing::warn!(error, plan = name, "the evidence of a run begins anew");
                None
            }
            other => other?,
        };
        let second = u64::try_from(self.control.clock.now().unix_timestamp()).unwrap_or(0);
        let trial = kept_before.unwrap_or_else(|| Trial::new(&spec, &kept, second));
        Ok(Held {
            spec,
            kept,
            trial,
            memo: Memo::default(),
            wanted: None,
            saved: None,
            flushed: now,
            thinned: now,
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
            let question = Question { services: services.into_iter().collect(), salt: salt.clone() };
            let mut answer = self.control.live.gatherer.gather(&question, &mut cursors).await;
            self.control.metrics.late(answer.late);
            let fleet_now = median(answer.nows.values().copied().collect());
            let rows = std::mem::take(&mut answer.rows);
            let are_kept = rows.len() <= KEPT_ROWS;
            // One plan at most moves a service, so that its rows are that plan's alone.
            let mut by_service: HashMap<Box<str>, Vec<Row>> = HashMap::new();
            for row in rows {
                match by_service.get_mut(&row.key.service) {
                    Some(of_service) => of_service.push(row),
                    None => drop(by_service.insert(row.key.service.clone(), vec![row])),
                }
            }
            for held in self.runs.values_mut().filter(of_salt) {
                let services = held.spec.services.iter();
                let mut own: Vec<Row> =
                    services.filter_map(|service| by_service.remove(service.as_str())).flatten().collect();
                own.retain(|row| !held.trial.cursors.include(row));
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

    async fn look(
        &mut self,
        name: &str,
        (now, elapsed): (Instant, Duration),
        unreadable: &[String],
    ) -> Result<()> {
        let control = self.control.clone();
        let Some(held) = self.runs.get_mut(name) else { return Ok(()) };
        let wanted = match &held.wanted {
            Some((moves, wanted)) if *moves == held.kept.moves => wanted.clone(),
            _ => {
                let wanted = control.wanted(&held.spec, &held.kept).await?;
                held.wanted = Some((held.kept.moves, wanted.clone()));
                wanted
            }
        };
        let followed = self.fleet.followed(&wanted);
        self.is_urgent |= !followed.behind.is_empty();
        let judge = held.trial.judge();
        let documented = super::documents::instances(&control.view(), &held.spec);
        let figures = Figures {
            run: held.kept.run,
            moves: held.kept.moves,
            regressions: held.trial.regressions(),
            without_evidence: held.trial.without_evidence(&held.spec),
            step_requests: judge.step_requests(),
            gray: judge.requests().gray,
            release: judge.requests().release,
            left: held.trial.left(),
            guards: held.trial.guards_shown(&held.spec),
            why: held.trial.why(),
            behind: followed.behind,
            lost: followed.lost,
            unreadable: unreadable.to_vec(),
            instances: Some(self.fleet.instances(&control, &held.spec, documented)),
        };
        let figures = match held.spec.is_of_values() {
            true => control.figures_of_values(&held.kept, figures).await?,
            false => figures,
        };
        let ticked = control.tick_plan(name, (&mut held.memo, elapsed), &figures).await;
        if matches!(ticked, Ok(Ticked::RolledBack)) {
            self.is_urgent = true;
            let (control, plan) = (control.clone(), name.to_owned());
            tokio::spawn(async move {
                if let Err(error) = control.keep_outcome(&plan).await {
                    tracing::debug!(%error, plan, "what a rollback came to is not known");
                }
            });
        }
        held.keep(name, &control, now).await?;
        match ticked {
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Held {
    fn judge(
        &mut self,
        rows: Vec<graygate_judge::blocks::Row>,
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
        let is_due = |last: Option<Instant>, every| {
            last.is_none_or(|last| now.saturating_duration_since(last) >= every)
        };
        if is_due(self.saved, KEEP_EVERY) {
            let line = self.line.take().filter(|(second, _)| second / 60 > self.minute);
            match control.keep_trial(name, &self.trial, line.as_ref()).await {
                Ok(()) => {
                    self.saved = Some(now);
                    self.minute = line.map_or(self.minute, |(second, _)| second / 60);
                }
                Err(StateError::LeadLost) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        if is_due(Some(self.flushed), LINES_EVERY) {
            self.flushed = now;
            let pending: Pending = control.plans.take_pending(name, self.kept.run);
            control.keep_lines((name, self.kept.run), pending).await?;
        }
        if is_due(Some(self.thinned), THIN_EVERY) {
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
