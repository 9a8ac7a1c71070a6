//! What proxies said last, and the sums of the last seconds.
//!
//! Owns: what is kept of their answers, and for how long. Never: asking them, which `evidence` knows, or a verdict.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use graygate_judge::blocks::{Counts, Edges, Row};
use graygate_store::etcd::EtcdSettings;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::evidence::{Gathered, Gatherer};
use crate::settings::{Config, DocumentsFrom};
use crate::state::{Figure, Figures};

/// How long after a caller wanted to know it is still found out.
const WANTED_FOR: Duration = Duration::from_secs(30);
/// Between two questions for what proxies say of themselves.
const STATUS_EVERY: Duration = Duration::from_secs(2);
/// Seconds that are kept one by one: the longest short window, and what a proxy may tell late.
const SECONDS: u64 = 180;
/// Minutes that are kept; on the leader, who asks all the time, these are a whole hour's.
const MINUTES: u64 = 60;
const MINUTE: u64 = 60;
/// The shares of requests whose latency is told: those the judge compares.
pub const QUANTILES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 0.999];
/// The windows that seconds are summed for.
const WINDOWS: [(&str, u64); 2] = [("10s", 10), ("1m", 60)];
/// The window that minutes are summed for.
const HOUR: &str = "1h";

/// Seconds that one point of a chart is summed over, so that few requests make no saw.
const SMOOTHED: u64 = 5;

/// A version's figures at a second, over the last few.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Moment {
    pub second: u64,
    pub per_second: f64,
    /// None without requests.
    pub error_share: Option<f64>,
    /// At each of [`QUANTILES`].
    pub latency_ms: [Option<f64>; 5],
}

/// A version's last minutes; at seconds of which no one told there is nothing.
#[derive(Clone, PartialEq, Debug)]
pub struct Course {
    pub version: String,
    pub moments: Vec<(u64, Option<Moment>)>,
}

/// What proxies said last.
#[derive(Default)]
pub struct Live {
    /// Asks them.
    pub gatherer: Gatherer,
    pub(super) etcd: Option<EtcdSettings>,
    pub(super) heard: Mutex<Heard>,
    figures: Option<Figures>,
}

/// By service, then by version.
type Sums = BTreeMap<Box<str>, BTreeMap<Box<str>, Sum>>;

/// What each proxy said of itself, by id or address.
type Statuses = BTreeMap<String, Result<Value, String>>;

#[derive(Default)]
pub(super) struct Heard {
    pub(super) wanted: Option<Instant>,
    pub(super) statuses: Statuses,
    asked_for_status: Option<Instant>,
    /// Sums of each second, oldest first.
    seconds: VecDeque<(u64, Sums)>,
    /// Sums of each minute, oldest first.
    minutes: VecDeque<(u64, Sums)>,
    /// The last second that is over.
    newest: u64,
    fleet: Option<Value>,
    /// Seconds that were added to since they were written down.
    changed: BTreeSet<u64>,
    /// Services that plans hear of each second anyway: no one asks for them twice.
    covered: BTreeMap<Box<str>, Covered>,
}

/// Who tells of a service: from one second until before another plans do, and no other counts.
struct Covered {
    from: u64,
    until: u64,
    told: Instant,
}

/// So many seconds after plans began to tell of a service everything before was told by who asked until then, also at rest.
const TAKEN_OVER: u64 = 10;
/// Plans that were silent for so long tell no more of it.
const SILENT: Duration = Duration::from_secs(3);
/// And so much later every user who asks has gone on from there.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// What was counted of one version in a time.
#[derive(Clone, Default, Serialize, Deserialize)]
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

    fn count(&mut self, counts: &Counts) {
        self.requests += counts.requests;
        self.errors += counts.errors;
        self.fallbacks += counts.fallbacks;
        self.timed += counts.timed;
        if self.slower.len() < counts.slower.len() {
            self.slower.resize(counts.slower.len(), 0);
        }
        self.slower.iter_mut().zip(&counts.slower).for_each(|(sum, more)| *sum += more);
    }

    /// The first edge, `1.2^k` ms, that at most this share of requests were slower than.
    fn quantile(&self, share: f64) -> Option<f64> {
        if self.timed == 0 {
            return None;
        }
        let most = (self.timed as f64 * (1.0 - share)).floor() as u64;
        let slow = self.slower.iter().take_while(|count| **count > most).count();
        let edges = Edges::usual();
        let edge = edges.at(slow.min(edges.len().saturating_sub(1)))?;
        Some((edge * 100.0).round() / 100.0)
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
            "p90_ms": self.quantile(0.9),
            "p95_ms": self.quantile(0.95),
            "p99_ms": self.quantile(0.99),
            "p999_ms": self.quantile(0.999),
            "fallbacks": self.fallbacks,
        })
    }
}

impl Live {
    pub fn new(config: &Config) -> Live {
        let etcd = match &config.documents {
            DocumentsFrom::Directory(_) => None,
            DocumentsFrom::Etcd(settings) => Some(settings.clone()),
        };
        // Figures may be lost, so a state that does not take them keeps no process from starting.
        let figures = config.state.as_deref().filter(|state| state.is_dir()).map(Figures::open).transpose();
        let figures = figures.inspect_err(|error| tracing::warn!(error, "figures are not written down"));
        let figures = figures.ok().flatten();
        let kept = figures.as_ref().map(Figures::all).and_then(Result::ok).unwrap_or_default();
        let heard = Mutex::new(Heard::of(&kept));
        Live { gatherer: Gatherer::new(config), etcd, heard, figures }
    }

    /// Writes down what was added since the last time; what cannot be written is only lost with the process.
    pub(super) fn write_down(&self) {
        let Some(figures) = &self.figures else { return };
        let (rows, oldest) = self.heard.lock().unwritten();
        if rows.is_empty() {
            return;
        }
        if let Err(error) = figures.keep(&rows, oldest) {
            tracing::debug!(error, "figures of some seconds could not be written down");
        }
    }

    /// What plans heard of their services, which is not asked for again.
    pub(super) fn hear_of_plans(&self, gathered: &Gathered, services: &[String], now: Instant) {
        self.heard.lock().take_of_plans(gathered, services, now);
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

    /// A caller wants to know.
    pub(super) fn want(&self, now: Instant) {
        self.heard.lock().wanted = Some(now);
    }

    pub(super) fn is_wanted(&self, now: Instant) -> bool {
        let wanted = self.heard.lock().wanted;
        wanted.is_some_and(|at| now.saturating_duration_since(at) < WANTED_FOR)
    }

    /// Whether it is time to ask what proxies say of themselves; asked, it is not for a while.
    pub(super) fn wants_status(&self, now: Instant) -> bool {
        let asked = &mut self.heard.lock().asked_for_status;
        let is_due = asked.is_none_or(|at| now.saturating_duration_since(at) >= STATUS_EVERY);
        if is_due {
            *asked = Some(now);
        }
        is_due
    }
}

impl Heard {
    pub(super) fn take(&mut self, gathered: &Gathered) {
        self.reach(gathered);
        self.add_rows(gathered, |covered, second| {
            covered.is_none_or(|covered| !(covered.from..covered.until).contains(&second))
        });
        self.forget();
    }

    fn take_of_plans(&mut self, gathered: &Gathered, services: &[String], now: Instant) {
        self.reach(gathered);
        let newest = self.newest;
        for service in services {
            // Proxies' clocks differ by a second.
            let fresh = Covered { from: newest + 2, until: newest + 2, told: now };
            let covered = self.covered.entry(service.as_str().into()).or_insert(fresh);
            if now.saturating_duration_since(covered.told) >= SILENT {
                (covered.from, covered.until) = (newest + 2, newest + 2);
            }
            (covered.until, covered.told) = (covered.until.max(newest + 1), now);
        }
        self.add_rows(gathered, |covered, second| covered.is_some_and(|covered| second >= covered.from));
        self.forget();
    }

    /// Whether plans tell of a service, so that no other asks.
    pub(super) fn is_covered(&mut self, service: &str, now: Instant) -> bool {
        let since = |covered: &Covered| now.saturating_duration_since(covered.told);
        self.covered.retain(|_, covered| since(covered) < FORGOTTEN);
        let covered = self.covered.get(service);
        covered.is_some_and(|covered| since(covered) < SILENT && covered.until >= covered.from + TAKEN_OVER)
    }

    fn add_rows(&mut self, gathered: &Gathered, counts: impl Fn(Option<&Covered>, u64) -> bool) {
        let mut sums: HashMap<_, (&Row, Sum)> = HashMap::new();
        for row in gathered.rows.iter().flatten() {
            let second = row.key.second;
            // What is from the future, or from long ago, is of a clock that is wrong.
            if second <= self.newest && second + SECONDS > self.newest {
                let (_, sum) = sums
                    .entry((second, Arc::as_ptr(&row.key.series)))
                    .or_insert_with(|| (row, Sum::default()));
                sum.count(&row.counts);
            }
        }
        for ((second, _), (row, sum)) in sums {
            let series = &row.key.series;
            if counts(self.covered.get(&series.service), second) {
                self.add(second, (&series.service, &series.version), &sum);
                self.changed.insert(second);
            }
        }
    }

    fn reach(&mut self, gathered: &Gathered) {
        // Windows end with the fleet's clock, not with the last request.
        let mut nows: Vec<u64> = gathered.nows.values().copied().collect();
        nows.sort_unstable();
        let now = nows.get(nows.len() / 2).map(|now| now.saturating_sub(1));
        let told = gathered.rows.iter().flatten().map(|row| row.key.second).max();
        self.newest = self.newest.max(now.or(told).unwrap_or(0));
    }

    /// What was written down before.
    fn of(kept: &[Figure]) -> Heard {
        let mut heard = Heard { newest: kept.last().map_or(0, |row| row.second), ..Heard::default() };
        for row in kept {
            // A row that an earlier version wrote otherwise costs its second.
            if let Ok(sum) = serde_json::from_str(&row.value) {
                heard.add(row.second, (&row.service, &row.version), &sum);
            }
        }
        heard.forget();
        heard
    }

    fn unwritten(&mut self) -> (Vec<Figure>, u64) {
        let changed = std::mem::take(&mut self.changed);
        let seconds = self.seconds.iter().filter(|(second, _)| changed.contains(second));
        let rows = seconds.flat_map(|(second, services)| {
            let versions = services.iter().flat_map(|(service, versions)| {
                versions.iter().map(move |(version, sum)| (service, version, sum))
            });
            versions.map(|(service, version, sum)| Figure {
                second: *second,
                service: service.to_string(),
                version: version.to_string(),
                value: json!(sum).to_string(),
            })
        });
        (rows.collect(), self.newest.saturating_sub(MINUTES * MINUTE))
    }

    fn add(&mut self, second: u64, of: (&str, &str), sum: &Sum) {
        add(&mut self.seconds, second, of, sum);
        add(&mut self.minutes, second / MINUTE, of, sum);
    }

    fn forget(&mut self) {
        forget(&mut self.seconds, self.newest.saturating_sub(SECONDS));
        forget(&mut self.minutes, (self.newest / MINUTE).saturating_sub(MINUTES));
    }

    /// A service's versions: figures and instances.
    pub(super) fn service(&self, name: &str, with_hour: bool) -> Value {
        let hour = sum_up(&self.minutes, (self.newest / MINUTE + 1).saturating_sub(MINUTES), name);
        let sums = WINDOWS.map(|(window, length)| {
            (window, length, sum_up(&self.seconds, (self.newest + 1).saturating_sub(length), name))
        });
        let live = hour.iter().map(|(version, of_hour)| {
            let mut told = Map::new();
            for (window, length, sums) in &sums {
                let sum = sums.get(version).cloned().unwrap_or_default();
                told.insert((*window).to_owned(), sum.shown(*length));
            }
            let of_hour = if with_hour { of_hour.shown(MINUTES * MINUTE) } else { Value::Null };
            told.insert(HOUR.to_owned(), of_hour);
            json!({"version": version, "live": told})
        });
        json!({"name": name, "versions": live.collect::<Vec<_>>(), "pools": self.pools(name)})
    }

    /// How a service's versions went, second by second.
    pub(super) fn courses(&self, name: &str) -> Vec<Course> {
        let first = (self.newest + 1).saturating_sub(SECONDS);
        let versions = sum_up(&self.seconds, first, name);
        // What is told late is waited for by the newest seconds alone.
        let from = self.seconds.iter().map(|(second, _)| *second).find(|second| *second >= first);
        let Some(from) = from else { return Vec::new() };
        let seconds = from + SMOOTHED.saturating_sub(1)..=self.newest;
        let course = |version: &str| Course {
            version: version.to_owned(),
            moments: seconds.clone().map(|second| (second, self.moment(second, (name, version)))).collect(),
        };
        versions.keys().map(|version| course(version)).collect()
    }

    fn moment(&self, second: u64, (service, version): (&str, &str)) -> Option<Moment> {
        let from = (second + 1).saturating_sub(SMOOTHED);
        let (low, high) = (
            self.seconds.partition_point(|(time, _)| *time < from),
            self.seconds.partition_point(|(time, _)| *time <= second),
        );
        let told = self.seconds.range(low..high);
        // No one told of anything: that is not the same as no requests.
        told.clone().next()?;
        let mut sum = Sum::default();
        told.filter_map(|(_, services)| services.get(service)?.get(version)).for_each(|more| sum.add(more));
        Some(Moment {
            second,
            per_second: sum.requests as f64 / SMOOTHED as f64,
            error_share: (sum.requests > 0).then(|| sum.errors as f64 / sum.requests as f64),
            latency_ms: QUANTILES.map(|share| sum.quantile(share)),
        })
    }

    /// A service's instances, as one proxy sees them.
    fn pools(&self, name: &str) -> Vec<Value> {
        let status = self.statuses.values().find_map(|status| status.as_ref().ok());
        let known = status.and_then(|status| status.get("services")?.get(name)?.get("versions")?.as_object());
        let pool = |(version, told): (&String, &Value)| {
            let listed = told.get("instances").and_then(Value::as_array).cloned().unwrap_or_default();
            json!({"version": version, "instances": listed})
        };
        known.into_iter().flatten().map(pool).collect()
    }
}

fn add(times: &mut VecDeque<(u64, Sums)>, time: u64, (service, version): (&str, &str), sum: &Sum) {
    let place = times.partition_point(|(known, _)| *known < time);
    if times.get(place).is_none_or(|(known, _)| *known != time) {
        times.insert(place, (time, BTreeMap::new()));
    }
    if let Some((_, sums)) = times.get_mut(place) {
        let versions = sums.entry(service.into()).or_default();
        versions.entry(version.into()).or_default().add(sum);
    }
}

fn forget(times: &mut VecDeque<(u64, Sums)>, before: u64) {
    while times.front().is_some_and(|(time, _)| *time < before) {
        times.pop_front();
    }
}

fn sum_up<'a>(times: &'a VecDeque<(u64, Sums)>, from: u64, service: &str) -> BTreeMap<&'a str, Sum> {
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    let first = times.partition_point(|(time, _)| *time < from);
    let versions = times.range(first..).filter_map(|(_, services)| services.get(service)).flatten();
    for (version, sum) in versions {
        sums.entry(version).or_default().add(sum);
    }
    sums
}

#[cfg(test)]
mod tests {
    use graygate_judge::blocks::Reading;

    use super::*;

    fn row(second: u64, version: &str, requests: u64) -> Row {
        let line = json!({"second": second, "proxy": "p", "service": "patient", "route": "r", "rule": null,
            "version": version, "requests": requests, "errors": 1, "timed": requests,
            "slower": [requests, 26, 25, 1], "fallbacks": 2});
        match Row::read(line.to_string().as_bytes()).unwrap() {
            Reading::Row(row) => row,
            impossible @ Reading::Impossible { .. } => panic!("{impossible:?}"),
        }
    }

    fn sum_of(row: &Row) -> Sum {
        let mut sum = Sum::default();
        sum.count(&row.counts);
        sum
    }

    #[test]
    fn what_plans_heard_is_counted_once_and_not_again_for_pages() {
        let mut heard = Heard::default();
        let begun = Instant::now();
        let at = |second: u64| Gathered {
            rows: vec![vec![row(second, "gray", 50)]],
            nows: [("a".to_owned(), second + 1)].into(),
            ..Gathered::default()
        };
        let mine = ["patient".to_owned()];
        let (mut asked, mut next) = (0, 1_000);
        // A plan begins in second 1,003 and is silent from 1,030 on; who asks besides asks for what it does not tell.
        for second in 1_000..1_045_u64 {
            let now = begun + Duration::from_secs(second - 1_000);
            if (1_003..1_030).contains(&second) {
                heard.take_of_plans(&at(second), &mine, now);
            }
            if !heard.is_covered("patient", now) {
                asked += 1;
                // By its cursor all is told that no one asked for meanwhile.
                (next..=second).for_each(|told| heard.take(&at(told)));
                next = second + 1;
            }
        }
        assert_eq!(heard.service("patient", true)["versions"][0]["live"]["1h"]["requests"], 50 * 45);
        assert_eq!(
            asked,
            45 - 18,
            "neither while plans tell nor for the three seconds in which they may again"
        );
    }

    #[test]
    fn a_restart_goes_on_with_what_was_written_down() {
        let mut heard = Heard::default();
        let rows = vec![row(4_000, "gray", 50), row(4_009, "gray", 50), row(3_940, "release", 30)];
        heard.take(&Gathered { rows: vec![rows], ..Gathered::default() });
        let (mut written, oldest) = heard.unwritten();
        assert_eq!((written.len(), oldest), (3, 409));
        assert!(heard.unwritten().0.is_empty(), "each is written once");
        written.sort_by_key(|row| row.second);
        let again = Heard::of(&written);
        assert_eq!(again.service("patient", true), heard.service("patient", true));
    }

    #[test]
    fn seconds_become_figures_by_version() {
        let mut heard = Heard::default();
        let rows = vec![row(1_000, "gray", 50), row(1_009, "gray", 50), row(940, "release", 30)];
        heard.take(&Gathered { rows: vec![rows], ..Gathered::default() });
        let told = heard.service("patient", false);
        let gray = &told["versions"][0];
        assert_eq!(gray["live"]["10s"]["requests"], 100);
        assert_eq!(gray["live"]["10s"]["requests_per_second"], 10.0);
        assert_eq!(gray["live"]["10s"]["error_share"], 0.02);
        assert_eq!(gray["live"]["10s"]["p50_ms"], 1.44);
        let slow = ["p90_ms", "p95_ms", "p99_ms", "p999_ms"].map(|key| gray["live"]["10s"][key].as_f64());
        assert!(slow.is_sorted() && slow[0].is_some(), "{slow:?}");
        assert_eq!(
            (&gray["live"]["1h"], &told["versions"][1]["live"]["1m"]["requests"]),
            (&Value::Null, &json!(0))
        );
        assert_eq!(heard.service("patient", true)["versions"][1]["live"]["1h"]["requests"], 30);
    }

    #[test]
    fn windows_move_on_without_requests() {
        let mut heard = Heard::default();
        heard.take(&Gathered { rows: vec![vec![row(1_000, "gray", 50)]], ..Gathered::default() });
        let nows = [("a".to_owned(), 1_031), ("b".to_owned(), 1_031), ("wrong".to_owned(), 9)].into();
        heard.take(&Gathered { nows, ..Gathered::default() });
        let gray = &heard.service("patient", false)["versions"][0]["live"];
        assert_eq!((&gray["10s"]["requests"], &gray["1m"]["requests"]), (&json!(0), &json!(50)));
        let nows = [("a".to_owned(), 1_000 + 3_700)].into();
        heard.take(&Gathered { nows, ..Gathered::default() });
        assert_eq!(heard.service("patient", true)["versions"], json!([]));
    }

    #[test]
    fn what_a_wrong_clock_says_is_left_out() {
        let mut heard = Heard::default();
        let nows: BTreeMap<String, u64> = [("a".to_owned(), 1_000)].into();
        heard.take(&Gathered { rows: vec![vec![row(999_999, "gray", 50)]], nows, ..Gathered::default() });
        assert_eq!(heard.service("patient", true)["versions"], json!([]));
    }

    #[test]
    fn a_course_is_smoothed_and_has_gaps_where_no_one_told() {
        let mut heard = Heard { newest: 1_000, ..Heard::default() };
        for second in (900..=930).chain(960..=1_000) {
            heard.add(second, ("patient", "gray"), &sum_of(&row(second, "gray", 100)));
            if second >= 990 {
                heard.add(second, ("patient", "release"), &sum_of(&row(second, "release", 50)));
            }
        }
        let courses = heard.courses("patient");
        assert_eq!(
            courses.iter().map(|course| course.version.as_str()).collect::<Vec<_>>(),
            ["gray", "release"]
        );
        let at = |course: &Course, second: u64| {
            course.moments.iter().find(|(known, _)| *known == second).and_then(|(_, moment)| *moment)
        };
        let (gray, release) = (&courses[0], &courses[1]);
        assert_eq!((gray.moments.first().unwrap().0, gray.moments.last().unwrap().0), (904, 1_000));
        let whole = at(gray, 920).unwrap();
        assert_eq!((whole.per_second, whole.error_share), (100.0, Some(0.01)));
        assert_eq!(at(gray, 950), None, "no one told");
        let none = at(release, 970).unwrap();
        assert_eq!((none.per_second, none.error_share, none.latency_ms), (0.0, None, [None; 5]));
        assert_eq!(at(release, 992).unwrap().per_second, 30.0, "the window is half full");
        assert!(heard.courses("other").is_empty());
    }
}
