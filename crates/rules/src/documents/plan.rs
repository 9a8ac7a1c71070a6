//! Plans: how a version's audience grows by itself, and what takes it back.
//!
//! Owns: the text of a plan as types, with every default. Never: what a plan does; proxies check it and no more.

use std::time::Duration;

use super::condition::{Condition, read_attribute};
use super::fields::{Emptiness, Field, Map};
use crate::vocab::{Attribute, DocumentId, Name, Share};

/// Longest name of a plan: the rules it writes carry it inside their own names.
const NAME_LIMIT: usize = 100;
/// Rules written by hand come first, unless a plan says otherwise.
const PRIORITY: i32 = -1000;
/// How long guards go on after the last step.
const WATCH: Duration = Duration::from_secs(3600);
/// How often a measure is asked for.
const EVERY: Duration = Duration::from_secs(30);
/// Most that may be tolerated: above it there is nothing left to see.
const MOST_TOLERATED: f64 = 100.0;
/// A guard that is as likely wrong as right is none.
const LARGEST_ALPHA: f64 = 0.5;
const STEPS: usize = 100;

#[derive(Clone, Debug)]
pub struct Plan {
    pub title: Option<String>,
    pub subject: Subject,
    /// Who can take part at all; `None`: every user.
    pub when: Option<Condition>,
    /// What is hashed instead of the service's identity.
    pub by: Option<Vec<Attribute>>,
    /// `None`: the plan's name.
    pub salt: Option<String>,
    pub priority: i32,
    pub steps: Vec<Step>,
    pub guards: Guards,
    pub on_regression: OnRegression,
    pub on_unknown: OnUnknown,
    pub watch: Duration,
    pub promote: Promotion,
    /// Steps begin only inside one of them; none: at any time.
    pub windows: Vec<Window>,
    pub channels: Vec<Name>,
}

/// What a plan moves.
#[derive(Clone, Debug)]
pub enum Subject {
    /// All of them move together.
    Services {
        services: Vec<Name>,
        version: Name,
    },
    Config(ConfigValues),
}

/// Other values for some keys of an application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigValues {
    pub app: Name,
    pub environment: Name,
    pub group: Name,
    pub values: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub name: Option<String>,
    pub share: Option<Share>,
    pub who: Option<Condition>,
    pub hold: Duration,
    pub min_requests: Option<u64>,
    /// Asked before the step begins.
    pub approval: bool,
    pub tolerate: Option<f64>,
}

/// Whether a guard was written, and how. `Unwritten` differs from `Off` where a default stands in.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Guard<T> {
    #[default]
    Unwritten,
    Off,
    On(T),
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Guards {
    pub errors: Guard<Relative>,
    pub latency: Guard<Relative>,
    pub error_rate: Guard<Limit<Share>>,
    pub latency_p99: Guard<Limit<Duration>>,
    pub fallback: Guard<Limit<Share>>,
    pub metrics: Vec<Metric>,
}

/// Gray beside release; what is not written has the guard's default.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Relative {
    pub tolerate: Option<f64>,
    pub alpha: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limit<T> {
    pub above: T,
    pub alpha: Option<f64>,
}

/// A number asked for elsewhere.
#[derive(Clone, PartialEq, Debug)]
pub struct Metric {
    pub name: Name,
    pub from: Name,
    pub query: String,
    pub bound: Bound,
    pub every: Duration,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Bound {
    Above(f64),
    Below(f64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnRegression {
    Rollback,
    Pause,
}

/// What a step does whose hold is over without proof or enough requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnUnknown {
    Hold,
    Advance,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Promotion {
    Manual,
    Automatic,
}

/// Days and a time of day in a zone: `Mon-Fri 09:00-17:00 Asia/Shanghai`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window {
    /// From Monday.
    pub days: [bool; 7],
    /// Minutes of the day; an end at or before the beginning is one of the day after.
    pub from: u16,
    pub to: u16,
    /// A name of the zone database, or `UTC`.
    pub zone: String,
}

impl Plan {
    pub fn read(id: &DocumentId, field: &Field<'_>) -> Option<Plan> {
        let mut map = field.map()?;
        if id.name.len() > NAME_LIMIT {
            map.wrong::<()>(format!("a plan's name has at most {NAME_LIMIT} characters"), "rename the plan");
        }
        let subject = read_subject(&mut map);
        let steps = map.required("steps").and_then(|f| read_steps(&f));
        let guards = map.or("guards", Guards::default(), Guards::read);
        let plan = Plan {
            title: map.get("title").and_then(|f| f.text().map(str::to_owned)),
            when: map.get("when").and_then(|f| Condition::read_when(&f)),
            by: map.get("by").and_then(|f| f.list_of(Emptiness::Refused, read_attribute)),
            salt: map.get("salt").and_then(|f| f.text().map(str::to_owned)),
            priority: map.or("priority", PRIORITY, Field::priority),
            on_regression: map.or("on_regression", OnRegression::Rollback, |f| {
                f.word(&[("rollback", OnRegression::Rollback), ("pause", OnRegression::Pause)])
            }),
            on_unknown: map.or("on_unknown", OnUnknown::Hold, |f| {
                f.word(&[("hold", OnUnknown::Hold), ("advance", OnUnknown::Advance)])
            }),
            watch: map.or("watch", WATCH, Field::duration),
            promote: map.or("promote", Promotion::Manual, |f| {
                f.word(&[("manual", Promotion::Manual), ("automatic", Promotion::Automatic)])
            }),
            windows: map.or("windows", Vec::new(), |f| f.list_of(Emptiness::Refused, read_window)),
            channels: map.or("channels", Vec::new(), |f| f.list_of(Emptiness::Refused, Field::name)),
            subject: subject?,
            steps: steps?,
            guards,
        };
        if matches!(plan.subject, Subject::Services { .. }) && plan.guards.are_all_off() {
            map.wrong::<()>("every guard is off", "a plan that widens by itself needs one that can stop it");
        }
        map.note_unknown();
        Some(plan)
    }

    /// The conditions of all its parts, each with the field it stands in.
    pub fn conditions(&self) -> impl Iterator<Item = (String, &Condition)> {
        let who = self.steps.iter().enumerate();
        let who = who.filter_map(|(i, step)| Some((format!("steps[{i}].who"), step.who.as_ref()?)));
        self.when.iter().map(|when| ("when".to_owned(), when)).chain(who)
    }
}

fn read_subject(map: &mut Map<'_>) -> Option<Subject> {
    map.know(&["version"]);
    match map.one_of(&["services", "config"])? {
        ("services", f) => {
            let services = f.list_of(Emptiness::Refused, Field::name);
            let version = map.required("version").and_then(|f| match f.name()? {
                version if version.as_str() == Name::RELEASE => {
                    f.wrong("every user has `release` already", "name the version its audience gets")
                }
                version => Some(version),
            });
            Some(Subject::Services { services: services?, version: version? })
        }
        (_, f) => {
            if map.has("version") {
                map.wrong::<()>("`version` has no meaning beside `config`", "take it out");
            }
            let mut config = f.map()?;
            let app = config.required("app").and_then(|f| f.name());
            let environment = config.required("environment").and_then(|f| f.name());
            let group = config.required("group").and_then(|f| f.name());
            let values = config.required("values").and_then(|f| {
                let read = |(key, value): (&str, Field<'_>)| Some((key.to_owned(), value.text()?.to_owned()));
                let values: Vec<_> = f.entries()?.into_iter().map(read).collect();
                if values.is_empty() {
                    return f.wrong("no values", "name at least one key and its value");
                }
                values.into_iter().collect()
            });
            config.note_unknown();
            Some(Subject::Config(ConfigValues {
                app: app?,
                environment: environment?,
                group: group?,
                values: values?,
            }))
        }
    }
}

fn read_steps(field: &Field<'_>) -> Option<Vec<Step>> {
    let items = field.list(Emptiness::Refused)?;
    if items.len() > STEPS {
        return field.wrong(format!("more than {STEPS} steps"), "join some of them");
    }
    let mut steps = Vec::new();
    let mut before: Option<Share> = None;
    for item in &items {
        let step = read_step(item);
        let share = step.as_ref().and_then(|step| step.share);
        if let (Some(share), Some(before)) = (share, before)
            && share <= before
        {
            item.below("share").wrong::<()>(
                format!("a share of {share} after one of {before}"),
                "shares must grow from step to step",
            );
        }
        before = share.or(before);
        steps.push(step);
    }
    steps.into_iter().collect()
}

fn read_step(field: &Field<'_>) -> Option<Step> {
    let mut map = field.map()?;
    let share = map.get("share").and_then(|f| match f.share()? {
        Share::ZERO => f.wrong("a share of 0 adds no user", "take the step out"),
        share => Some(share),
    });
    let step = Step {
        name: map.get("name").and_then(|f| f.text().map(str::to_owned)),
        share,
        who: map.get("who").and_then(|f| Condition::read_when(&f)),
        hold: map.or("hold", Duration::ZERO, Field::duration),
        min_requests: map.get("min_requests").and_then(|f| f.integer(0, i64::MAX)?.try_into().ok()),
        approval: map.or("approval", false, Field::boolean),
        tolerate: map.get("tolerate").and_then(|f| read_tolerate(&f)),
    };
    if !map.has("share") && !map.has("who") {
        map.wrong::<()>("a step that adds no user", "give it a `share`, or say `who`");
    }
    map.note_unknown();
    Some(step)
}

impl Guards {
    /// What stands behind `guards:`.
    pub fn read(field: &Field<'_>) -> Option<Guards> {
        let mut map = field.map()?;
        let guards = Guards {
            errors: read_guard(&mut map, "errors", read_relative),
            latency: read_guard(&mut map, "latency", read_relative),
            error_rate: read_guard(&mut map, "error_rate", |f| read_limit(f, |above| above.percent())),
            latency_p99: read_guard(&mut map, "latency_p99", |f| read_limit(f, |above| above.duration())),
            fallback: read_guard(&mut map, "fallback", |f| read_limit(f, |above| above.percent())),
            metrics: map.or("metrics", Vec::new(), |f| f.list_of(Emptiness::Refused, read_metric)),
        };
        map.note_unknown();
        Some(guards)
    }

    /// Nothing would ever stop the plan; three guards are on where they are not written.
    fn are_all_off(&self) -> bool {
        self.errors == Guard::Off
            && self.latency == Guard::Off
            && self.fallback == Guard::Off
            && !matches!(self.error_rate, Guard::On(_))
            && !matches!(self.latency_p99, Guard::On(_))
            && self.metrics.is_empty()
    }
}

fn read_guard<T>(
    map: &mut Map<'_>,
    key: &'static str,
    read: impl FnOnce(&Field<'_>) -> Option<T>,
) -> Guard<T> {
    match map.get(key) {
        None => Guard::Unwritten,
        Some(field) if field.is_text("off") => Guard::Off,
        Some(field) => read(&field).map_or(Guard::Off, Guard::On),
    }
}

fn read_relative(field: &Field<'_>) -> Option<Relative> {
    let mut map = field.map()?;
    let tolerate = map.get("tolerate").and_then(|f| read_tolerate(&f));
    let alpha = map.get("alpha").and_then(|f| read_alpha(&f));
    map.note_unknown();
    Some(Relative { tolerate, alpha })
}

fn read_limit<T>(field: &Field<'_>, read: impl FnOnce(&Field<'_>) -> Option<T>) -> Option<Limit<T>> {
    let mut map = field.map()?;
    let above = map.required("above").and_then(|f| read(&f));
    let alpha = map.get("alpha").and_then(|f| read_alpha(&f));
    map.note_unknown();
    Some(Limit { above: above?, alpha })
}

fn read_metric(field: &Field<'_>) -> Option<Metric> {
    let mut map = field.map()?;
    let name = map.required("name").and_then(|f| f.name());
    let from = map.required("from").and_then(|f| f.name());
    let query = map.required("query").and_then(|f| f.text().map(str::to_owned));
    let bound = match map.one_of(&["above", "below"]) {
        Some(("above", f)) => read_number(&f).map(Bound::Above),
        Some((_, f)) => read_number(&f).map(Bound::Below),
        None => None,
    };
    let every = map.or("every", EVERY, Field::duration);
    map.note_unknown();
    Some(Metric { name: name?, from: from?, query: query?, bound: bound?, every })
}

fn read_tolerate(field: &Field<'_>) -> Option<f64> {
    match read_number(field)? {
        number if (1.0..=MOST_TOLERATED).contains(&number) => Some(number),
        number => field.wrong(format!("`{number}` is not from 1 to {MOST_TOLERATED}"), ""),
    }
}

fn read_alpha(field: &Field<'_>) -> Option<f64> {
    match read_number(field)? {
        number if number > 0.0 && number <= LARGEST_ALPHA => Some(number),
        number => field.wrong(format!("`{number}` is not above 0 and at most {LARGEST_ALPHA}"), ""),
    }
}

fn read_number(field: &Field<'_>) -> Option<f64> {
    let text = field.number()?;
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Some(number),
        _ => field.wrong(format!("`{text}` is not a number like `1.2`"), ""),
    }
}

fn read_window(field: &Field<'_>) -> Option<Window> {
    field.parsed("a window like `Mon-Fri 09:00-17:00 Asia/Shanghai`", Window::parse)
}

impl Window {
    fn parse(text: &str) -> Option<Window> {
        let mut words = text.split_whitespace();
        let (days, times, zone) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() || !zone.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b))
        {
            return None;
        }
        let (from, to) = times.split_once('-')?;
        Some(Window { days: read_days(days)?, from: minutes(from)?, to: minutes(to)?, zone: zone.to_owned() })
    }
}

/// `Mon-Fri`, `Sat,Sun`, or both kinds joined by commas; a range may go over the end of the week.
fn read_days(text: &str) -> Option<[bool; 7]> {
    const NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let day = |name: &str| NAMES.iter().position(|known| *known == name);
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let count = (last + NAMES.len() - first) % NAMES.len();
        for at in first..=first + count {
            *days.get_mut(at % NAMES.len())? = true;
        }
    }
    Some(days)
}

fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, end: u16| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>().ok().filter(|number| digits && *number <= end)
    };
    let (hours, minutes) = (number(hours, 24)?, number(minutes, 59)?);
    Some(hours * 60 + minutes).filter(|minutes| *minutes <= 24 * 60)
}
