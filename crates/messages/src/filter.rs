//! Filters of consumers, narrowed to a lane or to what no lane has.
//!
//! Answers: what does a client's filter become, so that it means the same among fewer messages? Owns: the property that
//! carries a lane, and SQL92 as RocketMQ's brokers read it. Texts are the same for the same lanes: a broker keeps a
//! hundred parsed ones.

use crate::wire::{self, Malformed};

/// The property that carries a lane and the revision at which it was opened.
pub const LANE_PROPERTY: &str = "gray_lane";

const TYPE: u64 = 1;
const EXPRESSION: u64 = 2;
const TAG: u64 = 1;
const SQL: u64 = 2;

/// Which messages are left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part<'t> {
    /// Those with this mark alone.
    Lane(&'t str),
    /// All but those with one of these marks, which are sorted.
    AllBut(&'t [String]),
}

impl Part<'_> {
    /// `None` where everything is left.
    fn condition(&self) -> Option<String> {
        match self {
            Part::Lane(mark) => Some(format!("{LANE_PROPERTY} = {}", quoted(mark))),
            Part::AllBut([]) => None,
            // A comparison with a property that is absent is neither true nor false, and so no match.
            Part::AllBut(marks) => {
                let marks: Vec<String> = marks.iter().map(|mark| quoted(mark)).collect();
                let marks = marks.join(", ");
                Some(format!("{LANE_PROPERTY} IS NULL OR {LANE_PROPERTY} NOT IN ({marks})"))
            }
        }
    }
}

/// A client's filter expression as it stands on the wire, narrowed.
pub fn narrowed(filter: &[u8], part: &Part<'_>) -> Result<Vec<u8>, Malformed> {
    let Some(condition) = part.condition() else { return Ok(filter.to_vec()) };
    let kind = wire::number(filter, &[TYPE])?;
    let text = wire::text(filter, &[EXPRESSION])?.trim();
    let own = match kind {
        SQL if text.is_empty() => None,
        SQL => Some(format!("({text})")),
        // Unspecified is read as a tag.
        _ if matches!(text, "" | "*") => None,
        _ => Some(of_tags(text)),
    };
    let sql = match own {
        None => condition,
        Some(own) => format!("{own} AND ({condition})"),
    };
    let mut out = Vec::new();
    for field in wire::fields(filter) {
        let field = field?;
        if !matches!(field.number, TYPE | EXPRESSION) {
            out.extend_from_slice(field.whole);
        }
    }
    wire::put_number(&mut out, TYPE, SQL);
    wire::put(&mut out, EXPRESSION, sql.as_bytes());
    Ok(out)
}

/// `a || b` as a condition.
fn of_tags(text: &str) -> String {
    let mut tags: Vec<&str> = text.split("||").map(str::trim).filter(|tag| !tag.is_empty()).collect();
    tags.sort_unstable();
    tags.dedup();
    let tags: Vec<String> = tags.into_iter().map(quoted).collect();
    format!("(TAGS IN ({}))", tags.join(", "))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What a filter asks for, as one that is written by hand: for groups that are primed.
pub fn all() -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_number(&mut out, TYPE, TAG);
    wire::put(&mut out, EXPRESSION, b"*");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_keep_their_meaning_among_fewer_messages() {
        let marks = ["feat1.7".to_owned(), "feat2.9".to_owned()];
        let base = "gray_lane IS NULL OR gray_lane NOT IN ('feat1.7', 'feat2.9')";
        let check = |kind: u64, text: &str, part: Part<'_>, expected: &str| {
            let mut filter = Vec::new();
            wire::put_number(&mut filter, TYPE, kind);
            wire::put(&mut filter, EXPRESSION, text.as_bytes());
            wire::put(&mut filter, 40, b"of a newer client");
            let narrowed = narrowed(&filter, &part).unwrap();
            assert_eq!(wire::text(&narrowed, &[EXPRESSION]), Ok(expected));
            assert_eq!(wire::number(&narrowed, &[TYPE]), Ok(SQL));
            assert_eq!(wire::text(&narrowed, &[40]), Ok("of a newer client"));
        };
        check(TAG, "*", Part::Lane("feat1.7"), "gray_lane = 'feat1.7'");
        check(TAG, "*", Part::AllBut(&marks), base);
        check(0, "", Part::AllBut(&marks), base);
        let both = "(TAGS IN ('a', 'it''s')) AND (gray_lane = 'feat1.7')";
        check(TAG, " it's || a ||a", Part::Lane("feat1.7"), both);
        let sql = "(amount > 5 OR x IS NULL) AND (gray_lane = 'feat1.7')";
        check(SQL, "amount > 5 OR x IS NULL", Part::Lane("feat1.7"), sql);
        check(SQL, "a = 1", Part::AllBut(&marks), &format!("(a = 1) AND ({base})"));
    }

    #[test]
    fn without_lanes_a_filter_stays_as_it_is() {
        assert_eq!(narrowed(&all(), &Part::AllBut(&[])).unwrap(), all());
    }
}
