//! `mirror` of a route or a rule: where copies of its requests go.

use super::fields::Field;
use crate::vocab::{ByteSize, Mirror, Name, Share};

pub(super) fn read(field: &Field<'_>) -> Option<Mirror> {
    let mut map = field.map()?;
    let service = map.required("service").and_then(|f| f.name());
    let version = map.or("version", Name::release(), Field::name);
    let share = map.or("share", Share::ALL, Field::percent);
    let body = map.or("body", Mirror::BODY, read_body);
    let max = map.or("max", Mirror::MAX, |f| {
        f.integer(1, i64::from(Mirror::MAX_LIMIT)).and_then(|max| u32::try_from(max).ok())
    });
    map.note_unknown();
    Some(Mirror { service: service?, version, share, body, max })
}

fn read_body(field: &Field<'_>) -> Option<ByteSize> {
    let body = field.size()?;
    match body > Mirror::BODY_LIMIT {
        true => field.wrong(
            format!("a copy keeps its body in memory, and {} is the most", Mirror::BODY_LIMIT),
            "requests with longer bodies are not copied",
        ),
        false => Some(body),
    }
}
