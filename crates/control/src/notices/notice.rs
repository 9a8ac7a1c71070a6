//! One notice, as its author makes it and as it is kept until every channel has it.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::message::Message;
use crate::state::{Slot, StateError, Transaction, to_json};

/// Records of notices that some channel does not have yet.
pub(super) const OUTBOX: &str = "outbox/";

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Started,
    /// A step began.
    Step,
    Paused,
    Resumed,
    Completed,
    RolledBack,
    Promoted,
    /// It waits for a person.
    Waiting,
    /// It has not gone on for ten minutes, for want of something else than a person or time.
    Held,
    /// Someone changed documents past the second person.
    Foreign,
    /// The store is nearly full.
    Quota,
    /// Someone wanted to see whether a channel works.
    Test,
}

impl Event {
    pub fn as_str(self) -> &'static str {
        match self {
            Event::Started => "started",
            Event::Step => "step",
            Event::Paused => "paused",
            Event::Resumed => "resumed",
            Event::Completed => "completed",
            Event::RolledBack => "rolled_back",
            Event::Promoted => "promoted",
            Event::Waiting => "waiting",
            Event::Held => "held",
            Event::Foreign => "foreign",
            Event::Quota => "quota",
            Event::Test => "test",
        }
    }

    /// In the words of a heading.
    pub fn words(self) -> &'static str {
        match self {
            Event::Started => "started",
            Event::Step => "a step began",
            Event::Paused => "paused",
            Event::Resumed => "resumed",
            Event::Completed => "completed",
            Event::RolledBack => "rolled back",
            Event::Promoted => "promoted",
            Event::Waiting => "waits for a person",
            Event::Held => "does not go on",
            Event::Foreign => "changed past the second person",
            Event::Quota => "the store is nearly full",
            Event::Test => "a test",
        }
    }
}

impl Event {
    /// What happened and why. Each is a sentence of its own, so that each can be told in another language.
    fn telling(self, why: &str) -> String {
        match self {
            _ if why.is_empty() => self.words().to_owned(),
            Event::Started => format!("started: {why}"),
            Event::Step => format!("a step began: {why}"),
            Event::Paused => format!("paused: {why}"),
            Event::Resumed => format!("resumed: {why}"),
            Event::Completed => format!("completed: {why}"),
            Event::RolledBack => format!("rolled back: {why}"),
            Event::Promoted => format!("promoted: {why}"),
            Event::Waiting => format!("waits for a person: {why}"),
            Event::Held => format!("does not go on: {why}"),
            // These belong to no plan, and have texts of their own.
            Event::Foreign | Event::Quota | Event::Test => why.to_owned(),
        }
    }
}

/// Whom a notice is for, beside those who read it in the console.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipients {
    /// These channels of control.yaml, as a plan names them.
    Channels(Vec<String>),
    /// Every channel: it belongs to no plan.
    All,
}

/// The run of a plan that a notice is about, as it is after what happened.
#[derive(Clone, PartialEq, Debug)]
pub struct Subject {
    pub services: Vec<String>,
    pub version: String,
    pub plan: String,
    pub run: u64,
    /// From 0; none before the first began.
    pub step: Option<usize>,
    /// Such as `ACTIVE`; `PROMOTED` as well.
    pub state: String,
    /// As the plan names them.
    pub channels: Vec<String>,
}

/// One notice.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// Sorts by time; what receivers know a repetition by.
    pub id: String,
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    pub services: Vec<String>,
    pub version: Option<String>,
    pub plan: Option<String>,
    pub run: Option<u64>,
    pub step: Option<usize>,
    pub event: Event,
    pub state: Option<String>,
    /// One sentence or two: what happened to what, and why in figures.
    pub text: String,
    /// Below the control address, such as `/plans/patient-8`.
    pub link: String,
    pub to: Recipients,
    /// The channels that have it.
    #[serde(default)]
    pub delivered: Vec<String>,
}

impl Notice {
    /// Of a plan's run. `why` says in figures why it happened, such as `errors 3.1 % beside 0.4 %`, or who did it.
    pub fn of_plan(subject: &Subject, event: Event, why: &str, now: OffsetDateTime) -> Notice {
        let Subject { services, version, plan, run, step, state, channels } = subject;
        let (services_said, said) = (services.join(", "), event.telling(why));
        let text = match step {
            Some(step) => {
                format!("{services_said} {version}: plan `{plan}`, run {run}, step {step} ({state}): {said}")
            }
            None => format!("{services_said} {version}: plan `{plan}`, run {run} ({state}): {said}"),
        };
        Notice {
            id: Notice::id_at(now),
            time: now,
            services: services.clone(),
            version: Some(version.clone()),
            plan: Some(plan.clone()),
            run: Some(*run),
            step: *step,
            event,
            state: Some(state.clone()),
            text,
            link: format!("/plans/{plan}?run={run}"),
            to: Recipients::Channels(channels.clone()),
            delivered: Vec::new(),
        }
    }

    /// Of something that belongs to no plan; every channel gets it.
    pub fn of_plane(event: Event, text: String, link: &str, now: OffsetDateTime) -> Notice {
        Notice {
            id: Notice::id_at(now),
            time: now,
            services: Vec::new(),
            version: None,
            plan: None,
            run: None,
            step: None,
            event,
            state: None,
            text,
            link: link.to_owned(),
            to: Recipients::All,
            delivered: Vec::new(),
        }
    }

    /// Of nothing but that a channel works; it goes to that one alone.
    pub fn of_test(channel: &str, by: &str, now: OffsetDateTime) -> Notice {
        let text = format!("a test of the channel `{channel}`, by {by}");
        let to = Recipients::Channels(vec![channel.to_owned()]);
        Notice { to, ..Notice::of_plane(Event::Test, text, "/channels", now) }
    }

    /// Adds it to the transaction that writes what it tells of: in the outbox, and as a message in the console. It is
    /// told exactly if that is written, and told again where a crash comes between.
    pub fn queue(&self, transaction: &mut Transaction) -> Result<(), StateError> {
        let message = Message {
            id: self.id.clone(),
            time: self.time,
            kind: if self.plan.is_some() { "plan" } else { self.event.as_str() }.to_owned(),
            services: self.services.clone(),
            text: self.text.clone(),
            link: Some(self.link.clone()),
            read_by: Default::default(),
        };
        message.put(transaction)?;
        let has_recipients = match &self.to {
            Recipients::All => true,
            Recipients::Channels(channels) => !channels.is_empty(),
        };
        if has_recipients {
            let record = self.record();
            transaction.put(Slot::record(&record), to_json(&record, self)?);
        }
        Ok(())
    }

    /// A new one; names made of them sort by time.
    pub fn id_at(now: OffsetDateTime) -> String {
        format!("{:016x}{}", now.unix_timestamp_nanos(), crate::people::short_id())
    }

    pub(super) fn record(&self) -> String {
        format!("{OUTBOX}{}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Write;

    fn subject(channels: &[&str]) -> Subject {
        Subject {
            services: vec!["patient".into(), "portal".into()],
            version: "gray".into(),
            plan: "patient-8".into(),
            run: 3,
            step: Some(1),
            state: "ROLLBACK".into(),
            channels: channels.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn names(transaction: &Transaction) -> Vec<String> {
        transaction.writes.iter().map(|write| write.slot().to_string()).collect()
    }

    #[test]
    fn a_notice_says_what_happened_to_what_and_why() {
        let why = "errors: 31 of 1000 beside 4 of 19000";
        let notice = Notice::of_plan(&subject(&[]), Event::RolledBack, why, OffsetDateTime::UNIX_EPOCH);
        assert_eq!(
            notice.text,
            "patient, portal gray: plan `patient-8`, run 3, step 1 (ROLLBACK): rolled back: errors: 31 of 1000 beside 4 of 19000"
        );
        assert_eq!(notice.link, "/plans/patient-8?run=3");
    }

    #[test]
    fn it_is_written_with_what_it_tells_of() {
        let mut transaction = Transaction::default();
        let notice = Notice::of_plan(&subject(&["ops"]), Event::Paused, "by li", OffsetDateTime::UNIX_EPOCH);
        notice.queue(&mut transaction).unwrap();
        assert_eq!(names(&transaction), [format!("messages/{}", notice.id), format!("outbox/{}", notice.id)]);
        let Write::Put(_, value) = &transaction.writes[1] else { panic!("{transaction:?}") };
        assert_eq!(serde_json::from_slice::<Notice>(value).unwrap(), notice);
    }

    #[test]
    fn without_channels_it_is_a_message_alone() {
        let mut transaction = Transaction::default();
        let now = OffsetDateTime::UNIX_EPOCH;
        Notice::of_plan(&subject(&[]), Event::Paused, "", now).queue(&mut transaction).unwrap();
        assert_eq!(transaction.writes.len(), 1);
        let mut transaction = Transaction::default();
        Notice::of_plane(Event::Quota, "71 %".into(), "/", now).queue(&mut transaction).unwrap();
        assert_eq!(transaction.writes.len(), 2);
    }
}
