//! Header blocks out of the frames of HTTP/2, and mended ones back into frames.
//!
//! Answers: where does a block begin and end, padding and priorities apart? Holds the frames of a block until its last one
//! is here. Frames that are no part of one go on as they come. Never: reads a block.

use bytes::{BufMut as _, BytesMut};

use super::frames::{CONTINUATION, HEADER, HEADERS, PADDED, PREFACE, PRIORITY, PRIORITY_LENGTH};
use super::mended::{Lost, Mender};

const END_HEADERS: u8 = 0x04;
/// The largest frame a client may send that was told of no other size.
const LARGEST: usize = 16 << 10;

/// Looks through the frames of one connection.
#[derive(Debug)]
pub struct Blocks {
    /// Bytes that go on as they are, before the next frame's header.
    pass: usize,
    /// Frames of one block as they came, or the next frame's header.
    held: Vec<u8>,
    /// Where in them the last frame begins.
    begin: usize,
    /// Bytes of that frame that are waited for.
    wanted: usize,
    /// What the frames before the last one say of the block.
    block: Vec<u8>,
    /// Longest block that is held; the `h2` crate takes fewer frames, and ends the connection for more.
    most: usize,
    /// `None`: what comes is no HTTP/2, and the crate sees all of it.
    mender: Option<Mender>,
}

/// A frame of a block.
struct Frame<'h> {
    flags: u8,
    stream: &'h [u8],
    priority: &'h [u8],
    fragment: &'h [u8],
}

impl Blocks {
    /// Of an `h2` connection with this limit on lists of fields.
    pub fn new(list: usize) -> Blocks {
        Blocks {
            pass: PREFACE.len(),
            held: Vec::new(),
            begin: 0,
            wanted: HEADER,
            block: Vec::new(),
            most: 2 * list + 8 * LARGEST,
            mender: Some(Mender::new(list)),
        }
    }

    /// Takes the next bytes, and puts what can go on into `out`.
    pub fn take(&mut self, mut bytes: &[u8], out: &mut BytesMut) {
        while !bytes.is_empty() && self.mender.is_some() {
            let (passed, rest) = bytes.split_at(self.pass.min(bytes.len()));
            out.put_slice(passed);
            self.pass -= passed.len();
            let missing = self.begin + self.wanted - self.held.len();
            let (here, rest) = rest.split_at(missing.min(rest.len()));
            self.held.extend_from_slice(here);
            bytes = rest;
            if self.pass == 0 && here.len() == missing && self.settle(out).is_err() {
                out.put_slice(&self.held);
                (self.mender, self.held, self.block) = (None, Vec::new(), Vec::new());
            }
        }
        out.put_slice(bytes);
    }

    /// A header, or a frame that was held for its part of a block, is here.
    fn settle(&mut self, out: &mut BytesMut) -> Result<(), Lost> {
        let frame = self.held.get(self.begin..).unwrap_or_default();
        let [a, b, c, kind, flags, stream @ ..] = frame.first_chunk::<HEADER>().ok_or(Lost)?;
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let is_next = match (self.begin, *kind) {
            (0, HEADERS) => true,
            (0, _) => {
                out.put_slice(&self.held);
                self.held.clear();
                self.pass = length;
                return Ok(());
            }
            (_, kind) => kind == CONTINUATION && self.held.get(5..HEADER) == Some(stream),
        };
        if !is_next || length > LARGEST || self.begin + length > self.most {
            return Err(Lost);
        }
        if self.wanted == HEADER && length > 0 {
            self.wanted += length;
            return Ok(());
        }
        self.wanted = HEADER;
        let is_last = flags & END_HEADERS != 0;
        let part = Frame::read(frame).ok_or(Lost)?;
        if is_last && self.begin == 0 {
            let mended = self.mender.as_mut().ok_or(Lost)?.mend(part.fragment)?;
            part.pass_on(mended, &self.held, out).ok_or(Lost)?;
            self.held.clear();
            return Ok(());
        }
        self.block.extend_from_slice(part.fragment);
        self.begin = self.held.len();
        if is_last {
            let mended = self.mender.as_mut().ok_or(Lost)?.mend(&self.block)?;
            let first = Frame::read(&self.held).ok_or(Lost)?;
            first.pass_on(mended, &self.held, out).ok_or(Lost)?;
            self.begin = 0;
            self.held.clear();
            self.block.clear();
        }
        Ok(())
    }
}

impl Frame<'_> {
    /// The frame at the beginning of these bytes.
    fn read(bytes: &[u8]) -> Option<Frame<'_>> {
        let (header, rest) = bytes.split_at_checked(HEADER)?;
        let [a, b, c, kind, flags, ..] = *header else { return None };
        let (payload, _) = rest.split_at_checked(u32::from_be_bytes([0, a, b, c]) as usize)?;
        let has = |flag| kind == HEADERS && flags & flag != 0;
        let (padding, payload) = match has(PADDED) {
            false => (0, payload),
            true => payload.split_first().map(|(padding, rest)| (usize::from(*padding), rest))?,
        };
        let (payload, _) = payload.split_at_checked(payload.len().checked_sub(padding)?)?;
        let (priority, fragment) =
            payload.split_at_checked(if has(PRIORITY) { PRIORITY_LENGTH } else { 0 })?;
        Some(Frame { flags, stream: header.get(5..)?, priority, fragment })
    }

    /// Writes the frames of a block of which this was the first: as they came, or with another block and no padding.
    fn pass_on(&self, mended: Option<Vec<u8>>, came: &[u8], out: &mut BytesMut) -> Option<()> {
        let Some(block) = mended else {
            out.put_slice(came);
            return Some(());
        };
        let mut parts = Vec::new();
        let (first, mut rest) = block.split_at(block.len().min(LARGEST - self.priority.len()));
        parts.push((HEADERS, self.flags & !(PADDED | END_HEADERS), self.priority, first));
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(rest.len().min(LARGEST));
            parts.push((CONTINUATION, 0, &[], part));
            rest = behind;
        }
        parts.last_mut()?.1 |= END_HEADERS;
        for (kind, flags, lead, part) in parts {
            let [_, a, b, c] = u32::try_from(lead.len() + part.len()).ok()?.to_be_bytes();
            out.put_slice(&[a, b, c, kind, flags]);
            [self.stream, lead, part].into_iter().for_each(|piece| out.put_slice(piece));
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: usize = 64 << 10;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
        [&[a, b, c, kind, flags, 0, 0, 0, stream][..], payload].concat()
    }

    fn through(frames: &[u8], size: usize) -> Vec<u8> {
        let (mut blocks, mut out) = (Blocks::new(LIST), BytesMut::new());
        blocks.take(PREFACE, &mut out);
        frames.chunks(size).for_each(|piece| blocks.take(piece, &mut out));
        out.split_off(PREFACE.len()).to_vec()
    }

    #[track_caller]
    fn check(frames: &[u8], expected: &[u8]) {
        for size in [1, 2, 7, 100_000] {
            assert_eq!(through(frames, size), expected, "in pieces of {size}");
        }
    }

    const BLOCK: &[u8] = &[0x82, 0x04, 0x02, b'/', b'<', 0x86];
    const MENDED: &[u8] = b"\x82\x00\x05:path\x04/%3C\x00\x07:scheme\x04http";

    #[test]
    fn a_mended_block_goes_on_in_frames() {
        for flags in [END_HEADERS, END_HEADERS | 1] {
            check(&frame(HEADERS, flags, 1, BLOCK), &frame(HEADERS, flags, 1, MENDED));
        }
        let lead = [2, 0, 0, 0, 0, 9];
        let padded = [&lead[..], BLOCK, &[0, 0]].concat();
        let bare = [&lead[1..], MENDED].concat();
        check(
            &frame(HEADERS, END_HEADERS | PADDED | PRIORITY, 1, &padded),
            &frame(HEADERS, END_HEADERS | PRIORITY, 1, &bare),
        );
    }

    #[test]
    fn a_block_may_come_in_several_frames() {
        for cut in 0..BLOCK.len() {
            let (first, second) = BLOCK.split_at(cut);
            let frames = [
                frame(HEADERS, 1, 3, first),
                frame(CONTINUATION, 0, 3, &[]),
                frame(CONTINUATION, END_HEADERS, 3, second),
            ];
            let next = frame(HEADERS, END_HEADERS, 5, BLOCK);
            let spelt = b"\x00\x07:method\x03GET\x00\x05:path\x04/%3C\x00\x07:scheme\x04http";
            let expected =
                [frame(HEADERS, 1 | END_HEADERS, 3, MENDED), frame(HEADERS, END_HEADERS, 5, spelt)].concat();
            check(&[frames.concat(), next].concat(), &expected);
        }
        let mut long = b"\x82\x04\x02/<".to_vec();
        let mut written = b"\x82\x00\x05:path\x04/%3C".to_vec();
        for name in [b'a', b'b', b'c'] {
            let field = [&[0x00, 0x01, name, 0x7f, 0xa1, 0x4d][..], &[b'v'; 10_016]].concat();
            long.extend_from_slice(&field);
            written.extend_from_slice(&field);
        }
        let (first, rest) = long.split_at(LARGEST);
        let came = [frame(HEADERS, 0, 1, first), frame(CONTINUATION, END_HEADERS, 1, rest)].concat();
        let (first, rest) = written.split_at(LARGEST);
        let gone = [frame(HEADERS, 0, 1, first), frame(CONTINUATION, END_HEADERS, 1, rest)].concat();
        check(&came, &gone);
    }

    #[test]
    fn everything_else_goes_on_as_it_came() {
        let data = frame(0, 1, 1, b"\xff\xff\xff");
        let fine = [0x82, 0x86, 0x84, 0x41, 0x01, b'a'];
        let mend = frame(HEADERS, END_HEADERS, 9, BLOCK);
        for bytes in [
            frame(HEADERS, END_HEADERS, 1, &fine),
            frame(HEADERS, END_HEADERS, 1, &[]),
            [data.clone(), frame(HEADERS, END_HEADERS, 1, &fine), data.clone()].concat(),
            [frame(HEADERS, 0, 1, &fine[..3]), frame(CONTINUATION, END_HEADERS, 1, &fine[3..])].concat(),
            // The crate ends the connection for these, so what follows is none of our business.
            [frame(HEADERS, 0, 1, &fine), frame(CONTINUATION, END_HEADERS, 3, BLOCK), mend.clone()].concat(),
            [frame(HEADERS, 0, 1, &fine), data, mend.clone()].concat(),
            [frame(HEADERS, END_HEADERS | PADDED, 1, &[200, 0x82]), mend.clone()].concat(),
            [frame(HEADERS, END_HEADERS, 1, &[0x44, 0x7f]), mend.clone()].concat(),
            [frame(HEADERS, END_HEADERS, 1, &[0x84; LARGEST + 1]), mend].concat(),
        ] {
            check(&bytes, &bytes);
        }
    }

    #[test]
    fn a_block_without_an_end_is_not_held_for_ever() {
        let (mut blocks, mut out) = (Blocks::new(LIST), BytesMut::new());
        blocks.take(PREFACE, &mut out);
        let mut sent = frame(HEADERS, 0, 1, &[0x84; 10_000]);
        while out.len() == PREFACE.len() {
            blocks.take(&sent, &mut out);
            assert!(blocks.held.len() < 5 * LIST);
            sent = frame(CONTINUATION, 0, 1, &[0x84; 10_000]);
        }
        assert!(blocks.held.is_empty());
    }
}
