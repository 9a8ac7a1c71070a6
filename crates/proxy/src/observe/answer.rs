//! The answer, as JSON: rows by second, with clients under the question's salt.

use std::sync::Arc;

use graygate_rules::vocab::Share;
use serde::{Serialize, Serializer};

use super::client::{is_sampled, salted};
use super::counting::Told;
use super::edges::milliseconds;
use super::identity::Identity;
use super::question::{Cursor, Question};
use super::second::{Closed, ClosedRow, Crowd};

/// Clients with an error in one row; where there would be more, all rows of the service's second tell a sample.
const CLIENT_LIMIT: usize = 256;

#[derive(Serialize, Debug)]
pub struct Answer {
    proxy: String,
    boot: String,
    cursor: String,
    lost: u64,
    edges_ms: &'static [f64],
    now: u64,
    counting_since: u64,
    left_out: u64,
    seconds: Vec<Entry>,
}

#[derive(Serialize, Debug)]
struct Entry {
    second: u64,
    service: Box<str>,
    route: Box<str>,
    rule: Option<Box<str>>,
    #[serde(serialize_with = "percent")]
    share: Share,
    version: Box<str>,
    requests: u32,
    timed: u32,
    undrawn: u32,
    errors: u32,
    error_clients: Vec<String>,
    sampled: u32,
    fallbacks: u32,
    slower: Box<[u32]>,
}

impl Answer {
    pub fn of(identity: &Identity, question: &Question, told: Told) -> Answer {
        let Told { now, counting_since, mut lost, next, seconds } = told;
        let mut left_out = 0;
        let mut entries = Vec::new();
        for second in &seconds {
            let telling = Telling { second, question };
            match telling.entries(&mut entries) {
                Ok(requests) => left_out += requests,
                Err(Unsampled) => lost += 1,
            }
        }
        Answer {
            proxy: identity.proxy.clone(),
            boot: identity.boot.clone(),
            cursor: Cursor { boot: identity.boot.as_str().into(), next }.to_string(),
            lost,
            edges_ms: milliseconds(),
            now,
            counting_since,
            left_out,
            seconds: entries,
        }
    }
}

/// So many failed that only a sample was kept, by other salts than the question's.
struct Unsampled;

/// One second, for one question.
struct Telling<'a> {
    second: &'a Closed,
    question: &'a Question,
}

impl Telling<'_> {
    /// Adds its rows; answers how many requests had none.
    fn entries(&self, entries: &mut Vec<Entry>) -> Result<u64, Unsampled> {
        let begun = entries.len();
        let mut left_out = 0;
        for service in &self.question.services {
            let service = service.as_str();
            let rows: Vec<&ClosedRow> =
                self.second.rows.iter().filter(|row| *row.key.service == *service).collect();
            let crowd = self.second.services.get(service);
            left_out += crowd.map_or(0, |crowd| crowd.left_out);
            let Some(kept) = crowd.map_or(Some(0), |crowd| self.kept(crowd)) else {
                entries.truncate(begun);
                return Err(Unsampled);
            };
            self.tell(&rows, kept, entries);
        }
        Ok(left_out)
    }

    /// The sample that was kept; none where it is of other salts.
    fn kept(&self, crowd: &Crowd) -> Option<u32> {
        (crowd.sampled == 0 || crowd.salts.contains(&self.question.salt)).then_some(crowd.sampled)
    }

    fn tell(&self, rows: &[&ClosedRow], kept: u32, entries: &mut Vec<Entry>) {
        let salt: &Arc<str> = &self.question.salt;
        let hashed = |row: &&ClosedRow| row.failing.iter().map(|client| salted(salt, client)).collect();
        let hashed: Vec<Vec<u64>> = rows.iter().map(hashed).collect();
        let sampled = sample(&hashed, kept);
        for (row, hashes) in rows.iter().zip(hashed) {
            let told = hashes.into_iter().filter(|hash| is_sampled(*hash, sampled));
            let mut told: Vec<String> = told.map(|hash| format!("{hash:016x}")).collect();
            // In no order that says who came first, and each once.
            told.sort_unstable();
            told.dedup();
            entries.push(Entry {
                second: self.second.second,
                service: row.key.service.clone(),
                route: row.key.route.clone(),
                rule: row.key.rule.clone(),
                share: row.key.share,
                version: row.key.version.clone(),
                requests: row.counts.requests,
                timed: row.counts.timed,
                undrawn: row.counts.undrawn,
                errors: row.counts.errors,
                error_clients: told,
                sampled,
                fallbacks: row.counts.fallbacks,
                slower: row.slower.clone(),
            });
        }
    }
}

/// The bits that have to be 0 so that no row has too many clients.
fn sample(rows: &[Vec<u64>], kept: u32) -> u32 {
    let fits = |bits: &u32| {
        let told = |row: &Vec<u64>| row.iter().filter(|hash| is_sampled(**hash, *bits)).count();
        rows.iter().all(|row| told(row) <= CLIENT_LIMIT)
    };
    (kept..u64::BITS).find(fits).unwrap_or(u64::BITS)
}

/// A share in percent, a whole number where it is one.
fn percent<S: Serializer>(share: &Share, serializer: S) -> Result<S::Ok, S::Error> {
    let hundredths = share.hundredths();
    match hundredths % 100 {
        0 => serializer.serialize_u16(hundredths / 100),
        _ => serializer.serialize_f64(f64::from(hundredths) / 100.0),
    }
}
