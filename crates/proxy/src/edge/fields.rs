//! How many fields a header block of HTTP/2 holds, counted before they are decoded.
//!
//! A field that repeats an earlier one takes one byte on the wire and an allocation to decode; thousands of them fit
//! into a block whose size does no harm. What a representation is and where it ends shows without Huffman codes and
//! without the table of earlier fields (RFC 7541, section 6), so counting costs next to nothing. Never: what a field says.

/// Where in a block the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// At the beginning of a field.
    Field,
    /// In the index of a field or of its name, which goes on.
    Index,
    /// At a text's length.
    Length,
    /// In a length that goes on.
    LongLength,
    Text,
}

/// Follows one header block.
#[derive(Debug)]
pub struct FieldCounter {
    at: At,
    pub fields: usize,
    /// Texts of the field that are still to come.
    texts: u8,
    /// The length being read, or what is left of a text.
    left: u64,
    /// Bits of the length that were read.
    shift: u32,
}

impl FieldCounter {
    pub fn new() -> FieldCounter {
        FieldCounter { at: At::Field, fields: 0, texts: 0, left: 0, shift: 0 }
    }

    /// Looks at the next bytes of the block. What is malformed is counted somehow; decoding refuses it.
    pub fn look(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((byte, behind)) = rest.split_first() {
            if self.at == At::Text {
                let here = rest.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                rest = rest.get(here..).unwrap_or_default();
                self.left -= here as u64;
                if self.left == 0 {
                    self.end_text();
                }
                continue;
            }
            rest = behind;
            self.read(*byte);
        }
    }

    fn read(&mut self, byte: u8) {
        match self.at {
            At::Field => self.begin(byte),
            At::Index if byte & 0x80 == 0 => self.end_index(),
            At::Index => {}
            At::Length => {
                (self.left, self.shift) = (u64::from(byte & 0x7f), 0);
                match byte & 0x7f {
                    0x7f => self.at = At::LongLength,
                    _ => self.begin_text(),
                }
            }
            At::LongLength => {
                let more = u64::from(byte & 0x7f).checked_shl(self.shift).unwrap_or(u64::MAX);
                self.left = self.left.saturating_add(more);
                self.shift += 7;
                if byte & 0x80 == 0 {
                    self.begin_text();
                }
            }
            At::Text => {}
        }
    }

    fn begin(&mut self, byte: u8) {
        let (mask, is_field, texts) = match byte {
            0x80.. => (0x7f, true, 0),
            0x40.. => (0x3f, true, 1),
            // A new size of the table.
            0x20.. => (0x1f, false, 0),
            _ => (0x0f, true, 1),
        };
        self.fields += usize::from(is_field);
        // A literal without an index has a name before its value.
        self.texts = texts + u8::from(texts > 0 && byte & mask == 0);
        match byte & mask == mask {
            true => self.at = At::Index,
            false => self.end_index(),
        }
    }

    fn end_index(&mut self) {
        self.at = if self.texts > 0 { At::Length } else { At::Field };
    }

    fn begin_text(&mut self) {
        self.at = At::Text;
        if self.left == 0 {
            self.end_text();
        }
    }

    fn end_text(&mut self) {
        self.texts = self.texts.saturating_sub(1);
        self.end_index();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_in_every_representation() {
        let long = [&[0x00, 0x7f, 0x80, 0x02][..], &[b'n'; 0x7f + 0x100], &[0x01, b'v']].concat();
        for (block, expected) in [
            (&[0x82, 0x86, 0x84][..], 3),
            // An index that goes on, twice.
            (&[0xff, 0x80, 0x01, 0x82], 2),
            (&[0x41, 0x03, b'a', b'b', b'c', 0x82], 2),
            (&[0x40, 0x01, b'n', 0x02, b'v', b'w', 0x10, 0x01, b'n', 0x00], 2),
            (&[0x7f, 0x03, 0x01, b'v', 0x0f, 0x2f, 0x01, b'v'], 2),
            // A size of the table is no field.
            (&[0x20, 0x3f, 0xe1, 0x1f, 0x82], 1),
            (&long, 1),
            (&[], 0),
        ] {
            for size in [1, 2, 3, 1_000] {
                let mut counter = FieldCounter::new();
                block.chunks(size).for_each(|piece| counter.look(piece));
                assert_eq!(
                    (counter.fields, counter.at),
                    (expected, At::Field),
                    "{block:?} in pieces of {size}"
                );
            }
        }
    }

    #[test]
    fn absurd_lengths_do_no_harm() {
        let mut counter = FieldCounter::new();
        counter.look(&[0x00, 0x7f]);
        counter.look(&[0xff; 100]);
        counter.look(&[0x01]);
        counter.look(&[0; 1_000]);
        assert_eq!(counter.fields, 1);
    }
}
