//! What proxies said last, and the sums of the last seconds.
//!
//! Owns: which proxies there are and which of them may be asked, and what is kept of their answers. Never: asking them,
//! a verdict, or an address that the file does not allow.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use graygate_store::etcd::EtcdSettings;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::settings::{Config, DocumentsFrom, ProxiesFrom};

/// How long after somebody wanted to know it is still found out.
const WANTED_FOR: Duration = Duration::from_secs(30);
/// Seconds that are kept; on the leader, who asks all the time, these are an hour's.
const KEPT: u64 = 3_600;
/// The windows figures are told for, in seconds.
const WINDOWS: [(&str, u64); 3] = [("10s", 10), ("1m", 60), ("1h", KEPT)];

/// Where proxies are, and what they said last.
#[derive(Default)]
pub struct Live {
    pub(super) proxies: ProxiesFrom,
    pub(super) etcd: Option<EtcdSettings>,
    token_file: Option<PathBuf>,
    pub(super) heard: Mutex<Heard>,
}

/// By service and version.
type Sums = BTreeMap<(String, String), Sum>;

#[derive(Default)]
pub(super) struct Heard {
    pub(super) wanted: Option<Instant>,
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
    pub fn new(config: &Config) -> Result<Live, String> {
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
    pub(super) fn is_news(&self, fleet: &Value) -> bool {
        let mut heard = self.heard.lock();
        let is_news = heard.fleet.as_ref() != Some(fleet);
        if is_news {
            heard.fleet = Some(fleet.clone());
        }
        is_news
    }

    /// What a proxy's cursor was.
    pub(super) fn cursor(&self, url: &str) -> Option<String> {
        self.heard.lock().proxies.get(url).and_then(|proxy| proxy.cursor.clone())
    }

    /// Somebody wants to know.
    pub(super) fn want(&self, now: Instant) {
        self.heard.lock().wanted = Some(now);
    }

    pub(super) fn is_wanted(&self, now: Instant) -> bool {
        let wanted = self.heard.lock().wanted;
        wanted.is_some_and(|at| now.saturating_duration_since(at) < WANTED_FOR)
    }

    /// Notes what proxies said of themselves.
    pub(super) fn note(&self, answers: Vec<(String, Result<Value, String>)>) {
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
    pub(super) fn token(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.token_file.as_ref()?).ok()?;
        Some(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// Whether an address of the fleet's keys may be asked.
    pub(super) fn allows(&self, address: &str) -> bool {
        let ProxiesFrom::Fleet(allowed) = &self.proxies else { return false };
        let plain = address.trim_start_matches("http://").trim_start_matches("https://");
        let Ok(address) = plain.trim_end_matches('/').parse::<std::net::SocketAddr>() else { return false };
        allowed
            .iter()
            .any(|(net, port)| net.contains(&address.ip()) && port.is_none_or(|port| port == address.port()))
    }
}

impl Heard {
    pub(super) fn take(&mut self, url: &str, status: Result<Value, String>, counted: Result<Value, String>) {
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
    pub(super) fn service(&self, name: &str, with_hour: bool) -> Value {
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
