//! Header blocks of HTTP/2 whose path, host or method is no text, made ones that cost their own stream alone.
//!
//! The `h2` crate takes a pseudo-header that is not UTF-8 for an error of the whole connection, and a balancer in front
//! sends many clients' requests over one. Here such a value is replaced, on its way to the crate, by one of the same
//! length that no URI can hold: the crate then resets that stream, and its table of earlier fields stays what the
//! client takes it for. Everything else goes on byte by byte. Never: keeps the table itself; a name that is looked up
//! there is left alone, and so is a block of several frames.

use bytes::{BufMut as _, BytesMut};

use super::frames::{HEADER, HEADERS, PADDED, PREFACE, PRIORITY, PRIORITY_LENGTH};
use super::huffman::decode;

const END_HEADERS: u8 = 0x04;
/// The largest frame a client may send that was told of no other size.
const LARGEST: usize = 16 << 10;
/// Static names that begin with a colon, of requests: `:authority`, `:method`, `:path` and `:scheme`.
const PSEUDO: std::ops::RangeInclusive<usize> = 1..=7;
/// No URI, method or host has it.
const REPLACEMENT: u8 = 0x7f;

/// Looks through the frames of one connection.
#[derive(Debug)]
pub struct Mender {
    /// Bytes that go on as they are, before the next frame's header.
    pass: usize,
    /// A frame's header, and behind it what is here of a block.
    held: Vec<u8>,
    /// Bytes of a held frame, its header included.
    wanted: usize,
}

impl Mender {
    pub fn new() -> Mender {
        Mender { pass: PREFACE.len(), held: Vec::new(), wanted: HEADER }
    }

    /// Takes the next bytes, and puts what can go on into `out`.
    pub fn take(&mut self, mut bytes: &[u8], out: &mut BytesMut) {
        while !bytes.is_empty() {
            let (passed, rest) = bytes.split_at(self.pass.min(bytes.len()));
            out.put_slice(passed);
            self.pass -= passed.len();
            let (here, rest) = rest.split_at((self.wanted - self.held.len()).min(rest.len()));
            self.held.extend_from_slice(here);
            bytes = rest;
            if self.pass == 0 && self.held.len() == self.wanted {
                self.settle(out);
            }
        }
    }

    /// A header, or a frame that was held for its block, is here.
    fn settle(&mut self, out: &mut BytesMut) {
        let [a, b, c, kind, flags, ..] = *self.held.as_slice() else { return };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let is_block = kind == HEADERS && flags & END_HEADERS != 0 && length <= LARGEST;
        if is_block && self.wanted == HEADER && length > 0 {
            self.wanted = HEADER + length;
            return;
        }
        match is_block.then(|| mended_frame(&self.held)).flatten() {
            Some(frame) => out.put_slice(&frame),
            None => out.put_slice(&self.held),
        }
        self.pass = (HEADER + length) - self.held.len();
        self.held.clear();
        self.wanted = HEADER;
    }
}

/// A HEADERS frame with its block mended, and without its padding; `None` where it can stay as it is.
fn mended_frame(frame: &[u8]) -> Option<Vec<u8>> {
    let (header, payload) = frame.split_at_checked(HEADER)?;
    let [_, _, _, kind, flags, stream @ ..] = header else { return None };
    let (padding, payload) = match flags & PADDED {
        0 => (0, payload),
        _ => payload.split_first().map(|(padding, rest)| (usize::from(*padding), rest))?,
    };
    let payload = payload.get(..payload.len().checked_sub(padding)?)?;
    let lead = if flags & PRIORITY == 0 { 0 } else { PRIORITY_LENGTH };
    let (priority, block) = payload.split_at_checked(lead)?;
    let block = mended(block)?;
    let [_, a, b, c] = u32::try_from(lead + block.len()).ok()?.to_be_bytes();
    Some([&[a, b, c, *kind, flags & !PADDED][..], stream, priority, &block].concat())
}

/// The block with other values where pseudo-headers are no text; `None` where all of them are, or it cannot be read.
fn mended(block: &[u8]) -> Option<Vec<u8>> {
    let mut written = Vec::new();
    let (mut rest, mut kept) = (block, 0);
    while let Some(first) = rest.first() {
        let (bits, is_literal) = match *first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let (index, behind) = integer(rest, bits)?;
        rest = behind;
        if !is_literal {
            continue;
        }
        let is_pseudo = match index {
            0 => {
                let (name, behind) = text(rest)?;
                rest = behind;
                name.decoded()?.starts_with(b":")
            }
            index => PSEUDO.contains(&index),
        };
        let start = block.len() - rest.len();
        let (value, behind) = text(rest)?;
        rest = behind;
        if let Some(text) = is_pseudo.then(|| value.replaced()).flatten() {
            written.extend_from_slice(block.get(kept..start)?);
            write_text(&text, &mut written);
            kept = block.len() - rest.len();
        }
    }
    (kept > 0).then(|| [&written[..], block.get(kept..).unwrap_or_default()].concat())
}

/// A text as it stands in a block.
struct Text<'b> {
    is_coded: bool,
    bytes: &'b [u8],
}

impl Text<'_> {
    fn decoded(&self) -> Option<Vec<u8>> {
        if self.is_coded { decode(self.bytes) } else { Some(self.bytes.to_vec()) }
    }

    /// A text of the same length in its place; `None` where it is UTF-8 already, which shows of most without decoding.
    fn replaced(&self) -> Option<Vec<u8>> {
        let suspicious = if self.is_coded { self.bytes.contains(&0xff) } else { !self.bytes.is_ascii() };
        let text = suspicious.then(|| self.decoded()).flatten()?;
        let replace = |byte: u8| if byte.is_ascii() { byte } else { REPLACEMENT };
        std::str::from_utf8(&text).is_err().then(|| text.iter().copied().map(replace).collect())
    }
}

/// A number in the last `bits` of a byte and those behind it (RFC 7541, 5.1).
fn integer(bytes: &[u8], bits: u32) -> Option<(usize, &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let most = (1 << bits) - 1;
    let mut number = usize::from(*first) & most;
    if number < most {
        return Some((number, rest));
    }
    for shift in [0, 7, 14, 21] {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        number += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((number, rest));
        }
    }
    None
}

fn text(bytes: &[u8]) -> Option<(Text<'_>, &[u8])> {
    let is_coded = bytes.first()? & 0x80 != 0;
    let (length, rest) = integer(bytes, 7)?;
    let (bytes, rest) = rest.split_at_checked(length)?;
    Some((Text { is_coded, bytes }, rest))
}

/// As it is, without a code.
fn write_text(text: &[u8], block: &mut Vec<u8>) {
    const MOST: usize = 0x7f;
    let Some(mut more) = text.len().checked_sub(MOST) else {
        block.push(text.len() as u8);
        return block.extend_from_slice(text);
    };
    block.push(MOST as u8);
    while more >= 0x80 {
        block.push((more & 0x7f) as u8 | 0x80);
        more >>= 7;
    }
    block.push(more as u8);
    block.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = payload.len() as u32;
        let [_, a, b, c] = length.to_be_bytes();
        [&[a, b, c, HEADERS, flags, 0, 0, 0, 1][..], payload].concat()
    }

    fn through(frames: &[u8], size: usize) -> Vec<u8> {
        let (mut mender, mut out) = (Mender::new(), BytesMut::new());
        mender.take(PREFACE, &mut out);
        frames.chunks(size).for_each(|piece| mender.take(piece, &mut out));
        assert!(mender.held.is_empty());
        out.split_off(PREFACE.len()).to_vec()
    }

    #[test]
    fn a_path_that_is_no_text_is_another_one_of_the_same_length() {
        let long = [&[0x44, 0x7f, 0x49][..], &[0xff; 200]].concat();
        let longer = [&[0x44, 0x7f, 0x49][..], &[0x7f; 200]].concat();
        for (block, expected) in [
            (&[0x82, 0x44, 0x02, b'/', 0xff, 0x86][..], &[0x82, 0x44, 0x02, b'/', 0x7f, 0x86][..]),
            // Encoded, it is four bytes of code for two of text.
            (&[0x82, 0x04, 0x84, 0x63, 0xff, 0xff, 0xee, 0x86], &[0x82, 0x04, 0x02, b'/', 0x7f, 0x86]),
            (&[0x41, 0x01, 0xff, 0x44, 0x01, 0xfe], &[0x41, 0x01, 0x7f, 0x44, 0x01, 0x7f]),
            (
                &[0x00, 0x05, b':', b'p', b'a', b't', b'h', 0x01, 0xff],
                &[0x00, 0x05, b':', b'p', b'a', b't', b'h', 0x01, 0x7f],
            ),
            (&long, &longer),
        ] {
            for flags in [END_HEADERS, END_HEADERS | 1] {
                for size in [1, 3, 10_000] {
                    assert_eq!(through(&frame(flags, block), size), frame(flags, expected), "{block:?}");
                }
            }
            let padded =
                frame(END_HEADERS | PADDED | PRIORITY, &[&[2, 0, 0, 0, 0, 9][..], block, &[0, 0]].concat());
            let bare = frame(END_HEADERS | PRIORITY, &[&[0, 0, 0, 0, 9][..], expected].concat());
            assert_eq!(through(&padded, 5), bare);
        }
    }

    #[test]
    fn everything_else_goes_on_as_it_came() {
        let data = [&[0, 0, 3, 0, 1, 0, 0, 0, 1][..], b"\xff\xff\xff"].concat();
        let utf8 = [&[0x82, 0x44, 0x04, b'/'][..], "\u{7528}".as_bytes()].concat();
        for bytes in [
            frame(END_HEADERS, &[0x82, 0x86, 0x84, 0x41, 0x01, b'a']),
            frame(END_HEADERS, &utf8),
            // A header's value may be any bytes.
            frame(END_HEADERS, &[0x82, 0x40, 0x01, b'x', 0x01, 0xff, 0x60, 0x01, 0xff]),
            frame(0, &[0x82, 0x44, 0x01, 0xff]),
            frame(END_HEADERS, &[]),
            frame(END_HEADERS, &[0x44, 0x7f]),
            frame(END_HEADERS | PADDED, &[200, 0x82]),
            [data.clone(), frame(END_HEADERS, &[0x82]), data].concat(),
        ] {
            for size in [1, 2, 7, 1_000] {
                assert_eq!(through(&bytes, size), bytes, "in pieces of {size}");
            }
        }
    }
}
