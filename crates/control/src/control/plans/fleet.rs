//! What proxies run of a plan.
//!
//! Owns: which proxies there are, asking them of themselves, who follows, who is behind and who is lost. Never: a transition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use graygate_judge::plan::{Instances, State};
use graygate_rules::documents::plan::Subject;
use graygate_rules::vocab::Share;
use parking_lot::Mutex;

use super::documents::{all_lists, label, service};
use crate::control::plane::Control;
use crate::error::Result;
use crate::plans::fleet::{ProxyStatus, Wanted};
use crate::plans::rules::closure_of;
use crate::plans::{Kept, RollbackShown, Spec, percent};
use crate::state::Slot;

/// How long the answer to a rollback waits for proxies.
const CONFIRM: Duration = Duration::from_secs(2);
/// Between two questions meanwhile.
const AGAIN: Duration = Duration::from_millis(40);
/// Different answers that are told apart: of a thousand proxies almost all run the same.
const DIFFERENT: usize = 8;
/// How long one that is lost is named.
const LOST_FOR: Duration = Duration::from_secs(3_600);

/// The proxies of a fleet, as they were heard last.
#[derive(Default)]
pub struct Fleet {
    proxies: BTreeMap<String, Known>,
}

struct Known {
    url: Option<String>,
    /// Whether it has its key, or is listed.
    is_there: bool,
    /// Proxies that run the same share it.
    status: Option<Arc<ProxyStatus>>,
    lost_since: Option<Instant>,
}

/// Who does not run what a plan wrote.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Followed {
    pub confirmed: usize,
    pub of: usize,
    pub behind: Vec<String>,
    pub lost: Vec<String>,
}

impl Fleet {
    /// Asks every proxy, those whose key vanished included.
    pub async fn look(&mut self, control: &Control) {
        let listed = control.live.gatherer.living().await;
        for known in self.proxies.values_mut() {
            known.is_there = false;
        }
        for (name, url) in
            listed.into_iter().filter_map(|place| Some((place.id.or(place.url.clone())?, place.url)))
        {
            let known = self.proxies.entry(name).or_insert(Known {
                url: None,
                is_there: true,
                status: None,
                lost_since: None,
            });
            (known.url, known.is_there, known.lost_since) = (url, true, None);
        }
        let asked = self.proxies.iter().filter_map(|(name, known)| Some((name.clone(), known.url.clone()?)));
        let different = Mutex::new(Vec::new());
        let read = |body: &[u8]| Ok(shared(&mut different.lock(), ProxyStatus::read(body)?));
        let answers = control.live.gatherer.ask_these("/status", asked.collect(), read).await;
        let now = control.clock.instant();
        for (name, answer) in answers {
            let Some(known) = self.proxies.get_mut(&name) else { continue };
            known.status = answer.ok();
        }
        for known in self.proxies.values_mut() {
            if !known.is_there && known.status.is_none() {
                known.lost_since.get_or_insert(now);
            }
        }
        self.proxies.retain(|_, known| {
            known.lost_since.is_none_or(|since| now.saturating_duration_since(since) < LOST_FOR)
        });
    }

    pub fn len(&self) -> usize {
        self.proxies.len()
    }

    /// Who follows what a plan wrote. A proxy whose key vanished counts while it answers.
    pub fn followed(&self, wanted: &Wanted) -> Followed {
        let mut followed = Followed::default();
        let mut last: Option<(&Arc<ProxyStatus>, bool)> = None;
        for (name, known) in &self.proxies {
            let follows = known.status.as_ref().is_some_and(|status| {
                let (_, follows) = last
                    .filter(|(before, _)| Arc::ptr_eq(before, status))
                    .unwrap_or_else(|| (status, status.follows(wanted)));
                last = Some((status, follows));
                follows
            });
            match (&known.status, known.is_there) {
                (None, false) => followed.lost.push(name.clone()),
                (Some(_), _) if follows => {
                    followed.confirmed += 1;
                    followed.of += 1;
                }
                _ => {
                    followed.behind.push(name.clone());
                    followed.of += 1;
                }
            }
        }
        followed
    }

    /// Whether proxies see an instance of a label that takes requests; none of them says so where none was heard.
    fn takes(&self, service: &str, label: &str) -> Option<bool> {
        let key = (service.to_owned(), label.to_owned());
        let said = self.proxies.values().filter_map(|known| known.status.as_ref());
        let mut said = said.filter_map(|status| status.takes.get(&key).copied()).peekable();
        said.peek()?;
        Some(said.any(|takes| takes))
    }

    /// What documents say of instances, and proxies of their health.
    pub fn instances(&self, control: &Control, spec: &Spec, documented: Instances) -> Instances {
        let view = control.view();
        let all = |word: &str| {
            spec.services.iter().all(|name| {
                let label = service(&view, name).map(|service| label(service, word));
                label.and_then(|label| self.takes(name, &label)).unwrap_or(true)
            })
        };
        Instances {
            gray: documented.gray && all(&spec.version),
            release: documented.release && all("release"),
        }
    }
}

/// The same as one of those before, where it is.
fn shared(different: &mut Vec<Arc<ProxyStatus>>, status: ProxyStatus) -> Arc<ProxyStatus> {
    if let Some(same) = different.iter().find(|known| ***known == status) {
        return same.clone();
    }
    let status = Arc::new(status);
    if different.len() < DIFFERENT {
        different.push(status.clone());
    }
    status
}

impl Control {
    /// What proxies have to run now, by what the record says and the store has.
    pub(super) async fn wanted(&self, spec: &Spec, kept: &Kept) -> Result<Wanted> {
        let mut revision = None;
        if self.live.etcd.is_some() {
            let closures = match &spec.plan.subject {
                Subject::Services { services, version } => {
                    services.iter().map(|service| closure_of(service, version)).collect()
                }
                Subject::Config(_) => Vec::new(),
            };
            for name in kept.written.keys().chain(&closures) {
                let stored = self.state.get(&Slot::document(name)).await?;
                revision = revision.max(stored.map(|stored| stored.revision));
            }
        }
        let shares = kept.written.keys().filter_map(|name| {
            let rule = name.strip_prefix("rules/")?;
            let share = match rule.ends_with(".share") {
                true if kept.progress.state == State::Completed => 100.0,
                true => spec.share(kept.progress.begun).map_or(0.0, percent),
                false => percent(Share::ALL),
            };
            Some((rule.to_owned(), share))
        });
        let lists = all_lists(spec).into_iter().map(|list| format!("lists/{list}"));
        Ok(Wanted {
            plan: spec.name.clone(),
            services: spec.services.clone(),
            rules: shares.collect(),
            revision,
            documents: kept.written.keys().cloned().chain(lists).collect(),
        })
    }

    /// Asks proxies whether they run without the plan's rules, for a moment.
    pub(super) async fn confirm_rollback(&self, kept: &Kept) -> RollbackShown {
        let Ok(spec) = Spec::read(&kept.plan, &kept.text, kept.is_json) else {
            return RollbackShown::default();
        };
        // No proxy has a part in values.
        if spec.is_of_values() {
            return RollbackShown::default();
        }
        let Ok(wanted) = self.wanted(&spec, kept).await else { return RollbackShown::default() };
        let begun = self.clock.instant();
        let mut fleet = Fleet::default();
        loop {
            fleet.look(self).await;
            let followed = fleet.followed(&wanted);
            let is_over = self.clock.instant().saturating_duration_since(begun) >= CONFIRM;
            if followed.behind.is_empty() || is_over {
                let Followed { confirmed, of, behind, lost } = followed;
                return RollbackShown { confirmed, of, stragglers: behind, lost, warnings: Vec::new() };
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
