//! What each call of RocketMQ 5 says of groups, queues, handles and messages, and the same with a lane in it.
//!
//! Answers: where in a message stands what lanes change? Owns: field numbers, the marks on queues and handles, and every
//! edit, each a function from bytes to bytes. Never: which lane it is, or whether it may.

use std::collections::BTreeSet;

use crate::filter::{LANE_PROPERTY, Part, narrowed};
use crate::mutation::{self, Mutation};
use crate::wire::{self, Malformed};

/// Between a group and its lane. One underscore would share the name of a retry topic with another group and topic.
pub const GROUP_SEPARATOR: &str = "--";
/// Before a lane, behind the name of a broker that stands for the lane's queues there.
const QUEUE_MARK: &str = "~gray~";
/// Before a lane, behind a receipt handle: of a client of the lane, and of one of base that drains it.
const HANDLE_MARKS: [(&str, Taker); 2] = [("~gray~", Taker::Lane), ("~drained~", Taker::Base)];
/// Also names the lane, for consumers: theirs is the word that HTTP requests carry.
const VERSION_PROPERTY: &str = "x-gray-version";
const BAGGAGE_PROPERTY: &str = "baggage";
const BAGGAGE_KEY: &str = "gray.version";

/// `name` of a `Resource`.
pub const NAME: u64 = 2;
const MESSAGE_QUEUE: u64 = 2;
const FILTER: u64 = 3;
const BROKER: u64 = 4;
const READ: u64 = 2;

/// The way to the group of each call.
pub mod group {
    pub const FIRST: &[u64] = &[1, 2];
    pub const ASSIGNMENT: &[u64] = &[2, 2];
    pub const SETTINGS: &[u64] = &[2, 6, 1, 2];
}

/// The way to the topic.
pub mod topic {
    pub const FIRST: &[u64] = &[1, 2];
    pub const SECOND: &[u64] = &[2, 2];
    pub const OF_QUEUE: &[u64] = &[2, 1, 2];
}

/// Who took a message of a lane's group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Taker {
    /// A client of the lane.
    Lane,
    /// A client of base, while the lane has none.
    Base,
}

/// The group, or the client, of a lane.
pub fn of_lane(name: &str, lane: &str) -> String {
    let separator = if mutation::is(Mutation::Separator) { "_" } else { GROUP_SEPARATOR };
    format!("{name}{separator}{lane}")
}

/// A queue's broker without the lane it stands for, and the lane.
pub fn queue_lane(request: &[u8]) -> Result<Option<(&str, &str)>, Malformed> {
    Ok(wire::text(request, &[MESSAGE_QUEUE, BROKER, 1])?.split_once(QUEUE_MARK))
}

/// The request for the real queue.
pub fn with_broker(request: &[u8], broker: &str) -> Result<Vec<u8>, Malformed> {
    wire::set(request, &[MESSAGE_QUEUE, BROKER, 1], broker.as_bytes())
}

/// A receive with its filter narrowed.
pub fn with_filter(request: &[u8], part: &Part<'_>) -> Result<Vec<u8>, Malformed> {
    let filter = wire::get(request, &[FILTER])?.unwrap_or_default();
    wire::set(request, &[FILTER], &narrowed(filter, part)?)
}

pub fn marked_handle(handle: &str, lane: &str, taker: Taker) -> String {
    let mark = HANDLE_MARKS.iter().find(|(_, of)| *of == taker).map_or("", |(mark, _)| mark);
    format!("{handle}{mark}{lane}")
}

/// The broker's handle, and whose it is.
pub fn handle_parts(handle: &str) -> (&str, Option<(&str, Taker)>) {
    // The last one: a handle is the broker's own text, and may have anything in it.
    let found = HANDLE_MARKS
        .iter()
        .filter_map(|(mark, taker)| {
            handle.rsplit_once(mark).map(|(handle, lane)| (handle, Some((lane, *taker))))
        })
        .max_by_key(|(handle, _)| handle.len());
    found.unwrap_or((handle, None))
}

/// One message of a receive's answer: its handle marked. `None` of an answer that carries none.
pub fn with_marked_handle(answer: &[u8], lane: &str, taker: Taker) -> Result<Option<Vec<u8>>, Malformed> {
    const HANDLE: &[u64] = &[2, 3, 12];
    match wire::get(answer, HANDLE)?.map(std::str::from_utf8) {
        Some(Ok(handle)) => {
            wire::set(answer, HANDLE, marked_handle(handle, lane, taker).as_bytes()).map(Some)
        }
        _ => Ok(None),
    }
}

/// The message that an answer carries.
pub fn received(answer: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    wire::get(answer, &[2])
}

/// A user property of a message.
pub fn property<'m>(message: &'m [u8], key: &str) -> Result<Option<&'m str>, Malformed> {
    let mut found = None;
    for entry in wire::each(message, 2)? {
        if wire::text(entry, &[1])? == key {
            found = Some(wire::text(entry, &[2])?);
        }
    }
    Ok(found)
}

/// The lane that a message names itself.
pub fn named_lane(message: &[u8]) -> Result<Option<String>, Malformed> {
    if let Some(version) = property(message, VERSION_PROPERTY)?.filter(|version| !version.is_empty()) {
        return Ok(Some(version.to_owned()));
    }
    let baggage = property(message, BAGGAGE_PROPERTY)?.unwrap_or_default();
    Ok(baggage.split(',').find_map(|member| {
        // A member may have properties of its own behind a semicolon.
        let (key, value) = member.split(';').next()?.split_once('=')?;
        (key.trim() == BAGGAGE_KEY && !value.trim().is_empty()).then(|| value.trim().to_owned())
    }))
}

/// A message of a lane. A mark that a client wrote itself is replaced: it would belong to no one.
pub fn with_lane(message: &[u8], mark: &str, lane: &str) -> Result<Vec<u8>, Malformed> {
    let mut out = wire::change_each(message, 2, |entry| {
        Ok((wire::text(entry, &[1])? != LANE_PROPERTY).then(|| entry.to_vec()))
    })?;
    put_property(&mut out, LANE_PROPERTY, mark);
    if property(&out, VERSION_PROPERTY)?.is_none() {
        put_property(&mut out, VERSION_PROPERTY, lane);
    }
    Ok(out)
}

fn put_property(message: &mut Vec<u8>, key: &str, value: &str) {
    let mut entry = Vec::new();
    wire::put(&mut entry, 1, key.as_bytes());
    wire::put(&mut entry, 2, value.as_bytes());
    wire::put(message, 2, &entry);
}

/// The mark of the message that an answer carries.
pub fn lane_mark(answer: &[u8]) -> Result<Option<&str>, Malformed> {
    received(answer)?.map_or(Ok(None), |message| property(message, LANE_PROPERTY))
}

/// Where a client was told to go: to the address it used itself.
pub fn endpoints(request: &[u8], number: u64) -> Result<Option<&[u8]>, Malformed> {
    wire::get(request, &[number])
}

/// How queues are listed: by themselves, or each in an assignment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listing {
    Queues,
    Assignments,
}

impl Listing {
    fn to_broker(self) -> &'static [u64] {
        match self {
            Listing::Queues => &[BROKER],
            Listing::Assignments => &[1, BROKER],
        }
    }

    fn to_queue(self, number: u64) -> Vec<u64> {
        match self {
            Listing::Queues => vec![number],
            Listing::Assignments => vec![1, number],
        }
    }
}

/// An answer that lists queues, with every broker at the endpoints, and one more queue a broker for each lane.
pub fn with_queues(
    answer: &[u8],
    listing: Listing,
    endpoints: Option<&[u8]>,
    lanes: &[String],
) -> Result<Vec<u8>, Malformed> {
    const LISTED: u64 = 2;
    let to_broker = |last: u64| [listing.to_broker(), &[last]].concat();
    let mut out = wire::change_each(answer, LISTED, |queue| match endpoints {
        Some(endpoints) => wire::set(queue, &to_broker(3), endpoints).map(Some),
        None => Ok(Some(queue.to_vec())),
    })?;
    let mut brokers = BTreeSet::new();
    let mut added = Vec::new();
    for queue in wire::each(&out, LISTED)? {
        let broker = wire::text(queue, &to_broker(1))?;
        if !brokers.insert(broker) {
            continue;
        }
        for lane in lanes {
            let queue = wire::set(queue, &to_broker(1), format!("{broker}{QUEUE_MARK}{lane}").as_bytes())?;
            added.push(readable(&queue, listing)?);
        }
    }
    for queue in added {
        wire::put(&mut out, LISTED, &queue);
    }
    Ok(out)
}

/// A queue that no one sends to, whose number is 0.
fn readable(queue: &[u8], listing: Listing) -> Result<Vec<u8>, Malformed> {
    let path = listing.to_queue(0);
    let above: Vec<u64> = path.get(..path.len() - 1).unwrap_or_default().to_vec();
    let inner = wire::get(queue, &above)?.unwrap_or_default();
    let mut out = Vec::new();
    for field in wire::fields(inner) {
        let field = field?;
        if !matches!(field.number, 2 | 3) {
            out.extend_from_slice(field.whole);
        }
    }
    wire::put_number(&mut out, 3, READ);
    wire::set(queue, &above, &out)
}

/// Whose messages a part of an acknowledgement is about, `None` for the group's own; and the request, or its answer.
pub type AckPart = (Option<(String, Taker)>, Vec<u8>);

/// An acknowledgement, cut by whose messages they are.
pub fn ack_parts(request: &[u8]) -> Result<Vec<AckPart>, Malformed> {
    const ENTRIES: u64 = 3;
    let whose = |entry: &[u8]| -> Result<Option<(String, Taker)>, Malformed> {
        let (_, mark) = handle_parts(wire::text(entry, &[2])?);
        Ok(mark.map(|(lane, taker)| (lane.to_owned(), taker)))
    };
    let mut all = BTreeSet::new();
    for entry in wire::each(request, ENTRIES)? {
        all.insert(whose(entry)?);
    }
    let part = |of: &Option<(String, Taker)>| {
        wire::change_each(request, ENTRIES, |entry| {
            if whose(entry)? != *of {
                return Ok(None);
            }
            let (handle, _) = handle_parts(wire::text(entry, &[2])?);
            wire::set(entry, &[2], handle.as_bytes()).map(Some)
        })
    };
    all.into_iter().map(|of| part(&of).map(|bytes| (of, bytes))).collect()
}

/// The answers to the parts of an acknowledgement as one, with the handles as the client knows them.
pub fn joined_acks(answers: &[AckPart]) -> Result<Vec<u8>, Malformed> {
    const MULTIPLE_RESULTS: u64 = 30_000;
    let mut codes = BTreeSet::new();
    let (mut status, mut entries) = (Vec::new(), Vec::new());
    for (of, answer) in answers {
        codes.insert(wire::number(answer, &[1, 1])?);
        if status.is_empty() {
            status = wire::get(answer, &[1])?.unwrap_or_default().to_vec();
        }
        for entry in wire::each(answer, 2)? {
            let handle = wire::text(entry, &[2])?;
            let marked = match of {
                Some((lane, taker)) if !handle.is_empty() => marked_handle(handle, lane, *taker),
                _ => handle.to_owned(),
            };
            wire::put(&mut entries, 2, &wire::set(entry, &[2], marked.as_bytes())?);
        }
    }
    if codes.len() > 1 {
        status = Vec::new();
        wire::put_number(&mut status, 1, MULTIPLE_RESULTS);
    }
    let mut out = Vec::new();
    wire::put(&mut out, 1, &status);
    out.extend_from_slice(&entries);
    Ok(out)
}

/// An answer that is a status alone.
pub fn status(code: u64, message: &str) -> Vec<u8> {
    let mut status = Vec::new();
    wire::put_number(&mut status, 1, code);
    wire::put(&mut status, 2, message.as_bytes());
    let mut out = Vec::new();
    wire::put(&mut out, 1, &status);
    out
}

/// A duration's seconds as the wire has them.
pub fn duration(seconds: u64) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_number(&mut out, 1, seconds);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(broker: &str, id: u64) -> Vec<u8> {
        let mut out = wire::set(&[], &[1, NAME], b"orders").unwrap();
        wire::put_number(&mut out, 2, id);
        wire::put_number(&mut out, 3, 4);
        let out = wire::set(&out, &[BROKER, 1], broker.as_bytes()).unwrap();
        wire::set(&out, &[BROKER, 3], b"far").unwrap()
    }

    #[test]
    fn queues_are_here_and_one_more_a_broker_stands_for_each_lane() {
        for listing in [Listing::Queues, Listing::Assignments] {
            let mut answer = Vec::new();
            for (broker, id) in [("a", 0), ("a", 1), ("b", 0)] {
                let queue = queue(broker, id);
                let listed = match listing {
                    Listing::Queues => queue,
                    Listing::Assignments => wire::set(&[], &[1], &queue).unwrap(),
                };
                wire::put(&mut answer, 2, &listed);
            }
            let out = with_queues(&answer, listing, Some(b"here"), &["feat1".to_owned()]).unwrap();
            let told: Vec<(String, String, u64)> = wire::each(&out, 2)
                .unwrap()
                .into_iter()
                .map(|listed| {
                    let queue = match listing {
                        Listing::Queues => listed,
                        Listing::Assignments => wire::get(listed, &[1]).unwrap().unwrap(),
                    };
                    let text = |path: &[u64]| wire::text(queue, path).unwrap().to_owned();
                    (text(&[BROKER, 1]), text(&[BROKER, 3]), wire::number(queue, &[3]).unwrap())
                })
                .collect();
            let expected = [("a", 4), ("a", 4), ("b", 4), ("a~gray~feat1", 2), ("b~gray~feat1", 2)];
            let expected = expected.map(|(broker, may)| (broker.to_owned(), "here".to_owned(), may));
            assert_eq!(told, expected, "{listing:?}");
        }
    }

    #[test]
    fn a_handle_says_whose_it_is() {
        for (lane, taker) in [("feat1", Taker::Lane), ("a-b", Taker::Base)] {
            let marked = marked_handle("0 1 2 ~gray~ 3", lane, taker);
            let (handle, mark) = handle_parts(&marked);
            assert_eq!((handle, mark), ("0 1 2 ~gray~ 3", Some((lane, taker))));
        }
        assert_eq!(handle_parts("plain"), ("plain", None));
    }

    #[test]
    fn a_message_is_marked_and_keeps_what_it_had() {
        let mut message = wire::set(&[], &[1, NAME], b"orders").unwrap();
        put_property(&mut message, "own", "1");
        put_property(&mut message, LANE_PROPERTY, "forged");
        put_property(&mut message, "baggage", "a=b, gray.version=feat1;p=1 ,c=d");
        assert_eq!(named_lane(&message).unwrap().as_deref(), Some("feat1"));
        let marked = with_lane(&message, "feat1.9", "feat1").unwrap();
        for (key, value) in [("own", "1"), (LANE_PROPERTY, "feat1.9"), (VERSION_PROPERTY, "feat1")] {
            assert_eq!(property(&marked, key).unwrap(), Some(value));
        }
        assert_eq!(wire::each(&marked, 2).unwrap().len(), 4);
        put_property(&mut message, VERSION_PROPERTY, "feat2");
        assert_eq!(named_lane(&message).unwrap().as_deref(), Some("feat2"), "its own word comes first");
    }

    #[test]
    fn an_acknowledgement_is_cut_by_lane_and_joined_again() {
        let mut request = wire::set(&[], &[1, NAME], b"provider").unwrap();
        for (id, handle) in [("1", "h1".to_owned()), ("2", marked_handle("h2", "feat1", Taker::Base))] {
            let entry = wire::set(&[], &[1], id.as_bytes()).unwrap();
            wire::put(&mut request, 3, &wire::set(&entry, &[2], handle.as_bytes()).unwrap());
        }
        let parts = ack_parts(&request).unwrap();
        let told: Vec<_> = parts
            .iter()
            .map(|(of, bytes)| {
                let entries = wire::each(bytes, 3).unwrap();
                (of.clone(), entries.iter().map(|e| wire::text(e, &[2]).unwrap()).collect::<Vec<_>>())
            })
            .collect();
        let lane = Some(("feat1".to_owned(), Taker::Base));
        assert_eq!(told, [(None, vec!["h1"]), (lane.clone(), vec!["h2"])]);
        let answer = |handle: &str, code: u64| {
            let mut out = status(code, "");
            wire::put(&mut out, 2, &wire::set(&[], &[2], handle.as_bytes()).unwrap());
            out
        };
        let joined = joined_acks(&[(None, answer("h1", 20_000)), (lane, answer("h2", 40_013))]).unwrap();
        assert_eq!(wire::number(&joined, &[1, 1]), Ok(30_000));
        let handles: Vec<_> = wire::each(&joined, 2).unwrap();
        assert_eq!(wire::text(handles[1], &[2]), Ok("h2~drained~feat1"));
    }
}
