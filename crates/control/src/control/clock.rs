//! Where the time comes from, and how it is told.

use std::time::Instant;

use time::OffsetDateTime;

/// Where the time comes from.
pub trait Clock: Send + Sync {
    fn now(&self) -> OffsetDateTime;
    fn instant(&self) -> Instant;
}

/// The machine's.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// RFC 3339 in UTC, as every time the API says.
pub fn rfc3339(time: OffsetDateTime) -> String {
    use time::format_description::well_known::Rfc3339;
    time.to_offset(time::UtcOffset::UTC).format(&Rfc3339).unwrap_or_default()
}
