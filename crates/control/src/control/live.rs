//! Asking proxies: of themselves (`/status`), and second by second of their requests.
//!
//! Owns: asking them once a second while a caller wants to know, on the leader always, and telling what they say. Never: how
//! they are asked, which `evidence` knows, or a verdict.

use std::time::Duration;

use graygate_rules::documents::Kind;
use graygate_store::fleet;
use serde_json::{Value, json};

use super::events::EventKind;
use super::heard::Course;
use super::plane::Control;
use crate::error::{Error, Result};
use crate::evidence::{Cursors, Question};
use crate::people::{Permission, Principal};

/// Between two questions to the proxies.
const EVERY: Duration = Duration::from_secs(1);
/// The same on a leader without listeners: nothing of its hour is lost, and the fleet is asked less.
const AT_REST: Duration = Duration::from_secs(5);
/// How long the store may take to tell of the fleet.
const PATIENCE: Duration = Duration::from_secs(2);

impl Control {
    /// The services, with what their requests did of late and where their instances are.
    pub fn services(&self, who: &Principal) -> Result<Value> {
        who.may_somewhere(Permission::Read)?;
        let mut heard = self.live.heard.lock();
        heard.wanted = Some(self.clock.instant());
        let view = self.view();
        let services = view.good(Kind::Service).map(|(id, _)| id.name.to_string());
        let items: Vec<Value> = services.map(|name| heard.service(&name, self.leadership.leads())).collect();
        Ok(json!({"items": items, "next": null}))
    }

    /// How the versions of a service went in the last minutes.
    pub fn courses(&self, who: &Principal, service: &str) -> Result<Vec<Course>> {
        who.may_somewhere(Permission::Read)?;
        let mut heard = self.live.heard.lock();
        heard.wanted = Some(self.clock.instant());
        Ok(heard.courses(service))
    }

    /// Who runs what, and who lags.
    pub async fn fleet(&self, who: &Principal) -> Result<Value> {
        who.may_somewhere(Permission::Read)?;
        self.live.want(self.clock.instant());
        self.look_at_fleet().await
    }

    pub(super) async fn look_at_fleet(&self) -> Result<Value> {
        if let Some(settings) = &self.live.etcd {
            let looked = tokio::time::timeout(PATIENCE, fleet::look(settings)).await;
            let looked = looked.map_err(|_| Error::Away("etcd does not answer".to_owned()))?;
            return looked.map(|fleet| json!(fleet)).map_err(|error| Error::Away(error.to_string()));
        }
        let answers = self.live.gatherer.ask_all("/status").await;
        let proxies: Vec<Value> = answers.iter().map(|(name, answer)| shown(name, answer)).collect();
        Ok(json!({"revision": null, "proxies": proxies, "unreadable": []}))
    }

    /// Asks the proxies while a caller wants to know, or this process leads, and tells what they say.
    pub async fn observe(&self) {
        let mut cursors = Cursors::default();
        let salt = format!("{:032x}", rand::random::<u128>());
        let mut rested = Duration::ZERO;
        loop {
            tokio::time::sleep(EVERY).await;
            rested += EVERY;
            let is_wanted = self.live.is_wanted(self.clock.instant()) || self.events.has_listeners();
            if !is_wanted && (!self.leadership.leads() || rested < AT_REST) {
                continue;
            }
            let waited = std::mem::take(&mut rested);
            let late = self.hear(&salt, &mut cursors).await;
            if waited <= EVERY {
                // After a rest of our own, no proxy was late.
                self.metrics.late(late);
            }
            let wants_status = is_wanted && self.live.wants_status(self.clock.instant());
            if wants_status {
                let statuses = self.live.gatherer.ask_all("/status").await;
                self.live.heard.lock().statuses = statuses.into_iter().collect();
            }
            if self.events.has_listeners() {
                self.tell_services();
                if wants_status {
                    self.tell_fleet().await;
                }
            }
        }
    }

    /// Hears what proxies counted, of every service there is; answers how many seconds were told late.
    async fn hear(&self, salt: &str, cursors: &mut Cursors) -> u64 {
        let mut services: Vec<String> =
            self.view().good(Kind::Service).map(|(id, _)| id.name.to_string()).collect();
        let now = self.clock.instant();
        services.retain(|service| !self.live.heard.lock().is_covered(service, now));
        if services.is_empty() {
            self.live.write_down();
            return 0;
        }
        let question = Question { services, salt: salt.to_owned() };
        let gathered = self.live.gatherer.gather(&question, cursors).await;
        self.live.heard.lock().take(&gathered);
        self.live.write_down();
        gathered.late
    }

    fn tell_services(&self) {
        let view = self.view();
        let heard = self.live.heard.lock();
        let services = view.good(Kind::Service).map(|(id, _)| heard.service(&id.name, false));
        let items: Vec<Value> = services.collect();
        drop(heard);
        self.events.tell(EventKind::Services, json!({"items": items}));
    }

    async fn tell_fleet(&self) {
        let Ok(fleet) = self.look_at_fleet().await else { return };
        if self.live.is_news(&fleet) {
            self.events.tell(EventKind::Fleet, fleet);
        }
    }
}

/// A proxy of a directory, as the fleet's keys would tell of it.
fn shown(url: &str, answer: &std::result::Result<Value, String>) -> Value {
    match answer {
        Err(error) => json!({"id": url, "admin": url, "up": false, "error": error, "lags": null}),
        Ok(status) => {
            let revision = |key: &str| status.get("revision").and_then(|revision| revision.get(key)).cloned();
            let (running, offered) = (revision("running"), revision("offered"));
            json!({
                "id": url,
                "admin": url,
                "up": true,
                "version": status.get("version"),
                "started": status.get("started"),
                "running": running,
                "offered": offered,
                "lags": running != offered,
                "problems": status.get("problems").and_then(Value::as_array).map(Vec::len),
            })
        }
    }
}
