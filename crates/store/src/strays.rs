//! Naming what is no document.
//!
//! Owns: the shape of such a problem and how many are named. Never: decides what is one.

use graygate_rules::vocab::{Place, Problem};

/// Most strays that are named one by one; the rest is counted.
const STRAY_LIMIT: usize = 1_000;

/// A problem of a whole file or key.
pub(super) fn stray(place: &str, message: impl Into<String>, help: impl Into<String>) -> Problem {
    Problem::at(Place::Stray(place.to_owned()), "", message, help)
}

/// The strays in order, at most [`STRAY_LIMIT`] of them and one that counts the others.
pub(super) fn capped(mut strays: Vec<Problem>) -> Vec<Problem> {
    strays.sort();
    let more = strays.len().saturating_sub(STRAY_LIMIT);
    if more > 0 {
        strays.truncate(STRAY_LIMIT);
        strays.push(stray("", format!("{more} more that are no documents"), ""));
    }
    strays
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_strays_end_in_a_count() {
        let many = |count| (0..count).map(|n| stray(&format!("{n:05}"), "x", "")).collect();
        assert_eq!(capped(many(1_000)).len(), 1_000);
        let cut = capped(many(1_203));
        assert_eq!(cut.len(), 1_001);
        assert_eq!(cut[1_000].message, "203 more that are no documents");
    }
}
