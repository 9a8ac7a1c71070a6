//! Asking proxies: of themselves (`/status`), and second by second of their requests (`/observations`).
//!
//! Owns: asking them once a second while somebody wants to know, and telling what they say. Never: a verdict.

use std::time::Duration;

use graygate_rules::documents::Kind;
use graygate_store::fleet;
use serde_json::{Value, json};

use super::events::EventKind;
use super::plane::Control;
use crate::client::get_json;
use crate::error::{Error, Result};
use crate::people::{Permission, Principal};
use crate::settings::ProxiesFrom;

/// Between two questions to the proxies.
const EVERY: Duration = Duration::from_secs(1);
/// How long a proxy may take to answer.
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

    /// Who runs what, and who lags.
    pub async fn fleet(&self, who: &Principal) -> Result<Value> {
        who.may_somewhere(Permission::Read)?;
        self.live.want(self.clock.instant());
        self.look_at_fleet().await
    }

    async fn look_at_fleet(&self) -> Result<Value> {
        if let Some(settings) = &self.live.etcd {
            let looked = tokio::time::timeout(PATIENCE, fleet::look(settings)).await;
            let looked = looked.map_err(|_| Error::Away("etcd does not answer".to_owned()))?;
            return looked.map(|fleet| json!(fleet)).map_err(|error| Error::Away(error.to_string()));
        }
        let ProxiesFrom::Named(urls) = &self.live.proxies else {
            return Ok(json!({"revision": null, "proxies": [], "unreadable": []}));
        };
        let token = self.live.token();
        let asked = urls.iter().map(|url| {
            let token = token.clone();
            async move { (url.clone(), get_json(&format!("{url}/status"), token.as_deref(), PATIENCE).await) }
        });
        let answers = futures_util::future::join_all(asked).await;
        let proxies: Vec<Value> = answers.iter().map(|(url, answer)| shown(url, answer)).collect();
        self.live.note(answers);
        Ok(json!({"revision": null, "proxies": proxies, "unreadable": []}))
    }

    /// The admin addresses that may be asked.
    async fn admin_addresses(&self) -> Vec<String> {
        match &self.live.proxies {
            ProxiesFrom::Named(urls) => urls.clone(),
            ProxiesFrom::Fleet(_) => {
                let Ok(fleet) = self.look_at_fleet().await else { return Vec::new() };
                let proxies = fleet.get("proxies").and_then(Value::as_array).cloned().unwrap_or_default();
                let admin = proxies.iter().filter_map(|proxy| proxy.get("admin").and_then(Value::as_str));
                let allowed = admin.filter(|address| self.live.allows(address));
                let url = |address: &str| {
                    if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
                };
                allowed.map(url).collect()
            }
        }
    }

    /// Asks the proxies once a second while somebody wants to know, and tells what they say.
    pub async fn observe(&self) {
        loop {
            tokio::time::sleep(EVERY).await;
            let now = self.clock.instant();
            if !self.live.is_wanted(now) && !self.events.has_listeners() {
                continue;
            }
            self.ask_proxies().await;
            if self.events.has_listeners() {
                self.tell_services();
                self.tell_fleet().await;
            }
        }
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

    async fn ask_proxies(&self) {
        let names: Vec<String> = self.view().good(Kind::Service).map(|(id, _)| id.name.to_string()).collect();
        let token = self.live.token();
        let mut questions = Vec::new();
        for url in self.admin_addresses().await {
            let after = self.live.cursor(&url).map(|cursor| format!("&after={cursor}")).unwrap_or_default();
            let token = token.clone();
            let observations = format!("{url}/observations?services={}{after}", names.join(","));
            questions.push(async move {
                let status = get_json(&format!("{url}/status"), token.as_deref(), PATIENCE).await;
                let counted = get_json(&observations, token.as_deref(), PATIENCE).await;
                (url, status, counted)
            });
        }
        let answers = futures_util::future::join_all(questions).await;
        let mut heard = self.live.heard.lock();
        for (url, status, counted) in answers {
            heard.take(&url, status, counted);
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
