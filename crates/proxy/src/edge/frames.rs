//! Frames of HTTP/2 that cost us more than the client: how many come in how short a time.
//!
//! The `h2` crate bounds streams, header lists and resets; pings, settings, priorities, unknown frames and room that is not
//! needed it answers or skips for as long as they come. Only frame headers are read here, on their way to the crate.

use std::time::Duration;

use tokio::time::Instant;

use super::fields::FieldCounter;

/// What a client begins HTTP/2 with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Control frames in one window. A busy client cancels and pings now and then; a hundred a second is no client.
const BUDGET: u32 = 1_000;
const WINDOW: Duration = Duration::from_secs(10);
pub const HEADER: usize = 9;
/// Bytes of ours that a client may answer with a WINDOW_UPDATE: two for each of our frames, however short it is.
const EARNS_UPDATE: u64 = 5;

/// The types of RFC 9113, section 6, that carry a request forward.
const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
/// Flags of a HEADERS frame, and what the second of them puts before the block.
pub const PADDED: u8 = 0x08;
pub const PRIORITY: u8 = 0x20;
pub const PRIORITY_LENGTH: usize = 5;

/// Fields of one header block. Clients cut cookies into a field each, and twice the fields of a large request are still
/// answered by us; who sends more is left before they are decoded.
const FIELDS: usize = 512;

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
    payload: Payload,
    fields: FieldCounter,
}

/// What the frame under way carries.
enum Payload {
    /// Nothing that is looked at.
    Other,
    Block(Block),
}

/// Where in a frame its part of a header block stands.
struct Block {
    /// The next byte says how much padding there is.
    says_padding: bool,
    /// Bytes before the block.
    lead: usize,
    /// Bytes behind it.
    padding: usize,
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
            payload: Payload::Other,
            fields: FieldCounter::new(),
        }
    }

    /// Looks at the next bytes; false when there are too many control frames among them.
    pub fn look(&mut self, mut bytes: &[u8], now: Instant) -> bool {
        if now.saturating_duration_since(self.since) > WINDOW {
            (self.count, self.since) = (0, now);
        }
        while !bytes.is_empty() {
            let (payload, behind) = bytes.split_at(self.skip.min(bytes.len()));
            self.skip -= payload.len();
            self.look_inside(payload);
            bytes = behind;
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
        self.count <= BUDGET && self.fields.fields <= FIELDS
    }

    /// Looks at the next bytes of a frame, behind which `skip` more follow in it.
    fn look_inside(&mut self, mut bytes: &[u8]) {
        let Payload::Block(block) = &mut self.payload else { return };
        if block.says_padding {
            let Some((padding, behind)) = bytes.split_first() else { return };
            (block.says_padding, block.padding, bytes) = (false, usize::from(*padding), behind);
        }
        let (lead, rest) = bytes.split_at(block.lead.min(bytes.len()));
        block.lead -= lead.len();
        let padding = block.padding.saturating_sub(self.skip).min(rest.len());
        let (own, _) = rest.split_at(rest.len() - padding);
        self.fields.look(own);
    }

    /// Takes note of what the client was sent.
    pub fn sent(&mut self, bytes: usize) {
        self.unanswered += bytes as u64;
    }

    fn count(&mut self, header: [u8; HEADER]) {
        let [a, b, c, kind, flags, ..] = header;
        let length = u32::from_be_bytes([0, a, b, c]);
        self.skip = length as usize;
        if kind == HEADERS {
            self.fields = FieldCounter::new();
        }
        let is_set = |flag| kind == HEADERS && flags & flag != 0;
        self.payload = match kind {
            HEADERS | CONTINUATION => Payload::Block(Block {
                says_padding: is_set(PADDED),
                lead: if is_set(PRIORITY) { PRIORITY_LENGTH } else { 0 },
                padding: 0,
            }),
            _ => Payload::Other,
        };
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

    /// A HEADERS frame, or a CONTINUATION, with this block.
    fn block(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, (payload.len() >> 8) as u8, payload.len() as u8, kind, flags, 0, 0, 0, 1];
        frame.extend(payload);
        frame
    }

    #[test]
    fn a_header_block_with_thousands_of_fields_ends_the_connection() {
        let now = Instant::now();
        let padded = [&[7, 0, 0, 0, 0, 0][..], &[0x82; 513], &[0x82; 7]].concat();
        for (frames, most) in [
            (vec![block(HEADERS, 4, &[0x82; 512])], true),
            (vec![block(HEADERS, 4, &[0x82; 513])], false),
            (vec![block(HEADERS, 4, &[0x82; 512]), block(HEADERS, 4, &[0x82; 512])], true),
            (vec![block(HEADERS, 0, &[0x82; 300]), block(CONTINUATION, 4, &[0x82; 300])], false),
            (vec![block(HEADERS, PADDED | PRIORITY, &padded[..padded.len() - 1])], true),
            (vec![block(HEADERS, PADDED | PRIORITY, &padded)], false),
            (vec![block(DATA, 0, &[0x82; 5_000])], true),
        ] {
            for size in [1, 7, 10_000] {
                let mut meter = FrameMeter::new(now);
                assert!(meter.look(PREFACE, now));
                let bytes = frames.concat();
                let all = bytes.chunks(size).all(|piece| meter.look(piece, now));
                assert_eq!(all, most, "{} bytes in pieces of {size}", bytes.len());
            }
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
