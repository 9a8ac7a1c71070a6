//! `limit` of a route or a service: how many requests are let through.

use super::condition::read_attribute;
use super::fields::{Emptiness, Field};
use crate::vocab::{Limit, Rate};

const RATE: &str = "a rate like `100/s`, `600/m`, `1000/h` or `5000/d`";

/// Without `burst`, as many at once as the rate allows in one of its units.
pub(super) fn read(field: &Field<'_>) -> Option<Limit> {
    let mut map = field.map()?;
    let rate = map.required("rate").and_then(|f| f.parsed(RATE, Rate::parse));
    let burst = map
        .get("burst")
        .and_then(|f| f.integer(1, i64::from(Limit::BURST_LIMIT)))
        .and_then(|burst| u32::try_from(burst).ok());
    let by = map.get("by").and_then(|f| f.list_of(Emptiness::Refused, read_attribute));
    map.note_unknown();
    let rate = rate?;
    let burst = burst.unwrap_or(rate.count().min(Limit::BURST_LIMIT));
    Some(Limit { rate, burst, by: by.map(Into::into) })
}
