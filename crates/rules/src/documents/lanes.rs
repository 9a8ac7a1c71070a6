//! Message lanes: a consumer group of RocketMQ whose messages go to the version they were meant for.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fields::{Emptiness, Field};
use crate::vocab::{Label, Name};

/// How long a lane has no client before base takes its messages.
const TAKEOVER: Duration = Duration::from_secs(15);
/// Longest name of a group or topic that a broker takes.
const NAME_BYTES: usize = 120;
/// Each lane costs a long poll for every client of base and broker.
const LANE_LIMIT: usize = 8;
const TOPIC_LIMIT: usize = 64;
/// Between a group and its lane.
const SEPARATOR: &str = "--";

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageLanes {
    pub topics: Vec<Label>,
    pub group: Label,
    /// Whose instances' versions are the lanes of its clients, by address.
    pub service: Name,
    pub lanes: Vec<Name>,
    pub takeover: Duration,
}

impl MessageLanes {
    pub fn read(field: &Field<'_>) -> Option<MessageLanes> {
        let mut map = field.map()?;
        let topics = map.required("topics").and_then(|f| several(&f, TOPIC_LIMIT, |f| read_name(f, "topic")));
        let group = map.required("group").and_then(|f| read_name(&f, "consumer group"));
        let service = map.required("service").and_then(|f| f.name());
        let lanes = map.required("lanes");
        let lanes = lanes.and_then(|f| several(&f, LANE_LIMIT, |f| read_lane(f, group.as_ref())));
        let takeover = map.or("takeover", TAKEOVER, |f| f.duration());
        map.note_unknown();
        Some(MessageLanes { topics: topics?, group: group?, service: service?, lanes: lanes?, takeover })
    }
}

fn several<T: Ord + Clone + std::fmt::Display>(
    field: &Field<'_>,
    limit: usize,
    read: impl Fn(&Field<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    // Without lanes a document still says that there may be some: those that were there are closed.
    let found = field.list_of(Emptiness::Allowed, read)?;
    if found.len() > limit {
        return field.wrong(format!("more than {limit}"), "");
    }
    let mut seen = BTreeSet::new();
    match found.iter().find(|one| !seen.insert(*one)) {
        Some(twice) => field.wrong(format!("`{twice}` is there twice"), ""),
        None => Some(found),
    }
}

/// What brokers take as a name.
fn read_name(field: &Field<'_>, what: &str) -> Option<Label> {
    let is_name = |text: &str| {
        (1..=NAME_BYTES).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'%' | b'|' | b'_' | b'-'))
    };
    let expected = format!("the name of a {what}: A-Z, a-z, 0-9, `%`, `|`, `_`, `-`, at most {NAME_BYTES}");
    field.parsed(&expected, |text| is_name(text).then(|| Label::from(text)))
}

/// A version that can be the end of a group's name.
fn read_lane(field: &Field<'_>, group: Option<&Label>) -> Option<Name> {
    let lane = field.name()?;
    if lane.as_str() == Name::RELEASE {
        return field.wrong("`release` is base, and no lane", "");
    }
    if lane.as_str().contains('.') || lane.as_str().contains(SEPARATOR) {
        let help = "the lane's group is `<group>--<lane>`, and brokers take A-Z, a-z, 0-9, `_`, `-`";
        return field.wrong(format!("`{lane}` cannot be the end of a group's name"), help);
    }
    let length = group.map_or(0, |group| group.len()) + SEPARATOR.len() + lane.as_str().len();
    if length > NAME_BYTES {
        let message = format!("the lane's group would have {length} characters");
        return field.wrong(message, format!("brokers take at most {NAME_BYTES}"));
    }
    Some(lane)
}
