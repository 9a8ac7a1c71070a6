//! Header blocks of HTTP/2, field by field (RFC 7541), as far as one is read before the `h2` crate reads it.
//!
//! Answers: which field is this, and what do its bytes say? Owns the table of earlier fields that a client's fields
//! refer to. Takes and refuses what the crate takes and refuses, so that both keep the same table. Never: judges a field.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::huffman::decode;

/// Bytes of earlier fields that a client may refer to; it was told of no other number.
const TABLE_BYTES: usize = 4_096;
/// What a field takes of the table beside its name and value (RFC 7541, 4.1).
pub const FIELD_OVERHEAD: usize = 32;

/// One step of a block.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'b> {
    /// A field that came earlier, or stands in the standard's own table.
    Earlier(usize),
    Literal(Literal<'b>),
    /// From now on the table holds so many bytes.
    TableBytes(usize),
}

/// A field that is spelt out, at least its value.
#[derive(Debug, PartialEq, Eq)]
pub struct Literal<'b> {
    pub name: Cow<'b, [u8]>,
    pub value: Cow<'b, [u8]>,
    /// Later fields may refer to it.
    pub is_kept: bool,
}

/// A field's name and its value.
type Pair = (Box<[u8]>, Box<[u8]>);

/// The fields a client may refer to, the newest first.
#[derive(Debug)]
pub struct Table {
    fields: VecDeque<Pair>,
    bytes: usize,
    limit: usize,
}

impl Table {
    pub fn new() -> Table {
        Table { fields: VecDeque::new(), bytes: 0, limit: TABLE_BYTES }
    }

    /// The name and the value at a place, counted from one.
    pub fn field(&self, place: usize) -> Option<(&[u8], &[u8])> {
        let place = place.checked_sub(1)?;
        if let Some((name, value)) = STANDARD.get(place) {
            return Some((name.as_bytes(), value.as_bytes()));
        }
        let (name, value) = self.fields.get(place - STANDARD.len())?;
        Some((name, value))
    }

    pub fn keep(&mut self, field: &Literal<'_>) {
        let bytes = FIELD_OVERHEAD + field.name.len() + field.value.len();
        self.make_room(self.limit.saturating_sub(bytes));
        if bytes <= self.limit {
            self.bytes += bytes;
            self.fields.push_front(((*field.name).into(), (*field.value).into()));
        }
    }

    /// `None` for more than the client was allowed.
    pub fn limit(&mut self, bytes: usize) -> Option<()> {
        self.limit = Some(bytes).filter(|bytes| *bytes <= TABLE_BYTES)?;
        self.make_room(bytes);
        Some(())
    }

    fn make_room(&mut self, most: usize) {
        while self.bytes > most {
            let Some((name, value)) = self.fields.pop_back() else { return };
            self.bytes -= FIELD_OVERHEAD + name.len() + value.len();
        }
    }

    /// Reads one step off `block`; `None` for what is none.
    pub fn read<'b>(&self, block: &mut &'b [u8]) -> Option<Step<'b>> {
        let (bits, is_kept) = match block.first()? {
            0x80.. => return integer(block, 7).map(Step::Earlier),
            0x40.. => (6, true),
            0x20.. => return integer(block, 5).map(Step::TableBytes),
            _ => (4, false),
        };
        let name = match integer(block, bits)? {
            0 => text(block)?,
            place => Cow::Owned(self.field(place)?.0.to_vec()),
        };
        Some(Step::Literal(Literal { name, value: text(block)?, is_kept }))
    }
}

/// Writes a field that refers to no other, and that no other refers to.
pub fn write_field(name: &[u8], value: &[u8], block: &mut Vec<u8>) {
    block.push(0);
    write_text(name, block);
    write_text(value, block);
}

/// A number in the last `bits` of a byte and those behind it (RFC 7541, 5.1).
fn integer(block: &mut &[u8], bits: u32) -> Option<usize> {
    let most = (1 << bits) - 1;
    let mut number = usize::from(byte(block)?) & most;
    if number < most {
        return Some(number);
    }
    for shift in [0, 7, 14, 21] {
        let byte = byte(block)?;
        number += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn byte(block: &mut &[u8]) -> Option<u8> {
    let (byte, rest) = block.split_first()?;
    *block = rest;
    Some(*byte)
}

fn text<'b>(block: &mut &'b [u8]) -> Option<Cow<'b, [u8]>> {
    let is_coded = block.first()? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (bytes, rest) = block.split_at_checked(length)?;
    *block = rest;
    match is_coded {
        true => decode(bytes).map(Cow::Owned),
        false => Some(Cow::Borrowed(bytes)),
    }
}

/// As it is, without a code.
fn write_text(text: &[u8], block: &mut Vec<u8>) {
    const MOST: usize = 0x7f;
    match text.len().checked_sub(MOST) {
        None => block.push(text.len() as u8),
        Some(mut more) => {
            block.push(MOST as u8);
            while more >= 0x80 {
                block.push((more & 0x7f) as u8 | 0x80);
                more >>= 7;
            }
            block.push(more as u8);
        }
    }
    block.extend_from_slice(text);
}

/// RFC 7541, appendix A.
#[rustfmt::skip]
const STANDARD: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""),
    ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""),
    ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""),
    ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""),
    ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""),
    ("server", ""), ("set-cookie", ""), ("strict-transport-security", ""), ("transfer-encoding", ""),
    ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of a block, as `name: value`.
    fn fields(table: &mut Table, mut block: &[u8]) -> Option<Vec<String>> {
        let mut fields = Vec::new();
        while !block.is_empty() {
            let (name, value) = match table.read(&mut block)? {
                Step::TableBytes(bytes) => {
                    table.limit(bytes)?;
                    continue;
                }
                Step::Earlier(place) => {
                    table.field(place).map(|(name, value)| (name.to_vec(), value.to_vec()))?
                }
                Step::Literal(field) => {
                    if field.is_kept {
                        table.keep(&field);
                    }
                    (field.name.to_vec(), field.value.to_vec())
                }
            };
            fields.push(format!("{}: {}", name.escape_ascii(), value.escape_ascii()));
        }
        Some(fields)
    }

    #[test]
    fn the_requests_of_the_standard_are_read() {
        // RFC 7541, C.4.
        let mut table = Table::new();
        let host = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        let first = [&[0x82, 0x86, 0x84, 0x41, 0x8c][..], &host].concat();
        let second =
            [&[0x82, 0x86, 0x84, 0xbe, 0x58, 0x86][..], &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]].concat();
        let third = [
            &[0x82, 0x87, 0x85, 0xbf, 0x40, 0x88, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f][..],
            &[0x89, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf],
        ]
        .concat();
        for (block, expected, bytes) in [
            (first, ":method: GET|:scheme: http|:path: /|:authority: www.example.com", 57),
            (
                second,
                ":method: GET|:scheme: http|:path: /|:authority: www.example.com|cache-control: no-cache",
                110,
            ),
            (
                third,
                ":method: GET|:scheme: https|:path: /index.html|:authority: www.example.com|custom-key: custom-value",
                164,
            ),
        ] {
            assert_eq!(fields(&mut table, &block).unwrap().join("|"), expected);
            assert_eq!(table.bytes, bytes);
        }
    }

    #[test]
    fn the_oldest_fields_make_room() {
        let mut table = Table::new();
        // Two of 48 bytes in a table of 100.
        let field = |value: u8| [&[0x40, 8][..], b"a-header", &[8], &[value; 8]].concat();
        let block = [&[0x3f, 69][..], &field(b'1'), &field(b'2')].concat();
        assert!(fields(&mut table, &block).is_some());
        assert_eq!(fields(&mut table, &[0xbf, 0xbe]).unwrap(), ["a-header: 11111111", "a-header: 22222222"]);
        assert!(fields(&mut table, &field(b'3')).is_some());
        assert_eq!(fields(&mut table, &[0xbf, 0xbe]).unwrap(), ["a-header: 22222222", "a-header: 33333333"]);
        assert_eq!(fields(&mut table, &[0xc0]), None);
        // One that is larger than the table leaves it empty.
        let large = [&[0x40, 1, b'x', 100][..], &[b'y'; 100]].concat();
        assert!(fields(&mut table, &large).is_some());
        assert_eq!((table.bytes, table.fields.len()), (0, 0));
        // A smaller table forgets, and a larger one remembers nothing of it.
        assert!(fields(&mut table, &field(b'4')).is_some());
        assert!(fields(&mut table, &[0x20, 0x3f, 0xe1, 0x1f]).is_some());
        assert_eq!((table.bytes, table.limit), (0, 4_096));
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for block in [
            &[0x80][..],
            &[0xbe],
            &[0xff, 0x80, 0x80, 0x80, 0x80, 0x01],
            &[0x40],
            &[0x44, 0x02, b'/'],
            &[0x44, 0x82, 0x00, 0x00],
            &[0x7f, 0x03, 0x01, b'v'],
            &[0x3f, 0xe2, 0x1f],
        ] {
            assert_eq!(fields(&mut Table::new(), block), None, "{block:?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 126, 127, 128, 254, 255, 20_000] {
            let (name, value) = (vec![b'n'; length.max(1)], vec![b'v'; length]);
            let mut block = Vec::new();
            write_field(&name, &value, &mut block);
            let mut rest = &block[..];
            let Some(Step::Literal(field)) = Table::new().read(&mut rest) else { panic!("{length}") };
            assert!(rest.is_empty() && !field.is_kept);
            assert_eq!((&*field.name, &*field.value), (&name[..], &value[..]));
        }
    }
}
