//! Header blocks of HTTP/2 that the `h2` crate would refuse before we see them, made ones that we can answer.
//!
//! The crate resets a stream whose path no URI can hold, unanswered and uncounted, and takes one byte that is no text for
//! an error of the whole connection, over which a balancer sends the requests of many clients. Here such a path is
//! percent-encoded, as over HTTP/1, and what cannot be mended is marked for [`REFUSED`]. Blocks go on byte by byte until
//! the first that needs it; from then on every field is spelt out, so the crate's table of earlier fields is never
//! asked again. Never: routes, or reads a field that is as it should be.

use http::uri::{Authority, Scheme};
use http::{HeaderName, Method, StatusCode};

use super::hpack::{FIELD_OVERHEAD, Literal, Step, Table, write_field};
use super::target::{Target, over_http2};

/// What is marked with it was no request; nothing of it may be believed.
pub const REFUSED: HeaderName = HeaderName::from_static("graygate-refused");

/// A field that no request may have: the crate resets the stream for it.
const RESET: (&[u8], &[u8]) = (b"connection", b"close");
/// A block that is none, which ends the connection.
const BROKEN: [u8; 1] = [0x80];

/// How the blocks of a connection go on.
#[derive(Debug, PartialEq, Eq)]
enum Passing {
    AsTheyCame,
    SpeltOut,
}

/// Mends the blocks of one connection.
#[derive(Debug)]
pub struct Mender {
    passing: Passing,
    table: Table,
    /// Bytes of a list of fields that the crate takes; more is too large however much more it is.
    most: usize,
}

/// What becomes of a field.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Instead(Vec<u8>),
    /// It makes the request one that is refused; a value in its place lets the crate pass the rest on.
    Refused(Option<&'static [u8]>),
}

/// A block is none, and the crate will end the connection for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

impl Mender {
    /// For an `h2` connection with this limit on lists of fields.
    pub fn new(most: usize) -> Mender {
        Mender { passing: Passing::AsTheyCame, table: Table::new(), most }
    }

    /// The block as it is to go on; `None`: as it came.
    pub fn mend(&mut self, block: &[u8]) -> Result<Option<Vec<u8>>, Lost> {
        if self.passing == Passing::SpeltOut {
            return Ok(Some(self.spell_out(Spelt::default(), block)));
        }
        let mut rest = block;
        let mut is_request = false;
        while !rest.is_empty() {
            let here = block.len() - rest.len();
            match self.table.read(&mut rest).ok_or(Lost)? {
                // It was looked at when it came.
                Step::Earlier(place) => {
                    is_request |= self.table.field(place).ok_or(Lost)?.0.starts_with(b":");
                }
                Step::TableBytes(bytes) => self.table.limit(bytes).ok_or(Lost)?,
                Step::Literal(field) if judge(&field.name, &field.value) == Verdict::Fine => {
                    is_request |= field.name.starts_with(b":");
                    if field.is_kept {
                        self.table.keep(&field);
                    }
                }
                Step::Literal(_) => {
                    self.passing = Passing::SpeltOut;
                    // Up to here the crate's table is ours.
                    let (before, rest) = block.split_at_checked(here).ok_or(Lost)?;
                    let spelt = Spelt { block: before.to_vec(), is_request, ..Spelt::default() };
                    return Ok(Some(self.spell_out(spelt, rest)));
                }
            }
        }
        Ok(None)
    }

    /// Adds the fields of `rest`, each by itself.
    fn spell_out(&mut self, mut spelt: Spelt, mut rest: &[u8]) -> Vec<u8> {
        while !rest.is_empty() {
            let Some(()) = self.spell_next(&mut spelt, &mut rest) else { return BROKEN.to_vec() };
        }
        match (spelt.is_refused, spelt.is_request) {
            (false, _) => {}
            (true, true) => write_field(REFUSED.as_str().as_bytes(), b"", &mut spelt.block),
            // No answer can follow a request that is under way.
            (true, false) => write_field(RESET.0, RESET.1, &mut spelt.block),
        }
        spelt.block
    }

    fn spell_next(&mut self, spelt: &mut Spelt, rest: &mut &[u8]) -> Option<()> {
        match self.table.read(rest)? {
            Step::TableBytes(bytes) => self.table.limit(bytes)?,
            Step::Earlier(place) => {
                let (name, value) = self.table.field(place)?;
                spelt.add(name, value, self.most);
            }
            Step::Literal(field) => {
                spelt.add(&field.name, &field.value, self.most);
                self.keep(&field);
            }
        }
        Some(())
    }

    fn keep(&mut self, field: &Literal<'_>) {
        if field.is_kept {
            self.table.keep(field);
        }
    }
}

/// A block that is written again.
#[derive(Default)]
struct Spelt {
    block: Vec<u8>,
    /// Bytes of its list of fields, as the crate counts them.
    bytes: usize,
    /// It has fields that only requests have.
    is_request: bool,
    is_refused: bool,
}

impl Spelt {
    fn add(&mut self, name: &[u8], value: &[u8], most: usize) {
        self.is_request |= name.starts_with(b":");
        let verdict = judge(name, value);
        self.is_refused |= matches!(verdict, Verdict::Refused(_));
        let value = match &verdict {
            Verdict::Fine => value,
            Verdict::Instead(instead) => instead,
            Verdict::Refused(Some(instead)) => instead,
            Verdict::Refused(None) => return,
        };
        // One byte on the wire can stand for thousands: what is too large already says so without the rest.
        if self.bytes <= most {
            self.bytes += FIELD_OVERHEAD + name.len() + value.len();
            write_field(name, value, &mut self.block);
        }
    }
}

/// What the crate would do with a field, and what is done instead.
fn judge(name: &[u8], value: &[u8]) -> Verdict {
    let refused = |is_fine: bool, instead| if is_fine { Verdict::Fine } else { Verdict::Refused(instead) };
    match name {
        b":path" => match over_http2(value) {
            Target::AsItIs => Verdict::Fine,
            Target::Escaped(path) => Verdict::Instead(path.into_bytes()),
            Target::Refused => Verdict::Refused(Some(b"/")),
        },
        b":authority" => refused(Authority::try_from(value).is_ok(), None),
        b":method" => refused(Method::from_bytes(value).is_ok(), Some(b"GET")),
        b":scheme" => refused(Scheme::try_from(value).is_ok(), Some(b"http")),
        b":status" => refused(StatusCode::from_bytes(value).is_ok(), None),
        b":protocol" => refused(value.is_ascii(), None),
        [b':', ..] => Verdict::Refused(None),
        _ => {
            let is_value = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..));
            refused(is_value && HeaderName::from_lowercase(name).is_ok(), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1_000;
    const MARK: (&str, &str) = ("graygate-refused", "");

    /// What the crate would read of blocks that passed through one mender, each as its fields.
    fn passed(blocks: &[&[u8]]) -> Vec<Vec<(String, String)>> {
        let (mut mender, mut crates) = (Mender::new(MOST), Table::new());
        let through = |block: &&[u8]| {
            let block = mender.mend(block).unwrap().unwrap_or(block.to_vec());
            let (mut rest, mut fields) = (&block[..], Vec::new());
            while !rest.is_empty() {
                let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
                match crates.read(&mut rest).unwrap() {
                    Step::TableBytes(bytes) => crates.limit(bytes).unwrap(),
                    Step::Earlier(place) => {
                        let (name, value) = crates.field(place).unwrap();
                        fields.push((text(name), text(value)));
                    }
                    Step::Literal(field) => {
                        fields.push((text(&field.name), text(&field.value)));
                        if field.is_kept {
                            crates.keep(&field);
                        }
                    }
                }
            }
            fields
        };
        blocks.iter().map(through).collect()
    }

    #[track_caller]
    fn check(blocks: &[&[u8]], expected: &[&[(&str, &str)]]) {
        let fields = |fields: &&[(&str, &str)]| {
            fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
        };
        let expected: Vec<Vec<_>> = expected.iter().map(fields).collect();
        assert_eq!(passed(blocks), expected, "{blocks:x?}");
    }

    const GET: (&str, &str) = (":method", "GET");
    const HTTP: (&str, &str) = (":scheme", "http");

    #[test]
    fn a_path_is_escaped_however_it_is_spelt() {
        let query = |path: &'static str| [GET, (":path", path), HTTP];
        for (path, expected) in [
            // Not kept, never kept, kept.
            (&[0x04, 0x04, b'/', b'?', b'<', b'>'][..], "/?%3C%3E"),
            (&[0x14, 0x04, b'/', b'?', b'<', b'>'], "/?%3C%3E"),
            (&[0x44, 0x04, b'/', b'?', b'"', b'\''], "/?%22\\'"),
            // By its name, and in Huffman's code: a slash and the byte ff.
            (&[0x00, 0x05, b':', b'p', b'a', b't', b'h', 0x02, b'/', b'<'], "/%3C"),
            (&[0x04, 0x84, 0x63, 0xff, 0xff, 0xee], "/%FF"),
            (&[0x44, 0x03, b'/', b'?', 0xff], "/?%FF"),
        ] {
            let block = [&[0x82][..], path, &[0x86]].concat();
            check(&[&block], &[&query(expected)]);
        }
    }

    #[test]
    fn later_blocks_may_refer_to_what_was_mended() {
        let kept = [0x82, 0x44, 0x02, b'/', b'<', 0x86];
        // The name alone, out of the table, with another value; and a path that a name of the table makes a path.
        let again = [0x82, 0xbe, 0x86];
        let renamed = [0x82, 0x7e, 0x02, b'/', b'>', 0x86];
        let after = [0x82, 0xbf, 0x86, 0x84];
        check(
            &[&kept, &again, &renamed, &after, &[0x84]],
            &[
                &[GET, (":path", "/%3C"), HTTP],
                &[GET, (":path", "/%3C"), HTTP],
                &[GET, (":path", "/%3E"), HTTP],
                &[GET, (":path", "/%3C"), HTTP, (":path", "/")],
                &[(":path", "/")],
            ],
        );
        // What was kept before the first mended block, and what the crate kept in its first part, stays what it was.
        let before = [0x82, 0x84, 0x40, 0x01, b'x', 0x01, b'1'];
        let mixed = [0x82, 0x40, 0x01, b'y', 0x01, b'2', 0x44, 0x02, b'/', b'<', 0x86, 0xc0, 0xbf];
        check(
            &[&before, &mixed, &[0xc0, 0xbf, 0xbe]],
            &[
                &[GET, (":path", "/"), ("x", "1")],
                &[GET, ("y", "2"), (":path", "/%3C"), HTTP, ("x", "1"), ("y", "2")],
                &[("x", "1"), ("y", "2"), (":path", "/%3C")],
            ],
        );
        // A table that was emptied by the client.
        check(
            &[&kept, &[0x20, 0x3f, 0xe1, 0x1f, 0x82, 0x40, 0x01, b'x', 0x01, b'1'], &[0xbe]],
            &[&[GET, (":path", "/%3C"), HTTP], &[GET, ("x", "1")], &[("x", "1")]],
        );
    }

    #[test]
    fn what_cannot_be_mended_is_marked() {
        for (field, expected) in [
            (&[0x44, 0x03, b'/', b'a', b' '][..], vec![(":path", "/")]),
            (&[0x44, 0x03, b'/', b'#', b'a'], vec![(":path", "/")]),
            (&[0x44, 0x02, b'/', 0x7f], vec![(":path", "/")]),
            (&[0x44, 0x00], vec![(":path", "/")]),
            (&[0x44, 0x01, b'a'], vec![(":path", "/")]),
            (&[0x41, 0x02, b'a', b'<'], vec![]),
            (&[0x41, 0x01, 0xff], vec![]),
            (&[0x41, 0x00], vec![]),
            (&[0x42, 0x02, b'G', b' '], vec![(":method", "GET")]),
            (&[0x46, 0x01, b'<'], vec![(":scheme", "http")]),
            (&[0x40, 0x02, b':', b'x', 0x01, b'1'], vec![]),
            (&[0x40, 0x01, b'X', 0x01, b'1'], vec![]),
            (&[0x40, 0x01, b'x', 0x01, b'\n'], vec![]),
            (&[0x40, 0x00, 0x01, b'1'], vec![]),
        ] {
            let block = [&[0x82, 0x86][..], field, &[0x40, 0x01, b'y', 0x01, b'2']].concat();
            let expected = [&[GET, HTTP][..], &expected, &[("y", "2"), MARK]].concat();
            check(&[&block, &[0xbe]], &[&expected, &[("y", "2")]]);
        }
        // Trailers.
        check(&[&[0x40, 0x01, b'X', 0x01, b'1']], &[&[("connection", "close")]]);
    }

    #[test]
    fn everything_else_goes_on_as_it_came() {
        let utf8 = [&[0x82, 0x44, 0x04, b'/'][..], "\u{7528}".as_bytes()].concat();
        let mut mender = Mender::new(MOST);
        for block in [
            &[0x82, 0x86, 0x84, 0x41, 0x01, b'a'][..],
            &utf8,
            &[0x82, 0x44, 0x05, b'/', b'?', b'`', b'|', b'~', 0x04, 0x01, b'*'],
            // A header's value may be any bytes.
            &[0x82, 0x40, 0x01, b'x', 0x01, 0xff, 0x60, 0x01, b'<'],
            &[0xbe, 0xbf],
            &[],
        ] {
            assert_eq!(mender.mend(block), Ok(None), "{block:x?}");
        }
        assert_eq!(mender.mend(&[0x44, 0x7f]), Err(Lost));
    }

    #[test]
    fn a_block_that_is_none_ends_a_connection_that_is_spelt_out() {
        let mut mender = Mender::new(MOST);
        assert!(mender.mend(&[0x44, 0x02, b'/', b'<']).unwrap().is_some());
        // The crate's own table has nothing at this place.
        assert_eq!(mender.mend(&[0xbf]), Ok(Some(BROKEN.to_vec())));
    }

    #[test]
    fn a_few_bytes_do_not_become_thousands() {
        let field = [&[0x44, 0x02, b'/', b'<', 0x40, 0x01, b'x', 0x7f, 0x49][..], &[b'y'; 200]].concat();
        let block = [&field[..], &[0xbe; 300]].concat();
        let written = Mender::new(MOST).mend(&block).unwrap().unwrap();
        assert!((MOST..2 * MOST).contains(&written.len()), "{}", written.len());
    }
}
