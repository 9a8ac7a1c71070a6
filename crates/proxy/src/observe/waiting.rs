//! Requests of which no header was seen yet, so that one that waits too long is counted without being asked.

use std::sync::Arc;
use std::time::Instant;

use super::client::Client;
use super::row::RowKey;

/// Requests that are waited for at a time; more than a process of this kind carries, at some 100 bytes each.
const PLACES: usize = 1 << 17;

/// A request under way.
#[derive(Debug)]
pub struct Waiting {
    pub key: Arc<RowKey>,
    pub client: Client,
    pub begun: Instant,
    pub standing: Standing,
}

/// What is known of a request so far.
#[derive(Clone, Copy, Default, Debug)]
pub struct Standing {
    /// A share could not draw it.
    pub is_undrawn: bool,
    /// An instance of the decided version was tried.
    pub has_tried_own: bool,
    /// The last instance that was tried is of the decided version.
    pub is_at_own: bool,
    /// Such a try ended as an error.
    pub has_failed: bool,
}

/// A place of a request; another's once the request was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    place: u32,
    round: u32,
}

/// All of them.
#[derive(Default, Debug)]
pub struct UnderWay {
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place {
    round: u32,
    waiting: Option<Waiting>,
}

impl UnderWay {
    /// None where all places are taken.
    pub fn enter(&mut self, waiting: Waiting) -> Option<Slot> {
        if let Some(at) = self.free.pop() {
            let place = self.places.get_mut(at as usize)?;
            place.waiting = Some(waiting);
            return Some(Slot { place: at, round: place.round });
        }
        let at = u32::try_from(self.places.len()).ok().filter(|at| (*at as usize) < PLACES)?;
        self.places.push(Place { round: 0, waiting: Some(waiting) });
        Some(Slot { place: at, round: 0 })
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Waiting> {
        let place = self.places.get_mut(slot.place as usize).filter(|place| place.round == slot.round)?;
        place.waiting.as_mut()
    }

    pub fn leave(&mut self, slot: Slot) -> Option<Waiting> {
        let place = self.places.get_mut(slot.place as usize).filter(|place| place.round == slot.round)?;
        let waiting = place.waiting.take()?;
        place.round = place.round.wrapping_add(1);
        self.free.push(slot.place);
        Some(waiting)
    }

    /// Takes out those that are over.
    pub fn leave_if(&mut self, is_over: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let mut left = Vec::new();
        for (at, place) in (0_u32..).zip(&mut self.places) {
            if let Some(waiting) = place.waiting.take_if(|waiting| is_over(waiting)) {
                place.round = place.round.wrapping_add(1);
                self.free.push(at);
                left.push(waiting);
            }
        }
        left
    }

    pub fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }
}
