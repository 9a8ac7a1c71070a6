//! Channels of notices: which there are, whether they work, and what became of what was sent.
//!
//! Owns: the test of a channel, and reading the log of deliveries. Never: an address, which the file alone names, or what
//! the other side answered.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::clock::rfc3339;
use super::plane::Control;
use super::write::Plan;
use crate::audit::Deed;
use crate::error::{Error, Result};
use crate::notices::{DELIVERIES, Notice, Outcome, Tried, Tries, note, try_once};
use crate::people::{Permission, Principal};
use crate::settings::{Channel, ChannelKind, ChatFormat, Tongue};
use crate::state::{Order, PAGE_LIMIT, Range, Transaction, read_json};

/// Records that are looked through for one page of one channel's.
const LOOKED_THROUGH: usize = 10_000;

/// A channel without its address: that may hold a secret.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct ChannelShown {
    pub name: String,
    /// `mail`, or a webhook's format.
    pub kind: String,
    /// `en` or `zh`.
    pub language: String,
    /// What was sent last.
    pub last: Option<DeliveryShown>,
}

/// What became of one notice on one channel.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct DeliveryShown {
    pub notice: String,
    pub channel: String,
    /// Such as `rolled_back`, or `test`.
    pub event: String,
    pub plan: Option<String>,
    /// What the notice is about.
    pub link: String,
    pub first: String,
    pub last: String,
    pub attempts: u32,
    /// `delivered`, `failed` (it is tried again, a test is not), `given_up`, or `unknown`: control.yaml has no such
    /// channel.
    pub outcome: Outcome,
    /// Why the last try failed; never what the other side said.
    pub why: Option<String>,
}

impl DeliveryShown {
    fn of(tries: Tries) -> DeliveryShown {
        DeliveryShown {
            notice: tries.notice,
            channel: tries.channel,
            event: tries.event.as_str().to_owned(),
            plan: tries.plan,
            link: tries.link,
            first: rfc3339(tries.first),
            last: rfc3339(tries.last),
            attempts: tries.attempts,
            outcome: tries.outcome,
            why: tries.why,
        }
    }
}

fn kind(channel: &Channel) -> &'static str {
    match &channel.kind {
        ChannelKind::Mail(_) => "mail",
        ChannelKind::Webhook(webhook) => match webhook.format {
            ChatFormat::Json => "json",
            ChatFormat::Dingtalk => "dingtalk",
            ChatFormat::Wecom => "wecom",
            ChatFormat::Feishu => "feishu",
            ChatFormat::Slack => "slack",
        },
    }
}

impl Control {
    /// The channels there are, and what was sent last by each.
    pub async fn channels(&self, who: &Principal) -> Result<Vec<ChannelShown>> {
        who.may_somewhere(Permission::Read)?;
        let mut last: BTreeMap<String, DeliveryShown> = BTreeMap::new();
        for entry in self.state.list(&Range::newest(DELIVERIES, PAGE_LIMIT)).await? {
            let tries = read_json::<Tries>(&entry.name, &entry.stored.value)?;
            last.entry(tries.channel.clone()).or_insert_with(|| DeliveryShown::of(tries));
        }
        let shown = self.channels.all.iter().map(|(name, channel)| ChannelShown {
            name: name.clone(),
            kind: kind(channel).to_owned(),
            language: match channel.tongue {
                Tongue::English => "en",
                Tongue::Chinese => "zh",
            }
            .to_owned(),
            last: last.remove(name),
        });
        Ok(shown.collect())
    }

    /// A page of what became of notices, newest first, and where the next one begins.
    pub async fn deliveries(
        &self,
        who: &Principal,
        channel: Option<&str>,
        (limit, after): (usize, Option<&str>),
    ) -> Result<(Vec<DeliveryShown>, Option<String>)> {
        who.may_somewhere(Permission::Read)?;
        let mut range = Range { order: Order::Descending, ..Range::all(DELIVERIES) };
        range.after = after.map(|after| format!("{DELIVERIES}{after}"));
        let mut found = Vec::new();
        let mut looked = 0;
        loop {
            let page = self.state.list(&range).await?;
            let Some(end) = page.last().map(|entry| entry.name.clone()) else { return Ok((found, None)) };
            for entry in page {
                looked += 1;
                let tries = read_json::<Tries>(&entry.name, &entry.stored.value)?;
                if channel.is_none_or(|channel| tries.channel == channel) {
                    found.push(DeliveryShown::of(tries));
                }
                if found.len() >= limit || looked >= LOOKED_THROUGH {
                    let next = entry.name.strip_prefix(DELIVERIES).map(str::to_owned);
                    return Ok((found, next));
                }
            }
            range.after = Some(end);
        }
    }

    /// Sends a message that says what it is, once, and tells what came of it.
    pub async fn test_channel(&self, who: &Principal, name: &str) -> Result<DeliveryShown> {
        who.may_somewhere(Permission::Move)?;
        let channel =
            self.channels.all.get(name).ok_or_else(|| Error::not_found(format!("channels/{name}")))?;
        self.channels.begin_test(name, self.clock.instant()).map_err(|after| {
            let detail = format!("`{name}` was tested a moment ago");
            Error::TooMany { detail, after }
        })?;
        // What went out stands in the audit, whatever becomes of this process meanwhile.
        let deed = Deed::ok(who, "channel.test", format!("channels/{name}"));
        let audit = self.write(Plan::new(deed)).await?.head.shown();
        let notice = Notice::of_test(name, &who.name, self.clock.now());
        let sent = try_once(channel, &notice, (&self.channels.base, &audit), self.clock.now()).await;
        let outcome = if sent.is_ok() { Outcome::Delivered } else { Outcome::Failed };
        self.metrics.notice(name, outcome.as_str());
        let mut tried = Tried::of(&notice, name, (self.clock.now(), outcome));
        if let Err(failure) = sent {
            tried = tried.because(failure);
        }
        if let Err(error) = note(&*self.state, std::slice::from_ref(&tried), Transaction::default()).await {
            tracing::warn!(%error, channel = name, "a test could not be noted in the log of deliveries");
        }
        Ok(DeliveryShown::of(Tries::after(None, &tried)))
    }
}
