//! A plain request's head: the bytes that came, and what its upstream is told otherwise.
//!
//! Answers: what do rules read, and what is written for the upstream? Edits are noted and not made: most of them are the
//! same few fields, which only have to be written. Never: which edits are made.

use std::cell::RefCell;

use bytes::{BufMut as _, BytesMut};
use http::{HeaderName, HeaderValue, Version, header};

use super::lines::{Staying, write_field};
use crate::edge::{Line, PlainRequest};
use crate::request::head::{RequestHead, Room};
use graygate_rules::decide::{Field, Fields};

/// Fields of a client's connection, which an upstream is not told.
const CLIENTS_OWN: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
];
/// Room for what is set for most upstreams: the id and the trace, who asked and how, the version.
const USUAL_CHANGES: usize = 10;

/// One head.
pub struct PlainHead<'r> {
    request: &'r PlainRequest,
    /// In the order of their making. No field is both set and removed, or either of them twice; nothing was added to one
    /// before it was set.
    changes: Vec<Change>,
    /// How long the changed names are: nearly every other name is told from all of them by its own length.
    lengths: Lengths,
}

/// Lengths of names, a bit each.
#[derive(Clone, Copy, Default)]
struct Lengths(u64);

impl Lengths {
    fn add(&mut self, length: usize) {
        self.0 |= 1 << (length % 64);
    }

    /// False where no name is so long.
    fn may_have(self, length: usize) -> bool {
        self.0 & 1 << (length % 64) != 0
    }
}

/// Rooms for changes that a thread keeps: no head is in use for longer than it takes to decide and to write it, so that
/// one of them is used again and again.
const MOST_KEPT: usize = 4;

thread_local! {
    static KEPT: RefCell<Vec<Vec<Change>>> = const { RefCell::new(Vec::new()) };
}

impl Drop for PlainHead<'_> {
    fn drop(&mut self) {
        let mut changes = std::mem::take(&mut self.changes);
        changes.clear();
        KEPT.with_borrow_mut(|kept| {
            if kept.len() < MOST_KEPT {
                kept.push(changes);
            }
        });
    }
}

struct Change {
    name: HeaderName,
    edit: Edit,
    /// It stands in the place of what came under its name.
    is_written: bool,
}

enum Edit {
    Set(HeaderValue),
    Remove,
    Add(HeaderValue),
}

impl Edit {
    fn value(&self) -> Option<&HeaderValue> {
        match self {
            Edit::Set(value) | Edit::Add(value) => Some(value),
            Edit::Remove => None,
        }
    }
}

impl<'r> PlainHead<'r> {
    pub fn of(request: &'r PlainRequest) -> PlainHead<'r> {
        let changes = KEPT.with_borrow_mut(Vec::pop);
        let changes = changes.unwrap_or_else(|| Vec::with_capacity(USUAL_CHANGES));
        PlainHead { request, changes, lengths: Lengths::default() }
    }

    /// Takes away what concerns the client's connection.
    pub fn strip(&mut self) {
        if self.request.lines.has_hop_by_hop {
            CLIENTS_OWN.iter().for_each(|name| self.remove(name));
        }
    }

    /// Writes the request for an upstream that is asked for `target`: the names as the client spelled them, the body
    /// behind the head.
    pub fn write(mut self, target: &[u8], out: &mut BytesMut) {
        let request = self.request;
        out.put_slice(request.method());
        out.put_u8(b' ');
        out.put_slice(target);
        out.put_slice(b" HTTP/1.1\r\n");
        let mut staying = Staying::of(request.bytes());
        for line in &request.lines.fields {
            let name = line.name.within(request.bytes());
            let change = match self.lengths.may_have(name.len()) {
                true => self.changes.iter_mut().find(|change| change.replaces(name)),
                false => None,
            };
            match change {
                None => staying.take(line, out),
                // In the place of the first one of several.
                Some(Change { edit: Edit::Set(own), is_written, .. }) if !*is_written => {
                    *is_written = true;
                    staying.write(out);
                    write_field(out, name, own.as_bytes());
                }
                Some(_) => {}
            }
        }
        staying.write(out);
        for change in &self.changes {
            match &change.edit {
                Edit::Set(value) | Edit::Add(value) if !change.is_written => {
                    write_field(out, change.name.as_str().as_bytes(), value.as_bytes());
                }
                _ => {}
            }
        }
        out.put_slice(b"\r\n");
        out.put_slice(request.body());
    }

    fn came(&self) -> impl Iterator<Item = Field<'r>> {
        let bytes = self.request.bytes();
        let field =
            move |line: &Line| Field { name: line.name.within(bytes), value: line.value.within(bytes) };
        self.request.lines.fields.iter().map(field)
    }

    /// The lines that came under a name.
    fn lines(&self, name: &HeaderName) -> impl Iterator<Item = &'r Line> {
        let (bytes, name) = (self.request.bytes(), name.as_str().as_bytes());
        self.request.lines.fields.iter().filter(move |line| {
            line.name.length() == name.len() && line.name.within(bytes).eq_ignore_ascii_case(name)
        })
    }

    /// Whether anything is noted under a name.
    fn is_changed(&self, name: &HeaderName) -> bool {
        self.lengths.may_have(name.as_str().len()) && self.changes.iter().any(|change| change.name == *name)
    }

    /// Whether something counts in place of what came under a name, in any case.
    fn is_replaced(&self, name: &[u8]) -> bool {
        self.lengths.may_have(name.len()) && self.changes.iter().any(|change| change.replaces(name))
    }

    fn replace(&mut self, name: HeaderName, edit: Edit) {
        if self.is_changed(&name) {
            self.changes.retain(|change| change.name != name);
        }
        self.note(name, edit);
    }

    fn note(&mut self, name: HeaderName, edit: Edit) {
        self.lengths.add(name.as_str().len());
        self.changes.push(Change { name, edit, is_written: false });
    }
}

impl Change {
    fn is_replacement(&self) -> bool {
        !matches!(self.edit, Edit::Add(_))
    }

    /// Whether it counts in place of what came under a name, in any case.
    fn replaces(&self, name: &[u8]) -> bool {
        let own = self.name.as_str().as_bytes();
        own.len() == name.len() && own.eq_ignore_ascii_case(name) && self.is_replacement()
    }
}

impl RequestHead for PlainHead<'_> {
    fn method(&self) -> &str {
        // Methods are letters and a few signs.
        std::str::from_utf8(self.request.method()).unwrap_or_default()
    }

    fn target(&self) -> &[u8] {
        self.request.target()
    }

    fn authority(&self) -> Option<&[u8]> {
        None
    }

    fn version(&self) -> Version {
        Version::HTTP_11
    }

    fn fields<'h: 'b, 'b>(&'h self, room: &'b mut Room<'h>) -> Fields<'b> {
        for field in self.came() {
            if !self.is_replaced(field.name) {
                room.push(field);
            }
        }
        for Change { name, edit, .. } in &self.changes {
            if let Some(value) = edit.value() {
                room.push(Field { name: name.as_str().as_bytes(), value: value.as_bytes() });
            }
        }
        Fields::Lines(room)
    }

    fn values(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let of_name = move |change: &&Change| change.name == *name;
        let is_replaced = self.changes.iter().filter(of_name).any(Change::is_replacement);
        let came = self.lines(name).filter(move |_| !is_replaced).map(|line| line.value);
        let own = self.changes.iter().filter(of_name).filter_map(|change| change.edit.value());
        came.map(|value| value.within(self.request.bytes())).chain(own.map(HeaderValue::as_bytes))
    }

    fn value(&self, name: &HeaderName) -> Option<&[u8]> {
        if self.is_changed(name) {
            return self.values(name).next();
        }
        self.lines(name).next().map(|line| line.value.within(self.request.bytes()))
    }

    fn shared(&self, name: &HeaderName) -> Option<HeaderValue> {
        if self.is_changed(name) {
            return self.values(name).next().and_then(|value| HeaderValue::from_bytes(value).ok());
        }
        self.lines(name).next().and_then(|line| self.request.share(line.value))
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.replace(name, Edit::Set(value));
    }

    fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.note(name, Edit::Add(value));
    }

    fn remove(&mut self, name: &HeaderName) {
        if self.lines(name).next().is_some() || self.is_changed(name) {
            self.replace(name.clone(), Edit::Remove);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::HeaderMap;
    use pingora::http::RequestHeader;
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;
    use crate::edge::plain_request;

    const NAMES: [&str; 5] = ["host", "via", "x-a", "x-b", "x-c"];
    const CAME: &str = "GET /p HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nvia: v\r\nx-a: 2\r\n";

    /// The values of each name, in their order.
    type Fields = BTreeMap<String, Vec<String>>;

    fn fields<'f>(pairs: impl Iterator<Item = (&'f str, &'f [u8])>) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in pairs {
            let value = String::from_utf8_lossy(value).into_owned();
            fields.entry(name.to_lowercase()).or_default().push(value);
        }
        fields
    }

    fn of_map(map: &HeaderMap) -> Fields {
        fields(map.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))
    }

    /// What is written of a head, read again.
    fn written(head: PlainHead<'_>) -> (String, Fields) {
        let mut out = BytesMut::new();
        head.write(b"/to", &mut out);
        let text = String::from_utf8(out.to_vec()).unwrap();
        let mut lines = text.strip_suffix("\r\n\r\n").unwrap().split("\r\n");
        let line = lines.next().unwrap();
        let pairs = lines.map(|line| line.split_once(": ").unwrap());
        let pairs = pairs.map(|(name, value)| (name, value.as_bytes()));
        (line.to_owned(), fields(pairs))
    }

    /// One edit, made to both.
    fn edit(random: &mut StdRng, heads: (&mut PlainHead<'_>, &mut RequestHeader)) {
        let name = HeaderName::from_static(NAMES[random.random_range(0..NAMES.len())]);
        let value = HeaderValue::from(random.random_range(10..99_u32));
        let (plain, framework) = heads;
        match random.random_range(0..3) {
            0 => {
                plain.remove(&name);
                framework.remove(&name);
            }
            1 => {
                plain.add(name.clone(), value.clone());
                framework.add(name, value);
            }
            _ => {
                plain.set(name.clone(), value.clone());
                framework.set(name, value);
            }
        }
    }

    #[test]
    fn edits_come_to_the_same_as_in_the_framework_s_head() {
        let request = plain_request(format!("{CAME}\r\n").as_bytes());
        let mut random = StdRng::seed_from_u64(7);
        for _ in 0..2_000 {
            let mut plain = PlainHead::of(&request);
            let mut framework = RequestHeader::build("GET", b"/p", None).unwrap();
            for line in &request.lines.fields {
                let [name, value] = [line.name, line.value].map(|span| span.within(request.bytes()));
                framework.append_header(HeaderName::from_bytes(name).unwrap(), value).unwrap();
            }
            for _ in 0..random.random_range(0..8) {
                edit(&mut random, (&mut plain, &mut framework));
                for name in NAMES.map(HeaderName::from_static) {
                    let own: Vec<_> = plain.values(&name).collect();
                    assert_eq!(own, framework.values(&name).collect::<Vec<_>>(), "{name}");
                    assert_eq!(plain.value(&name), framework.value(&name));
                }
            }
            let mut map = HeaderMap::new();
            plain.fields(&mut Room::new()).copy_to(&mut map);
            assert_eq!(of_map(&map), of_map(&framework.headers));
            assert_eq!(written(plain), ("GET /to HTTP/1.1".to_owned(), of_map(&framework.headers)));
        }
    }

    #[test]
    fn names_stay_as_they_were_spelled_and_where_they_stood() {
        let request = plain_request(format!("{CAME}Connection: keep-alive\r\n\r\n").as_bytes());
        let mut head = PlainHead::of(&request);
        head.strip();
        head.set(HeaderName::from_static("x-b"), HeaderValue::from_static("b"));
        head.set(HeaderName::from_static("x-a"), HeaderValue::from_static("a"));
        let mut out = BytesMut::new();
        head.write(b"/", &mut out);
        let expected = "GET / HTTP/1.1\r\nHost: h\r\nX-A: a\r\nvia: v\r\nx-b: b\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn a_target_that_is_plain_is_what_the_framework_reads() {
        for target in ["/", "//x", "/a?b=c&d=[e]", "/{a}|b", "/?", "/a'b;c=d,e*f!$"] {
            let request = plain_request(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
            let framework = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
            assert_eq!(PlainHead::of(&request).target(), RequestHead::target(&framework), "{target}");
        }
    }
}
