//! A response's head as bytes, for its client.
//!
//! Answers: what exactly is written? Owns what of a response's head concerns the upstream's connection alone. Never: IO.

use std::ops::Range;

use bytes::{BufMut as _, BytesMut};
use http::{HeaderValue, Version, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::date::get_cached_date;

use super::response::Head;
use crate::edge::{Line, write_head, write_status};

/// Whether the client's connection goes on behind the response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Connection {
    Kept,
    Closed,
}

/// How the client is told where the body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// As the upstream told it.
    AsItCame,
    /// In chunks, though the upstream's connection says it.
    InChunks,
    /// With a status that has none: nothing is said of a body.
    Nothing,
}

/// A response's head as it came, but for what concerns the upstream's connection.
pub fn write_response(out: &mut BytesMut, head: &Head, bytes: &[u8], told: Told, connection: Connection) {
    let version = if told == Told::InChunks { Version::HTTP_11 } else { head.version };
    write_status(out, version, head.status, head.phrase.within(bytes));
    let mut has_date = false;
    let mut staying = Staying::of(bytes);
    for line in &head.fields {
        let name = line.name.within(bytes);
        // A response was made once.
        let is_date = name.eq_ignore_ascii_case(b"date");
        if !(is_dropped(name, head, told) || is_date && has_date) {
            staying.take(line, out);
        }
        has_date |= is_date;
    }
    staying.write(out);
    if told == Told::InChunks {
        out.put_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if !has_date {
        write_field(out, b"Date", get_cached_date().as_bytes());
    }
    end_head(out, connection);
}

/// A response's head that was edited.
pub fn write_edited(out: &mut BytesMut, head: &mut ResponseHeader, told: Told, connection: Connection) {
    match told {
        Told::AsItCame => {}
        Told::InChunks => {
            head.set_version(Version::HTTP_11);
            // The value is well-formed.
            let _ = head.insert_header(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Told::Nothing => {
            head.remove_header(&header::TRANSFER_ENCODING);
            head.remove_header(&header::CONTENT_LENGTH);
        }
    }
    head.remove_header(&header::CONNECTION);
    let date = head.headers.get(header::DATE).cloned().unwrap_or_else(get_cached_date);
    let _ = head.insert_header(header::DATE, date);
    write_head(out, head);
    // The blank line is written behind the last field.
    out.truncate(out.len() - b"\r\n".len());
    end_head(out, connection);
}

/// Writes lines that came: as they are where they can stay so, those that stand together all at once.
pub struct Staying<'b> {
    bytes: &'b [u8],
    /// Those that are still to be written.
    together: Range<usize>,
}

impl<'b> Staying<'b> {
    /// Of lines in these bytes.
    pub fn of(bytes: &'b [u8]) -> Staying<'b> {
        Staying { bytes, together: 0..0 }
    }

    /// Takes the next line.
    pub fn take(&mut self, line: &Line, out: &mut BytesMut) {
        match line.whole(self.bytes) {
            Some(whole) if whole.start == self.together.end => self.together.end = whole.end,
            Some(whole) => {
                self.write(out);
                self.together = whole;
            }
            None => {
                self.write(out);
                write_field(out, line.name.within(self.bytes), line.value.within(self.bytes));
            }
        }
    }

    /// Writes what was taken: to be called before anything else is written.
    pub fn write(&mut self, out: &mut BytesMut) {
        let together = std::mem::take(&mut self.together);
        out.put_slice(self.bytes.get(together).unwrap_or_default());
    }
}

/// Writes one field's line.
pub fn write_field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

fn end_head(out: &mut BytesMut, connection: Connection) {
    out.put_slice(match connection {
        Connection::Kept => b"Connection: keep-alive\r\n\r\n",
        Connection::Closed => b"Connection: close\r\n\r\n",
    });
}

/// Whether a field of a response is for us alone, or would say something else to the client than what follows.
fn is_dropped(name: &[u8], head: &Head, told: Told) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    match name.len() {
        2 => is("te"),
        7 => is("trailer"),
        10 => is("connection") || is("keep-alive"),
        14 => (told == Told::Nothing || head.has.transfer_encoding) && is("content-length"),
        16 => is("proxy-connection"),
        17 => told == Told::Nothing && is("transfer-encoding"),
        18 => is("proxy-authenticate"),
        _ => false,
    }
}
