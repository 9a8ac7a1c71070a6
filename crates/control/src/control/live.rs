//! What proxies say: of themselves (`/status`), and second by second of their requests (`/observations`).
//!
//! Owns: which proxies there are and which of them may be asked, asking them once a second while somebody wants to know,
//! and the sums of the last seconds. Never: a verdict, or an address that the file does not allow.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use graygate_rules::documents::Kind;
use graygate_store::etcd::EtcdSettings;
use graygate_store::fleet;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::{Control, EventKind};
use crate::client::get_json;
use crate::error::{Error, Result};
use crate::people::{Permission, Principal};
use crate::settings::{Config, DocumentsFrom, ProxiesFrom};

/// Between two questions to the proxies.
const EVERY: Duration = Duration::from_secs(1);
/// How long a proxy may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long after somebody wanted to know it is still found out.
const WANTED_FOR: Duration = Duration::from_secs(30);
/// Seconds that are kept; on the leader, who asks all the time, these are an hour's.
const KEPT: u64 = 3_600;
/// The windows figures are told for, in seconds.
const WINDOWS: [(&str, u64); 3] = [("10s", 10), ("1m", 60), ("1h", KEPT)];

/// Where proxies are, and what they said last.
#[derive(Default)]
pub struct Live {
    proxies: ProxiesFrom,
    etcd: Option<EtcdSettings>,
    token_file: Option<PathBuf>,
    heard: Mutex<Heard>,
}

/// By service and version.
type Sums = BTreeMap<(String, String), Sum>;

#[derive(Default)]
struct Heard {
    wanted: Option<Instant>,
    /// By admin address.
    proxies: BTreeMap<String, Proxy>,
    /// Sums by service and version, of each second, oldest first.
    seconds: VecDeque<(u64, Sums)>,
    fleet: Option<Value>,
}

/// A proxy as it answered last.
#[derive(Clone, Default)]
struct Proxy {
    cursor: Option<String>,
    boot: Option<String>,
    status: Option<Value>,
    error: Option<String>,
}

/// What was counted of one version in a time.
#[derive(Clone, Default)]
struct Sum {
    requests: u64,
    errors: u64,
    fallbacks: u64,
    timed: u64,
    slower: Vec<u64>,
}

impl Sum {
    fn add(&mut self, other: &Sum) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.fallbacks += other.fallbacks;
        self.timed += other.timed;
        if self.slower.len() < other.slower.len() {
            self.slower.resize(other.slower.len(), 0);
        }
        self.slower.iter_mut().zip(&other.slower).for_each(|(sum, more)| *sum += more);
    }

    fn of(row: &Value) -> Sum {
        let number = |key: &str| row.get(key).and_then(Value::as_u64).unwrap_or(0);
        let slower = row.get("slower").and_then(Value::as_array).into_iter().flatten();
        Sum {
            requests: number("requests"),
            errors: number("errors"),
            fallbacks: number("fallbacks"),
            timed: number("timed"),
            slower: slower.map(|count| count.as_u64().unwrap_or(0)).collect(),
        }
    }

    /// The first edge, `1.2^k` ms, that at most this share of requests were slower than.
    fn quantile(&self, share: f64) -> Option<f64> {
        if self.timed == 0 {
            return None;
        }
        let most = (self.timed as f64 * (1.0 - share)).floor() as u64;
        let slow = self.slower.iter().take_while(|count| **count > most).count();
        Some((1.2f64.powi(i32::try_from(slow).unwrap_or(0)) * 100.0).round() / 100.0)
    }

    fn shown(&self, seconds: u64) -> Value {
        let share = |count: u64| {
            if self.requests == 0 { Value::Null } else { json!(count as f64 / self.requests as f64) }
        };
        json!({
            "requests": self.requests,
            "requests_per_second": self.requests as f64 / seconds as f64,
            "errors": self.errors,
            "error_share": share(self.errors),
            "p50_ms": self.quantile(0.5),
            "p99_ms": self.quantile(0.99),
            "fallbacks": self.fallbacks,
        })
    }
}

impl Live {
    pub fn new(config: &Config) -> std::result::Result<Live, String> {
        let etcd = match &config.documents {
            DocumentsFrom::Directory(_) => None,
            DocumentsFrom::Etcd(settings) => Some(settings.clone()),
        };
        Ok(Live {
            proxies: config.proxies.clone(),
            etcd,
            token_file: config.admin_token_file.clone(),
            heard: Mutex::default(),
        })
    }

    /// Whether the fleet differs from what was told last.
    fn is_news(&self, fleet: &Value) -> bool {
        let mut heard = self.heard.lock();
        let is_news = heard.fleet.as_ref() != Some(fleet);
        if is_news {
            heard.fleet = Some(fleet.clone());
        }
        is_news
    }

    /// What a proxy's cursor was.
    fn cursor(&self, url: &str) -> Option<String> {
        self.heard.lock().proxies.get(url).and_then(|proxy| proxy.cursor.clone())
    }

    /// Somebody wants to know.
    fn want(&self, now: Instant) {
        self.heard.lock().wanted = Some(now);
    }

    fn is_wanted(&self, now: Instant) -> bool {
        let wanted = self.heard.lock().wanted;
        wanted.is_some_and(|at| now.saturating_duration_since(at) < WANTED_FOR)
    }

    /// Notes what proxies said of themselves.
    fn note(&self, answers: Vec<(String, std::result::Result<Value, String>)>) {
        let mut heard = self.heard.lock();
        for (url, answer) in answers {
            let proxy = heard.proxies.entry(url).or_default();
            (proxy.status, proxy.error) = match answer {
                Ok(status) => (Some(status), None),
                Err(error) => (None, Some(error)),
            };
        }
    }

    /// The token for admin addresses; read each time, so that it can be changed.
    fn token(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.token_file.as_ref()?).ok()?;
        Some(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// Whether an address of the fleet's keys may be asked.
    fn allows(&self, address: &str) -> bool {
        let ProxiesFrom::Fleet(allowed) = &self.proxies else { return false };
        let plain = address.trim_start_matches("http://").trim_start_matches("https://");
        let Ok(address) = plain.trim_end_matches('/').parse::<std::net::SocketAddr>() else { return false };
        allowed
            .iter()
            .any(|(net, port)| net.contains(&address.ip()) && port.is_none_or(|port| port == address.port()))
    }
}

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

impl Heard {
    fn take(
        &mut self,
        url: &str,
        status: std::result::Result<Value, String>,
        counted: std::result::Result<Value, String>,
    ) {
        let proxy = self.proxies.entry(url.to_owned()).or_default();
        (proxy.status, proxy.error) = match status {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error)),
        };
        let Ok(counted) = counted else { return };
        let text = |key: &str| counted.get(key).and_then(Value::as_str).map(str::to_owned);
        (proxy.cursor, proxy.boot) = (text("cursor"), text("boot"));
        for row in counted.get("seconds").and_then(Value::as_array).into_iter().flatten() {
            let second = row.get("second").and_then(Value::as_u64).unwrap_or(0);
            let name = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            self.add(second, (name("service"), name("version")), &Sum::of(row));
        }
    }

    fn add(&mut self, second: u64, key: (String, String), sum: &Sum) {
        let newest = self.seconds.back().map_or(second, |(newest, _)| *newest).max(second);
        while self.seconds.front().is_some_and(|(oldest, _)| *oldest + KEPT < newest) {
            self.seconds.pop_front();
        }
        let place = self.seconds.partition_point(|(known, _)| *known < second);
        if self.seconds.get(place).is_none_or(|(known, _)| *known != second) {
            self.seconds.insert(place, (second, BTreeMap::new()));
        }
        if let Some((_, sums)) = self.seconds.get_mut(place) {
            sums.entry(key).or_default().add(sum);
        }
    }

    /// A service's versions: figures and instances.
    fn service(&self, name: &str, with_hour: bool) -> Value {
        let newest = self.seconds.back().map_or(0, |(second, _)| *second);
        let mut versions: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        for (window, length) in WINDOWS {
            let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
            for (_, seconds) in self.seconds.iter().filter(|(second, _)| second + length > newest) {
                for ((service, version), sum) in seconds {
                    if service == name {
                        sums.entry(version).or_default().add(sum);
                    }
                }
            }
            for (version, sum) in sums {
                let told = if length == KEPT && !with_hour { Value::Null } else { sum.shown(length) };
                versions.entry(version.to_owned()).or_default().insert(window.to_owned(), told);
            }
        }
        let mut instances: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let status = self.proxies.values().find_map(|proxy| proxy.status.as_ref());
        let known = status.and_then(|status| status.get("services")?.get(name)?.get("versions")?.as_object());
        for (version, told) in known.into_iter().flatten() {
            let listed = told.get("instances").and_then(Value::as_array).cloned().unwrap_or_default();
            instances.insert(version.clone(), listed);
        }
        let live: Vec<Value> =
            versions.into_iter().map(|(version, live)| json!({"version": version, "live": live})).collect();
        let pools: Vec<Value> = instances
            .into_iter()
            .map(|(version, listed)| json!({"version": version, "instances": listed}))
            .collect();
        json!({"name": name, "versions": live, "pools": pools})
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_figures_by_version() {
        let mut heard = Heard::default();
        let row = |second: u64, version: &str, requests: u64| {
            json!({"second": second, "service": "patient", "version": version, "requests": requests, "errors": 1,
                "timed": 100, "slower": [100, 51, 50, 2, 1], "fallbacks": 2})
        };
        let counted = json!({"proxy": "p", "boot": "b", "cursor": "7", "seconds": [row(1_000, "gray", 50), row(1_009, "gray", 50), row(940, "release", 10)]});
        heard.take("http://127.0.0.1:9090", Err("away".into()), Ok(counted));
        let told = heard.service("patient", false);
        let gray = &told["versions"][0];
        assert_eq!(gray["live"]["10s"]["requests"], 100);
        assert_eq!(gray["live"]["10s"]["requests_per_second"], 10.0);
        assert_eq!(gray["live"]["10s"]["error_share"], 0.02);
        assert_eq!(gray["live"]["10s"]["p50_ms"], 1.44);
        assert_eq!((&gray["live"]["1h"], &told["versions"][1]["live"].get("1m")), (&Value::Null, &None));
        assert_eq!(heard.proxies["http://127.0.0.1:9090"].cursor.as_deref(), Some("7"));
    }

    #[test]
    fn only_what_the_file_allows_is_asked() {
        let live = Live {
            proxies: ProxiesFrom::Fleet(vec![("10.0.0.0/8".parse().unwrap(), Some(9090))]),
            ..Live::default()
        };
        for (address, allowed) in [
            ("10.1.2.3:9090", true),
            ("http://10.1.2.3:9090/", true),
            ("10.1.2.3:22", false),
            ("169.254.169.254:9090", false),
            ("evil.example:9090", false),
            ("10.1.2.3:9090@evil.example", false),
        ] {
            assert_eq!(live.allows(address), allowed, "{address}");
        }
    }
}
