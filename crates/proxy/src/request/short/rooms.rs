//! Room for bytes, from one request to the next.
//!
//! Answers: where do the bytes of a request and its response lie meanwhile? Each thread keeps a few rooms of the usual size:
//! to make new ones costs more than to decide a request. Never: looks at what is in them.

use std::cell::RefCell;

use bytes::BytesMut;

/// What most heads fit in, with a small body.
pub const ROOM: usize = 4 << 10;
/// Rooms that a thread keeps; as many requests as are under way on a busy one, half a mebibyte.
const MOST_KEPT: usize = 128;
/// A room that has grown beyond this is given up.
const LARGEST_KEPT: usize = 4 * ROOM;

thread_local! {
    static KEPT: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty room.
pub fn take() -> BytesMut {
    let kept = KEPT.with_borrow_mut(Vec::pop);
    kept.unwrap_or_else(|| BytesMut::with_capacity(ROOM))
}

/// Takes a room back, whatever is in it.
pub fn give_back(mut room: BytesMut) {
    room.clear();
    // What was read of it is room again.
    room.reserve(ROOM);
    if room.capacity() <= LARGEST_KEPT {
        KEPT.with_borrow_mut(|kept| {
            if kept.len() < MOST_KEPT {
                kept.push(room);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf as _;

    use super::*;

    #[test]
    fn rooms_are_used_again_empty_and_no_larger_than_usual() {
        let mut room = take();
        let place = room.as_ptr();
        room.extend_from_slice(b"head");
        room.advance(4);
        give_back(room);
        let again = take();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert!(again.capacity() >= ROOM);
        give_back(BytesMut::with_capacity(LARGEST_KEPT + 1));
        assert_eq!(KEPT.with_borrow(Vec::len), 0);
    }
}
