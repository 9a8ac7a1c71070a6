//! Frames of HTTP/2 that cost us more than the client: how many come in how short a time.
//!
//! The `h2` crate bounds streams, header lists and resets; pings, settings, priorities, unknown frames and room that is not
//! needed it answers or skips for as long as they come. Only frame headers are read here, on their way to the crate.

use std::time::Duration;

use tokio::time::Instant;

/// What a client begins HTTP/2 with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Control frames in one window. A busy client cancels and pings now and then; a hundred a second is no client.
const BUDGET: u32 = 1_000;
const WINDOW: Duration = Duration::from_secs(10);
const HEADER: usize = 9;
/// Bytes of ours that a client may answer with a WINDOW_UPDATE: two for each of our frames, however short it is.
const EARNS_UPDATE: u64 = 5;

/// The types of RFC 9113, section 6, that carry a request forward.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;

/// Counts the frames of one connection.
pub struct FrameMeter {
    /// Bytes until the next frame's header.
    skip: usize,
    header: [u8; HEADER],
    filled: usize,
    count: u32,
    since: Instant,
    /// Bytes sent that no WINDOW_UPDATE has answered.
    unanswered: u64,
}

impl FrameMeter {
    pub fn new(now: Instant) -> FrameMeter {
        FrameMeter {
            skip: PREFACE.len(),
            header: [0; HEADER],
            filled: 0,
            count: 0,
            since: now,
            unanswered: 0,
        }
    }

    /// Looks at the next bytes; false when there are too many control frames among them.
    pub fn look(&mut self, mut bytes: &[u8], now: Instant) -> bool {
        if now.saturating_duration_since(self.since) > WINDOW {
            (self.count, self.since) = (0, now);
        }
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some((byte, rest)) = bytes.split_first() else { break };
            if let Some(place) = self.header.get_mut(self.filled) {
                *place = *byte;
            }
            self.filled += 1;
            bytes = rest;
            if self.filled == HEADER {
                self.filled = 0;
                self.count(self.header);
            }
        }
        self.count <= BUDGET
    }

    /// Takes note of what the client was sent.
    pub fn sent(&mut self, bytes: usize) {
        self.unanswered += bytes as u64;
    }

    fn count(&mut self, header: [u8; HEADER]) {
        let [a, b, c, kind, ..] = header;
        let length = u32::from_be_bytes([0, a, b, c]);
        self.skip = length as usize;
        // Data without bytes is data only in name.
        let works = match kind {
            HEADERS => true,
            DATA => length > 0,
            WINDOW_UPDATE => self.answers(),
            _ => false,
        };
        self.count += u32::from(!works);
    }

    /// Whether there was anything to make room for.
    fn answers(&mut self) -> bool {
        let rest = self.unanswered.checked_sub(EARNS_UPDATE);
        self.unanswered = rest.unwrap_or(self.unanswered);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, 0, 0, 0, 0, 0];
        frame.extend(vec![0xff; usize::from(length)]);
        frame
    }

    #[test]
    fn only_control_frames_are_too_many() {
        let now = Instant::now();
        const PING: u8 = 6;
        for (kind, length, most) in [
            (DATA, 5, 5_000),
            (HEADERS, 20, 5_000),
            (PING, 8, 1_000),
            (DATA, 0, 1_000),
            (WINDOW_UPDATE, 4, 1_000),
        ] {
            let mut meter = FrameMeter::new(now);
            assert!(meter.look(PREFACE, now));
            let mut taken = 0;
            // In pieces that never end where a frame ends.
            let bytes = frame(kind, length).repeat(5_000);
            for piece in bytes.chunks(7) {
                if !meter.look(piece, now) {
                    break;
                }
                taken += piece.len();
            }
            let frames = taken / frame(kind, length).len();
            assert!(frames.abs_diff(most) <= 1, "{kind}: {frames}");
        }
    }

    #[test]
    fn a_client_may_make_room_for_what_it_was_sent() {
        let now = Instant::now();
        let mut meter = FrameMeter::new(now);
        assert!(meter.look(PREFACE, now));
        for _ in 0..5_000 {
            // A frame of one byte, and room made for it in its stream and in the connection.
            meter.sent(HEADER + 1);
            assert!(meter.look(&frame(WINDOW_UPDATE, 4).repeat(2), now));
        }
        assert!(meter.look(&frame(WINDOW_UPDATE, 4).repeat(1_000), now));
        assert!(!meter.look(&frame(WINDOW_UPDATE, 4), now));
    }

    #[test]
    fn a_window_later_the_budget_is_new() {
        let mut now = Instant::now();
        let mut meter = FrameMeter::new(now);
        assert!(meter.look(PREFACE, now));
        for _ in 0..5 {
            assert!(meter.look(&frame(6, 8).repeat(900), now));
            now += WINDOW + Duration::from_secs(1);
        }
    }
}
