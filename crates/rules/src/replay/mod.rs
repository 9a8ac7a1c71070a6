//! Who would move if documents changed: the same requests decided by two snapshots, and the difference counted.
//!
//! Answers: how many requests would get another version, from which rule to which, and who for example? Owns: what a
//! line of the access log tells of a request ([`Recorded`]), how users are made up, and the counts. Never: IO, a clock,
//! or a decision of its own: both sides are the snapshots'. Start at [`replay`].

mod made_up;
mod moves;
mod question;
mod recorded;

#[cfg(test)]
mod tests;

pub use moves::{Example, Examples, Move, Moves, Shift};
pub use recorded::{Recorded, recorded};

use made_up::Crowd;
use moves::Tally;
use question::Question;

use crate::decide::{Scratch, Snapshot};

/// Most users made up for one service: enough to see a hundredth of a percent, and done in seconds.
pub const IDENTITY_LIMIT: u32 = 1_000_000;

/// The requests that are decided twice.
pub enum Sample<L> {
    /// Lines of an access log.
    Log(L),
    /// So many users for every service, at most [`IDENTITY_LIMIT`], each with an identity of its own in every attribute
    /// that is hashed.
    Identities(u32),
}

/// Decides every request of the sample by both snapshots, at one moment in nanoseconds since 1970.
pub fn replay<L>(before: &Snapshot, after: &Snapshot, sample: Sample<L>, now: i128) -> Moves
where
    L: IntoIterator<Item: AsRef<str>>,
{
    replay_showing((before, after), sample, now, Examples::default())
}

/// The same with more or fewer of the requests that would move.
pub fn replay_showing<L>(
    (before, after): (&Snapshot, &Snapshot),
    sample: Sample<L>,
    now: i128,
    examples: Examples,
) -> Moves
where
    L: IntoIterator<Item: AsRef<str>>,
{
    let mut scratch = Scratch::default();
    let mut tally = Tally::showing(examples);
    let mut ask = |question: &Question| {
        let old = question.ask(before, now, &mut scratch);
        let new = question.ask(after, now, &mut scratch);
        tally.count(question, old, new);
    };
    let mut left_out = 0;
    match sample {
        Sample::Log(lines) => {
            for line in lines {
                match recorded(line.as_ref()).and_then(Question::recorded) {
                    Some(question) => ask(&question),
                    None => left_out += 1,
                }
            }
        }
        Sample::Identities(count) => {
            for crowd in Crowd::of_every_service(before, after) {
                (1..=count.min(IDENTITY_LIMIT)).for_each(|number| ask(&crowd.member(number)));
            }
        }
    }
    tally.finish(left_out)
}
