//! What happens, told to those who listen: numbered, kept for a while, resumable.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use utoipa::ToSchema;

/// Events that are kept for those who were away.
const KEPT: usize = 10_000;
/// Streams of one principal.
pub const STREAM_LIMIT: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    Plan,
    Document,
    Problem,
    Services,
    Message,
    Fleet,
    /// Something was missed that is not kept any more: read everything again.
    Reset,
}

impl EventKind {
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Plan => "plan",
            EventKind::Document => "document",
            EventKind::Problem => "problem",
            EventKind::Services => "services",
            EventKind::Message => "message",
            EventKind::Fleet => "fleet",
            EventKind::Reset => "reset",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Event {
    pub number: u64,
    pub kind: EventKind,
    pub body: Arc<Value>,
}

/// The events of this process.
pub struct Events {
    /// Names this process's numbers, so that those of another one are not taken for them.
    boot: String,
    kept: Mutex<Kept>,
    newest: watch::Sender<u64>,
    streams: Arc<Streams>,
}

#[derive(Default)]
struct Kept {
    newest: u64,
    events: VecDeque<Event>,
}

/// Who listens, and on how many streams.
#[derive(Default)]
pub struct Streams {
    open: Mutex<HashMap<String, usize>>,
}

impl Default for Events {
    fn default() -> Events {
        Events {
            boot: crate::people::short_id(),
            kept: Mutex::default(),
            newest: watch::Sender::new(0),
            streams: Arc::default(),
        }
    }
}

/// A listener's place.
pub struct Subscription {
    seen: u64,
    newest: watch::Receiver<u64>,
    must_reset: bool,
    streams: Arc<Streams>,
    who: String,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock();
        if let Some(count) = open.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.who);
            }
        }
    }
}

impl Events {
    pub fn tell(&self, kind: EventKind, body: Value) {
        let mut kept = self.kept.lock();
        kept.newest += 1;
        let event = Event { number: kept.newest, kind, body: Arc::new(body) };
        kept.events.push_back(event);
        if kept.events.len() > KEPT {
            kept.events.pop_front();
        }
        let newest = kept.newest;
        drop(kept);
        self.newest.send_replace(newest);
    }

    /// The id under which an event is resumed behind.
    pub fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.boot)
    }

    /// Whether anyone listens: what is costly to find out is found out for listeners alone.
    pub fn has_listeners(&self) -> bool {
        !self.streams.open.lock().is_empty()
    }

    /// How many streams of one principal are open.
    pub fn open_streams(&self, who: &str) -> usize {
        self.streams.open.lock().get(who).copied().unwrap_or(0)
    }

    /// A place behind the event that was seen last; `None`: too many streams of this principal.
    pub fn subscribe(&self, who: &str, last: Option<&str>) -> Option<Subscription> {
        {
            let mut open = self.streams.open.lock();
            let count = open.entry(who.to_owned()).or_insert(0);
            if *count >= STREAM_LIMIT {
                return None;
            }
            *count += 1;
        }
        let kept = self.kept.lock();
        let oldest = kept.events.front().map_or(kept.newest + 1, |event| event.number);
        let known = last.and_then(|last| {
            let (boot, number) = last.rsplit_once('-')?;
            let number: u64 = number.parse().ok()?;
            (boot == self.boot && number <= kept.newest && number + 1 >= oldest).then_some(number)
        });
        Some(Subscription {
            seen: known.unwrap_or(kept.newest),
            newest: self.newest.subscribe(),
            must_reset: last.is_some() && known.is_none(),
            streams: self.streams.clone(),
            who: who.to_owned(),
        })
    }

    /// The next events behind those seen; waits until there are some.
    pub async fn next(&self, place: &mut Subscription) -> Vec<Event> {
        if std::mem::take(&mut place.must_reset) {
            return vec![self.reset(place.seen)];
        }
        loop {
            let newest = *place.newest.borrow_and_update();
            if newest > place.seen {
                return self.behind(place);
            }
            if place.newest.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn behind(&self, place: &mut Subscription) -> Vec<Event> {
        let kept = self.kept.lock();
        let oldest = kept.events.front().map_or(0, |event| event.number);
        let is_gap = place.seen + 1 < oldest;
        let seen = std::mem::replace(&mut place.seen, kept.newest);
        if is_gap {
            return vec![self.reset(kept.newest)];
        }
        kept.events.iter().filter(|event| event.number > seen).cloned().collect()
    }

    fn reset(&self, number: u64) -> Event {
        Event { number, kind: EventKind::Reset, body: Arc::new(Value::Object(serde_json::Map::new())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn events_are_resumed_where_they_were_left() {
        let events = Events::default();
        for i in 0..3 {
            events.tell(EventKind::Document, json!({"i": i}));
        }
        let mut place = events.subscribe("li", Some(&events.id(1))).unwrap();
        let found: Vec<_> = events.next(&mut place).await.iter().map(|event| event.number).collect();
        assert_eq!(found, [2, 3]);
        for unknown in ["", "other-1", &events.id(77)] {
            let mut place = events.subscribe("li", Some(unknown)).unwrap();
            let found = events.next(&mut place).await;
            assert_eq!(found.len(), 1, "{unknown}");
            assert_eq!(found[0].kind, EventKind::Reset);
        }
    }

    #[tokio::test]
    async fn a_gap_that_is_not_kept_is_one_reset() {
        let events = Events::default();
        let mut slow = events.subscribe("li", None).unwrap();
        for i in 0..KEPT + 10 {
            events.tell(EventKind::Services, json!(i));
        }
        let found = events.next(&mut slow).await;
        assert_eq!((found.len(), found[0].kind), (1, EventKind::Reset));
        events.tell(EventKind::Services, json!("next"));
        assert_eq!(events.next(&mut slow).await[0].kind, EventKind::Services);
    }

    #[test]
    fn one_principal_has_sixteen_streams() {
        let events = Events::default();
        let mut places: Vec<_> = (0..STREAM_LIMIT).map(|_| events.subscribe("li", None).unwrap()).collect();
        assert!(events.subscribe("li", None).is_none());
        assert!(events.subscribe("wang", None).is_some());
        places.pop();
        assert!(events.subscribe("li", None).is_some());
    }
}
