//! Asking every proxy what it counted.
//!
//! Owns: the question, its deadline, and what became of each answer. Never: what rows mean.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use graygate_judge::blocks::{Names, Row};
use parking_lot::Mutex;
use serde_json::Value;

use super::answer::Answer;
use super::cursors::Cursors;
use super::link::{Answered, Asked, Budget, DEADLINE, Link};
use super::places::{Place, Places};
use crate::settings::{Config, DocumentsFrom};

/// How long one proxy may take in all, with a second question and with the reading of others that comes before.
const WHOLE_DEADLINE: Duration = DEADLINE.saturating_mul(2);
/// What answers of one round may take in memory together.
const ROUND_LIMIT: usize = 256 << 20;
/// A second that is told later than this after it began is late: it ends after one, and is asked for within another.
const LATE_AFTER: u64 = 3;

/// What every proxy is asked.
///
/// A caller that looks after many runs asks once a second for the services of all of them, and leaves out of each run the rows
/// that its own cursors include ([`Cursors::oldest`], [`Cursors::include`]): a question a run would be as many more
/// answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub services: Vec<String>,
    /// What clients' hashes are made with.
    pub salt: String,
}

/// What one round of questions brought.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Ordered by proxy, and of each proxy by second.
    pub rows: Vec<Vec<Row>>,
    /// Each proxy's own clock, in seconds, by its id.
    pub nows: BTreeMap<String, u64>,
    /// Proxies that answered.
    pub read: usize,
    /// Proxies there are.
    pub of: usize,
    /// Who did not answer, by id or else by address, and for how long that has been so.
    pub unreadable: Vec<(String, Duration)>,
    /// Seconds that were told more than three seconds after they began, by proxies that were heard before; each counts once,
    /// the caller.
    pub late: u64,
    /// Seconds that were gone before they were asked for.
    pub lost: u64,
    /// Rows that could not be read or cannot be true, by service; empty for those that name none.
    pub left_out: BTreeMap<String, u64>,
}

/// Asks proxies.
#[derive(Default)]
pub struct Gatherer {
    places: Places,
    token_file: Option<PathBuf>,
    known: Mutex<HashMap<String, Known>>,
}

/// What is known of a proxy, by its id in the fleet's keys, or by its address.
struct Known {
    link: Option<Arc<Link>>,
    /// What it called itself, where no key does.
    id: Option<String>,
    /// When it was read last, or seen first.
    read: Instant,
    /// The boot, and its newest second that was counted as late: who asks besides hears of it as well.
    late: Option<(String, u64)>,
}

/// Where a proxy is asked.
struct Target {
    /// What is known of it goes by this.
    name: String,
    id: Id,
    link: Option<Arc<Link>>,
}

/// What a proxy is called.
enum Id {
    /// By its key: no other proxy may answer for it.
    Key(String),
    /// By itself, when it answered last.
    Heard(Option<String>),
}

/// What came of one proxy.
enum Heard {
    Answer(Answer),
    /// It answers, and runs none of the services.
    Nothing,
}

impl Gatherer {
    pub fn new(config: &Config) -> Gatherer {
        let etcd = match &config.documents {
            DocumentsFrom::Directory(_) => None,
            DocumentsFrom::Etcd(settings) => Some(settings.clone()),
        };
        Gatherer {
            places: Places::new(config.proxies.clone(), etcd),
            token_file: config.admin_token_file.clone(),
            known: Mutex::default(),
        }
    }

    #[cfg(test)]
    pub fn of(places: Places, token_file: Option<PathBuf>) -> Gatherer {
        Gatherer { places, token_file, known: Mutex::default() }
    }

    /// Asks every living proxy, at once; a proxy that has not answered by the deadline is not waited for.
    pub async fn gather(&self, question: &Question, cursors: &mut Cursors) -> Gathered {
        let now = Instant::now();
        let targets = self.targets(now).await;
        let (token, budget) = (self.token(), Budget::new(ROUND_LIMIT));
        let names = Mutex::default();
        let round = Round {
            asked: question.path(),
            question,
            cursors,
            token: token.as_deref(),
            budget: &budget,
            names: &names,
        };
        let asked = targets.iter().map(|target| round.ask(target));
        let heard = join_all(asked).await;
        self.sum_up(targets.into_iter().zip(heard), cursors, now)
    }

    /// Asks every living proxy the same, and answers what each said, by address.
    pub async fn ask_all(&self, path: &str) -> Vec<(String, Result<Value, String>)> {
        self.ask_all_for(path, None).await
    }

    /// Posts every living proxy the same, or gets it where there is nothing to post.
    pub async fn ask_all_for(&self, path: &str, body: Option<Bytes>) -> Vec<(String, Result<Value, String>)> {
        let targets = self.targets(Instant::now()).await;
        let (token, budget) = (self.token(), Budget::new(ROUND_LIMIT));
        let ask = async |target: &Target| {
            let link = target.link.as_ref().ok_or_else(not_allowed)?;
            let asked = Asked { path, token: token.as_deref(), body: body.clone() };
            read(in_time(link.ask(&asked, &budget)).await?, json)
        };
        let asked = targets.iter().map(async |target| (target.name.clone(), ask(target).await));
        join_all(asked).await
    }

    /// Asks these proxies the same, each by the connection that is kept to it, and answers what `take` makes of each answer:
    /// answers are large, and none is held longer than it is read.
    pub async fn ask_these<T>(
        &self,
        path: &str,
        proxies: Vec<(String, String)>,
        take: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Vec<(String, Result<T, String>)> {
        let (token, budget) = (self.token(), Budget::new(ROUND_LIMIT));
        let linked = {
            let known = self.known.lock();
            let kept = |name: &str| known.get(name).and_then(|known| known.link.clone());
            let link = |(name, url): (String, String)| match kept(&name) {
                Some(link) => (name, Ok(link)),
                None => (name, Link::new(&url).map(Arc::new)),
            };
            proxies.into_iter().map(link).collect::<Vec<_>>()
        };
        let (token, budget, take) = (token.as_deref(), &budget, &take);
        let asked = linked.into_iter().map(async |(name, link)| {
            let answer = match link {
                Ok(link) => {
                    in_time(link.get(path, token, budget)).await.and_then(|answered| read(answered, take))
                }
                Err(error) => Err(error),
            };
            (name, answer)
        });
        join_all(asked).await
    }

    /// Every living proxy.
    pub async fn living(&self) -> Vec<Place> {
        self.places.living(Instant::now()).await
    }

    /// The token for admin addresses; read each time, so that it can be changed.
    pub fn token(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.token_file.as_ref()?).ok()?;
        Some(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    async fn targets(&self, now: Instant) -> Vec<Target> {
        let places = self.places.living(now).await;
        let mut known = self.known.lock();
        let names: BTreeSet<String> = places.iter().map(name).collect();
        known.retain(|name, _| names.contains(name));
        let target = |place: &Place| {
            let name = name(place);
            let known = known.entry(name.clone()).or_insert_with(|| Known {
                link: None,
                id: None,
                read: now,
                late: None,
            });
            if known.link.is_none() {
                known.link = place.url.as_deref().and_then(|url| Link::new(url).ok()).map(Arc::new);
            }
            let link = known.link.clone().filter(|_| place.url.is_some());
            let id = place.id.clone().map_or_else(|| Id::Heard(known.id.clone()), Id::Key);
            Target { id, link, name }
        };
        places.iter().map(target).collect()
    }

    fn sum_up(
        &self,
        heard: impl Iterator<Item = (Target, Result<Heard, String>)>,
        cursors: &mut Cursors,
        now: Instant,
    ) -> Gathered {
        let mut gathered = Gathered::default();
        let mut known = self.known.lock();
        for (target, heard) in heard {
            gathered.of += 1;
            let Some(known) = known.get_mut(&target.name) else { continue };
            match heard.and_then(|heard| gathered.take(heard, cursors, &mut known.late)) {
                Ok(id) => {
                    gathered.read += 1;
                    known.read = now;
                    known.id = id.or(known.id.take());
                }
                Err(error) => {
                    tracing::debug!(proxy = target.name, error, "a proxy did not say what it counted");
                    let since = now.saturating_duration_since(known.read);
                    gathered.unreadable.push((target.id.text().map_or(target.name, str::to_owned), since));
                }
            }
        }
        cursors.forget_old();
        gathered.rows.sort_by(|one, other| teller_of(one).cmp(&teller_of(other)));
        gathered.rows.iter_mut().for_each(|rows| rows.sort_by_key(|row| row.key.second));
        gathered
    }
}

fn teller_of(rows: &[Row]) -> Option<&str> {
    rows.first().map(|row| &*row.key.teller.proxy)
}

impl Id {
    fn text(&self) -> Option<&str> {
        match self {
            Id::Key(id) => Some(id),
            Id::Heard(id) => id.as_deref(),
        }
    }
}

fn name(place: &Place) -> String {
    place.id.clone().or_else(|| place.url.clone()).unwrap_or_default()
}

fn not_allowed() -> String {
    "its admin address is not among those that may be asked: see `proxies` of the file".to_owned()
}

async fn in_time<T>(asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late = || format!("no answer within {} ms", WHOLE_DEADLINE.as_millis());
    tokio::time::timeout(WHOLE_DEADLINE, asked).await.unwrap_or_else(|_| Err(late()))
}

fn read<T>(answered: Answered<'_>, take: impl Fn(&[u8]) -> Result<T, String>) -> Result<T, String> {
    match answered.status {
        200 => take(&answered.body),
        status => Err(format!("answered {status}")),
    }
}

fn json(body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

impl Question {
    /// The part of the path that is the same for every proxy.
    fn path(&self) -> String {
        observations(&self.services, &self.salt)
    }
}

fn observations<S: AsRef<str>>(services: &[S], salt: &str) -> String {
    let services: Vec<&str> = services.iter().map(AsRef::as_ref).collect();
    format!("/observations?services={}&salt={}", services.join(","), escaped(salt))
}

fn escaped(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

impl Gathered {
    /// Takes one proxy's answer; answers what the proxy calls itself.
    fn take(
        &mut self,
        heard: Heard,
        cursors: &mut Cursors,
        counted: &mut Option<(String, u64)>,
    ) -> Result<Option<String>, String> {
        let Heard::Answer(answer) = heard else { return Ok(None) };
        if self.nows.insert(answer.proxy.clone(), answer.now).is_some() {
            return Err(format!("`{}` has answered at another address", answer.proxy));
        }
        let is_known = cursors.of(&answer.proxy).is_some_and(|cursor| cursor.boot == answer.cursor.boot);
        if is_known {
            let before = counted.as_ref().filter(|(boot, _)| *boot == answer.cursor.boot);
            let first = before.map_or(0, |(_, second)| second + 1);
            let late = answer.rows.iter().map(|row| row.key.second);
            let late: BTreeSet<u64> =
                late.filter(|second| *second >= first && second + LATE_AFTER < answer.now).collect();
            self.late += late.len() as u64;
            if let Some(newest) = late.last() {
                *counted = Some((answer.cursor.boot.clone(), *newest));
            }
        }
        self.lost += answer.lost;
        if !answer.rows.is_empty() {
            self.rows.push(answer.rows);
        }
        for (service, rows) in answer.left_out {
            *self.left_out.entry(service).or_default() += rows;
        }
        cursors.note(&answer.proxy, answer.cursor);
        Ok(Some(answer.proxy))
    }
}

/// One round of questions.
struct Round<'a> {
    asked: String,
    question: &'a Question,
    cursors: &'a Cursors,
    token: Option<&'a str>,
    budget: &'a Budget,
    names: &'a Mutex<Names>,
}

impl Round<'_> {
    async fn ask(&self, target: &Target) -> Result<Heard, String> {
        let link = target.link.as_ref().ok_or_else(not_allowed)?;
        in_time(self.ask_link(link, &target.id)).await
    }

    async fn ask_link(&self, link: &Link, id: &Id) -> Result<Heard, String> {
        let answered = self.get(link, &self.asked, id.text()).await?;
        if answered.status != 404 {
            return self.read_or_again((link, id), answered, &self.asked).await;
        }
        // A proxy that lags behind does not know all of them yet; the others count all the same.
        let unknown = String::from_utf8_lossy(&answered.body).into_owned();
        drop(answered);
        let unknown: Vec<&str> = unknown.split('`').skip(1).step_by(2).collect();
        let services: Vec<&String> =
            self.question.services.iter().filter(|service| !unknown.contains(&service.as_str())).collect();
        if services.is_empty() {
            return Ok(Heard::Nothing);
        }
        let asked = observations(&services, &self.question.salt);
        let answered = self.get(link, &asked, id.text()).await?;
        self.read_or_again((link, id), answered, &asked).await
    }

    async fn read_or_again(
        &self,
        (link, id): (&Link, &Id),
        answered: Answered<'_>,
        asked: &str,
    ) -> Result<Heard, String> {
        let answer = self.read(answered)?;
        let is_other = id.text() != Some(&answer.proxy);
        match id {
            Id::Key(id) if is_other => Err(format!("`{}` answers in place of `{id}`", answer.proxy)),
            Id::Heard(_) if is_other && self.cursors.of(&answer.proxy).is_some() => {
                // Whom it was is known only now, and with it up to where it was heard.
                let again = self.get(link, asked, Some(&answer.proxy)).await?;
                self.read(again).map(Heard::Answer)
            }
            _ => Ok(Heard::Answer(answer)),
        }
    }

    /// Reads a body while it is one of the few that are held.
    fn read(&self, answered: Answered<'_>) -> Result<Answer, String> {
        read(answered, |body| Answer::read(body, &mut self.names.lock()))
    }

    async fn get(&self, link: &Link, asked: &str, id: Option<&str>) -> Result<Answered<'_>, String> {
        let cursor = id.and_then(|id| self.cursors.of(id));
        let path = match cursor {
            Some(cursor) => format!("{asked}&after={}", escaped(&cursor.text)),
            None => asked.to_owned(),
        };
        link.get(&path, self.token, self.budget).await
    }
}
