//! When may a step begin?
//!
//! Owns: days and times of day in a zone, with its changes of the clock; the zones are built in, so that a machine without
//! a zone database decides alike. Never: held time; a wall clock that jumps opens or shuts a window and changes nothing else.

use graygate_judge::plan::Window as Seen;
use graygate_rules::documents::plan::Window;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

/// How far ahead the next opening is looked for: every week has the same days.
const AHEAD: i64 = 8;
const DAY: u16 = 24 * 60;

/// Whether steps may begin, and when they may again. A zone no one knows is never open.
pub fn at(windows: &[Window], seconds: i64) -> Seen {
    if windows.is_empty() || windows.iter().any(|window| is_open(window, seconds)) {
        return Seen::Open;
    }
    let first = windows.iter().filter_map(|window| opening(window, seconds)).min_by_key(|(at, _)| *at);
    match first {
        Some((_, said)) => Seen::Closed(format!("it opens {said}")),
        None => Seen::Closed("its zone is not known".to_owned()),
    }
}

/// The zones that no one knows.
pub fn unknown_zones(windows: &[Window]) -> Vec<&str> {
    windows.iter().map(|window| &*window.zone).filter(|name| zone(name).is_none()).collect()
}

fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

fn now_in(window: &Window, seconds: i64) -> Option<Zoned> {
    let now = Timestamp::from_second(seconds).ok()?;
    Some(now.to_zoned(zone(&window.zone)?))
}

fn is_open(window: &Window, seconds: i64) -> bool {
    let Some(now) = now_in(window, seconds) else { return false };
    let minute = u16::try_from(i32::from(now.hour()) * 60 + i32::from(now.minute())).unwrap_or(0);
    let today = is_day(window, now.weekday());
    let yesterday = is_day(window, now.weekday().previous());
    match window.from < window.to {
        true => today && (window.from..window.to).contains(&minute),
        // Over midnight: the evening is of its own day, the morning of the day before.
        false => (today && minute >= window.from) || (yesterday && minute < window.to),
    }
}

fn is_day(window: &Window, day: Weekday) -> bool {
    let at = usize::try_from(day.to_monday_zero_offset()).unwrap_or(0);
    window.days.get(at).copied().unwrap_or(false)
}

fn opening(window: &Window, seconds: i64) -> Option<(Timestamp, String)> {
    let now = now_in(window, seconds)?;
    for days in 0..=AHEAD {
        let day = now.checked_add(Span::new().days(days)).ok()?;
        if !is_day(window, day.weekday()) {
            continue;
        }
        let from = window.from % DAY;
        let time = Time::new(i8::try_from(from / 60).ok()?, i8::try_from(from % 60).ok()?, 0, 0).ok()?;
        let opens = day.date().to_datetime(time).to_zoned(day.time_zone().clone()).ok()?;
        if opens.timestamp() > now.timestamp() {
            let said = format!("{} {}", opens.strftime("%a %Y-%m-%d %H:%M"), window.zone);
            return Some((opens.timestamp(), said));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: [bool; 7], from: u16, to: u16, zone: &str) -> Window {
        Window { days, from, to, zone: zone.to_owned() }
    }

    #[test]
    fn windows_follow_the_clock_of_their_zone() {
        let work = [true, true, true, true, true, false, false];
        let office = window(work, 9 * 60, 17 * 60, "Asia/Shanghai");
        let night = window(work, 22 * 60, 2 * 60, "UTC");
        let at_time = |text: &str| text.parse::<Timestamp>().unwrap().as_second();
        for (window, time, open) in [
            (&office, "2026-11-26T00:59:59Z", false),
            (&office, "2026-11-26T01:00:00Z", true),
            (&office, "2026-11-26T08:59:59Z", true),
            (&office, "2026-11-26T09:00:00Z", false),
            (&office, "2026-11-28T03:00:00Z", false),
            (&night, "2026-11-27T23:00:00Z", true),
            (&night, "2026-11-28T01:59:00Z", true),
            (&night, "2026-11-28T23:00:00Z", false),
            (&night, "2026-11-30T01:00:00Z", false),
        ] {
            assert_eq!(is_open(window, at_time(time)), open, "{time}");
        }
        let said = at(std::slice::from_ref(&office), at_time("2026-11-27T10:00:00Z"));
        assert_eq!(said, Seen::Closed("it opens Mon 2026-11-30 09:00 Asia/Shanghai".into()));
        assert_eq!(at(&[], 0), Seen::Open);
        let nowhere = window(work, 0, 60, "Moon/Base");
        assert_eq!(at(std::slice::from_ref(&nowhere), 0), Seen::Closed("its zone is not known".into()));
        assert_eq!(unknown_zones(&[nowhere, office]), ["Moon/Base"]);
    }
}
