//! A request's head, as deciding and editing see it.
//!
//! Answers: what does a client say, and what is its upstream to be told instead? The framework has a head of its own; the
//! short path's says what differs from the bytes that came. Never: which edits are made.

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use pingora::http::RequestHeader;

/// A head that can be read and edited.
pub trait RequestHead {
    fn method(&self) -> &str;

    /// As it came.
    fn target(&self) -> &[u8];

    /// What names a host beside the target's bytes, as HTTP/2 does.
    fn authority(&self) -> Option<&[u8]>;

    fn version(&self) -> Version;

    /// All edits so far show in [`RequestHead::fields`].
    fn settle(&mut self);

    /// All fields, the edits up to the last [`RequestHead::settle`] made.
    fn fields(&self) -> &HeaderMap;

    /// A field's values, every edit made.
    fn values(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue>;

    /// The first of a field's values, every edit made.
    fn value(&self, name: &HeaderName) -> Option<&HeaderValue>;

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

    fn settle(&mut self) {}

    fn fields(&self) -> &HeaderMap {
        &self.headers
    }

    fn values(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.headers.get_all(name).iter()
    }

    fn value(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.headers.get(name)
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
