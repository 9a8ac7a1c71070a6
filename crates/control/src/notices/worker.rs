//! One channel's way out: when something is sent, how much at once, and when it is tried again.
//!
//! Owns: the limits of each kind of channel, and the pauses after a failure. Never: the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::chat::text_limit;
use super::log::Tried;
use super::notice::Notice;
use super::outcome::{Count, Now, Outcome};
use super::send::{Failure, send};
use super::wording::Letter;
use crate::settings::{Channel, ChannelKind, ChatFormat};

/// How long, and how often, a notice is tried.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pace {
    /// The pause after the first failure; it doubles.
    pub first: Duration,
    /// The longest pause: so long after a channel is back, notices are.
    pub longest: Duration,
    /// After this a notice is given up.
    pub tried: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            tried: Duration::from_secs(3_600),
        }
    }
}

/// What a channel lacks, oldest first.
#[derive(Clone, Default)]
pub struct Wanted {
    pub notices: Vec<Arc<Notice>>,
    /// The end of the audit's chain.
    pub audit: String,
}

impl Wanted {
    pub fn is_same(&self, other: &Wanted) -> bool {
        let ids = |wanted: &Wanted| wanted.notices.iter().map(|notice| notice.id.clone()).collect::<Vec<_>>();
        ids(self) == ids(other)
    }
}

/// The worker of one channel.
pub struct Worker {
    pub name: String,
    pub channel: Channel,
    pub base: String,
    pub pace: Pace,
    pub now: Now,
    pub count: Count,
}

/// The tries of one notice that failed.
struct Failed {
    count: u32,
    next: Instant,
}

/// Between two messages to a channel, so that it stays below what it takes: DingTalk and WeCom refuse more than 20 a
/// minute, and DingTalk then everything for ten minutes; Feishu takes 100 a minute, Slack one a second.
fn spacing(channel: &Channel) -> Duration {
    match &channel.kind {
        ChannelKind::Mail(_) => Duration::ZERO,
        ChannelKind::Webhook(webhook) => match webhook.format {
            ChatFormat::Dingtalk | ChatFormat::Wecom => Duration::from_millis(3_200),
            ChatFormat::Feishu => Duration::from_secs(1),
            ChatFormat::Slack => Duration::from_millis(1_200),
            ChatFormat::Json => Duration::ZERO,
        },
    }
}

impl Worker {
    /// Sends what is wanted until no one listens any more.
    pub async fn run(self, mut wanted: watch::Receiver<Wanted>, told: mpsc::Sender<Tried>) {
        let mut tries: BTreeMap<String, Failed> = BTreeMap::new();
        // What was sent stands among the wanted until it is struck out.
        let mut sent: BTreeSet<String> = BTreeSet::new();
        let mut free = Instant::now();
        loop {
            let now = wanted.borrow_and_update().clone();
            let is_wanted = |id: &String| now.notices.iter().any(|notice| notice.id == *id);
            tries.retain(|id, _| is_wanted(id));
            sent.retain(is_wanted);
            let due: Vec<&Arc<Notice>> = now
                .notices
                .iter()
                .filter(|notice| !sent.contains(&notice.id))
                .filter(|notice| tries.get(&notice.id).is_none_or(|tries| tries.next <= Instant::now()))
                .collect();
            if due.is_empty() || free > Instant::now() {
                let next = match due.is_empty() {
                    true => tries.values().map(|tries| tries.next).min(),
                    false => Some(free),
                };
                let waits = async {
                    match next {
                        Some(next) => tokio::time::sleep_until(next).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = wanted.changed() => if changed.is_err() { return },
                    () = waits => {}
                }
                continue;
            }
            let batch = self.batch(&due);
            let (letters, behind) = due.split_at(batch);
            let done = self.send(letters, &now.audit).await;
            free = Instant::now() + spacing(&self.channel);
            match done {
                Ok(()) => {
                    for notice in letters {
                        tries.remove(&notice.id);
                        sent.insert(notice.id.clone());
                        (self.count)(&self.name, Outcome::Delivered);
                        if told.send(self.tried(notice, Outcome::Delivered)).await.is_err() {
                            return;
                        }
                    }
                }
                Err(failure) => {
                    tracing::warn!(channel = self.name, %failure, "a notice could not be delivered; it is tried again");
                    for notice in letters {
                        (self.count)(&self.name, Outcome::Failed);
                        if told.send(self.tried(notice, Outcome::Failed).because(&failure)).await.is_err() {
                            return;
                        }
                    }
                    // Where nothing gets through, the others need not find that out one by one.
                    let also = if matches!(failure, Failure::Unreachable(_)) { behind } else { &[] };
                    letters.iter().chain(also).for_each(|notice| self.put_off(&mut tries, &notice.id));
                }
            }
        }
    }

    fn tried(&self, notice: &Notice, outcome: Outcome) -> Tried {
        Tried::of(notice, &self.name, ((self.now)(), outcome))
    }

    fn put_off(&self, tries: &mut BTreeMap<String, Failed>, id: &str) {
        let tries = tries.entry(id.to_owned()).or_insert(Failed { count: 0, next: Instant::now() });
        let pause = self.pace.first.saturating_mul(1 << tries.count.min(16)).min(self.pace.longest);
        tries.count += 1;
        tries.next = Instant::now() + pause.mul_f64(0.75 + rand::random::<f64>() / 2.0);
    }

    fn letters<'a>(&'a self, notices: &'a [&Arc<Notice>], audit: &'a str) -> Vec<Letter<'a>> {
        let letter = |notice: &&'a Arc<Notice>| Letter {
            notice,
            base: &self.base,
            audit,
            tongue: self.channel.tongue,
        };
        notices.iter().map(letter).collect()
    }

    /// How many of the due go into one message.
    fn batch(&self, due: &[&Arc<Notice>]) -> usize {
        let ChannelKind::Webhook(webhook) = &self.channel.kind else { return 1 };
        let Some(limit) = text_limit(webhook.format) else { return 1 };
        // The heading, and the line of the audit.
        let mut room = limit.saturating_sub(120);
        let letters = self.letters(due, "");
        let fits = letters.iter().take_while(|letter| {
            let needs = letter.lines().len() + 2;
            let fits = needs <= room;
            room = room.saturating_sub(needs);
            fits
        });
        // One that is longer than a message is cut.
        fits.count().max(1)
    }

    async fn send(&self, notices: &[&Arc<Notice>], audit: &str) -> Result<(), Failure> {
        send(&self.channel, &self.letters(notices, audit), (self.now)()).await
    }
}
