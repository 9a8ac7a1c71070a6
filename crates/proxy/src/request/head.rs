//! A request's head, as deciding and editing see it.
//!
//! Answers: what does a client say, and what is its upstream to be told instead? The framework has a head of its own; the
//! short path's says what differs from the bytes that came. Never: which edits are made.

use http::{HeaderName, HeaderValue, Version};
use pingora::http::RequestHeader;
use smallvec::SmallVec;

use graygate_rules::decide::{Field, Fields};

/// Fields of most requests.
const USUAL_FIELDS: usize = 24;

/// Where a head that is no map lists its fields.
pub type Room<'h> = SmallVec<[Field<'h>; USUAL_FIELDS]>;

/// A head that can be read and edited.
pub trait RequestHead {
    fn method(&self) -> &str;

    /// As it came.
    fn target(&self) -> &[u8];

    /// What names a host beside the target's bytes, as HTTP/2 does.
    fn authority(&self) -> Option<&[u8]>;

    fn version(&self) -> Version;

    /// All fields, every edit made.
    fn fields<'h: 'b, 'b>(&'h self, room: &'b mut Room<'h>) -> Fields<'b>;

    /// A field's values, every edit made.
    fn values(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]>;

    /// The first of a field's values, every edit made.
    fn value(&self, name: &HeaderName) -> Option<&[u8]>;

    /// The same, as a value of its own.
    fn shared(&self, name: &HeaderName) -> Option<HeaderValue>;

    /// Sets a field to one value.
    fn set(&mut self, name: HeaderName, value: HeaderValue);

    /// Gives a field one value more.
    fn add(&mut self, name: HeaderName, value: HeaderValue);

    fn remove(&mut self, name: &HeaderName);
}

impl RequestHead for RequestHeader {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn target(&self) -> &[u8] {
        self.raw_path()
    }

    fn authority(&self) -> Option<&[u8]> {
        self.uri.authority().map(|authority| authority.as_str().as_bytes())
    }

    fn version(&self) -> Version {
        self.version
    }

    fn fields<'h: 'b, 'b>(&'h self, _: &'b mut Room<'h>) -> Fields<'b> {
        Fields::Map(&self.headers)
    }

    fn values(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        self.headers.get_all(name).iter().map(HeaderValue::as_bytes)
    }

    fn value(&self, name: &HeaderName) -> Option<&[u8]> {
        self.headers.get(name).map(HeaderValue::as_bytes)
    }

    fn shared(&self, name: &HeaderName) -> Option<HeaderValue> {
        self.headers.get(name).cloned()
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        // Name and value are well-formed already; the framework also keeps the names' case.
        let _ = self.insert_header(name, value);
    }

    fn add(&mut self, name: HeaderName, value: HeaderValue) {
        let _ = self.append_header(name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }
}
