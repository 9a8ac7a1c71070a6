//! A plain request's head: the bytes that came, and what its upstream is told otherwise.
//!
//! Answers: what do rules read, and what is written for the upstream? Edits are noted and not made: most of them are the
//! same few fields, which only have to be written. Never: which edits are made.

use bytes::{BufMut as _, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::lines::{write_field, write_line};
use crate::edge::PlainRequest;
use crate::request::head::RequestHead;

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
    /// What rules read: what came, and the changes that are settled.
    fields: HeaderMap,
    /// In the order of their making. No field is both set and removed, or either of them twice; nothing was added to one
    /// before it was set.
    changes: Vec<Change>,
}

struct Change {
    name: HeaderName,
    edit: Edit,
    /// `fields` has it.
    is_settled: bool,
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
    /// `None` where the library has no room for what a field says.
    pub fn of(request: &'r PlainRequest) -> Option<PlainHead<'r>> {
        // The request's id is settled, and most others never are.
        let fields = request.fields(1)?;
        Some(PlainHead { request, fields, changes: Vec::with_capacity(USUAL_CHANGES) })
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
        for line in &request.lines.fields {
            let name = line.name.within(request.bytes());
            match self.changes.iter_mut().find(|change| change.replaces(name)) {
                None => write_line(out, line, request.bytes()),
                // In the place of the first one of several.
                Some(Change { edit: Edit::Set(own), is_written, .. }) if !*is_written => {
                    *is_written = true;
                    write_field(out, name, own.as_bytes());
                }
                Some(_) => {}
            }
        }
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

    fn replace(&mut self, name: HeaderName, edit: Edit) {
        if self.changes.iter().any(|change| change.name == name) {
            self.changes.retain(|change| change.name != name);
        }
        self.changes.push(Change::new(name, edit));
    }
}

impl Change {
    fn new(name: HeaderName, edit: Edit) -> Change {
        Change { name, edit, is_settled: false, is_written: false }
    }

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

    fn settle(&mut self) {
        for change in self.changes.iter_mut().filter(|change| !change.is_settled) {
            change.is_settled = true;
            match &change.edit {
                Edit::Set(value) => _ = self.fields.insert(&change.name, value.clone()),
                Edit::Remove => _ = self.fields.remove(&change.name),
                Edit::Add(value) => _ = self.fields.append(&change.name, value.clone()),
            }
        }
    }

    fn fields(&self) -> &HeaderMap {
        &self.fields
    }

    fn values(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        let of_name = move |change: &&Change| change.name == *name;
        let replacement = self.changes.iter().filter(of_name).find(|change| change.is_replacement());
        let came = replacement.is_none().then(|| self.fields.get_all(name).iter());
        let own = replacement.and_then(|change| change.edit.value());
        let added = self.changes.iter().filter(of_name).filter(move |change| {
            // One that is settled is among those that came.
            !change.is_replacement() && (replacement.is_some() || !change.is_settled)
        });
        let added = added.filter_map(|change| change.edit.value());
        own.into_iter().chain(came.into_iter().flatten()).chain(added)
    }

    fn value(&self, name: &HeaderName) -> Option<&HeaderValue> {
        if self.changes.iter().any(|change| change.name == *name) {
            return self.values(name).next();
        }
        self.fields.get(name)
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.replace(name, Edit::Set(value));
    }

    fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.changes.push(Change::new(name, Edit::Add(value)));
    }

    fn remove(&mut self, name: &HeaderName) {
        let is_there =
            self.fields.contains_key(name) || self.changes.iter().any(|change| change.name == *name);
        if is_there {
            self.replace(name.clone(), Edit::Remove);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
        match random.random_range(0..4) {
            0 => {
                plain.remove(&name);
                framework.remove(&name);
            }
            1 => {
                plain.add(name.clone(), value.clone());
                framework.add(name, value);
            }
            2 => plain.settle(),
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
            let mut plain = PlainHead::of(&request).unwrap();
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
            plain.settle();
            assert_eq!(of_map(plain.fields()), of_map(framework.fields()));
            assert_eq!(written(plain), ("GET /to HTTP/1.1".to_owned(), of_map(&framework.headers)));
        }
    }

    #[test]
    fn names_stay_as_they_were_spelled_and_where_they_stood() {
        let request = plain_request(format!("{CAME}Connection: keep-alive\r\n\r\n").as_bytes());
        let mut head = PlainHead::of(&request).unwrap();
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
            assert_eq!(
                PlainHead::of(&request).unwrap().target(),
                RequestHead::target(&framework),
                "{target}"
            );
        }
    }
}
