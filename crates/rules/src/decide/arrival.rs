//! The one entry point of a request: from what arrived to what the decision sees.
//!
//! Answers: what of this request is believed, and is it one at all? Proxy and explanations, and whatever else asks for
//! a decision, fill an [`Arrival`] and nothing else, so that all of them see the same request. Owns the order: beliefs,
//! removal of what an untrusted peer must not say, host, path. Never: a look at routes or rules.

use http::{HeaderMap, HeaderValue, Version, header};

use super::fields::Fields;
use super::path::{BadPath, PathBuffer, normalise_host};
use super::request::Request;
use super::rewrite::apply;
use super::trust::{Admitted, Peer, Trust};

/// A request as it came, nothing of it believed yet.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    pub method: &'a str,
    /// The host that the target itself names, as a whole URL does; it goes before the `Host` header.
    pub authority: Option<&'a [u8]>,
    /// Without the query.
    pub path: &'a [u8],
    /// Without the question mark.
    pub query: Option<&'a [u8]>,
    pub fields: Fields<'a>,
    pub peer: Peer,
    pub version: Version,
    /// Nanoseconds since 1970.
    pub now: i128,
    /// The identity a client without one would be given.
    pub fresh_identity: Option<&'a str>,
}

/// What came of an arrival: beliefs that stand even where the request is refused, and the request.
#[derive(Debug)]
pub struct Admission<'a> {
    pub admitted: Admitted,
    pub request: Result<Request<'a>, BadArrival>,
}

/// Why a request is refused before any route is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadArrival {
    #[error("the host is not one")]
    Host,
    /// Only HTTP/1.0 may leave it out; such a request is routed as one to the empty host.
    #[error("the request names no host")]
    NoHost,
    #[error(transparent)]
    Path(#[from] BadPath),
}

/// Buffers of one thread, reused from request to request, so that admitting an ordinary one allocates nothing.
#[derive(Default, Debug)]
pub struct Buffers {
    path: PathBuffer,
    host: String,
    /// The headers that are left where some had to be removed.
    headers: HeaderMap,
    inherited: Option<HeaderValue>,
    /// The text of a tester's word.
    word: Vec<u8>,
}

impl<'a> Arrival<'a> {
    /// Settles what is believed, hides what is not, and normalises host and path. The fields that arrived stay as they
    /// are: the caller that sends them on has to run [`Admitted::edits`] on them.
    pub fn admit(self, trust: &'a Trust, buffers: &'a mut Buffers) -> Admission<'a> {
        let admitted = trust.believe(self.peer, self.fields);
        let request = self.normalise(&admitted, trust, buffers);
        Admission { admitted, request }
    }

    fn normalise(
        self,
        admitted: &Admitted,
        trust: &'a Trust,
        buffers: &'a mut Buffers,
    ) -> Result<Request<'a>, BadArrival> {
        let Buffers { path, host, headers, inherited, word } = buffers;
        // Of the fields as they arrived: what is decided about no longer has the word.
        let tester = trust.overrides.tester(self.fields, self.now, word);
        let fields = if admitted.edits.is_empty() {
            self.fields
        } else {
            self.fields.copy_to(headers);
            apply(&admitted.edits, headers);
            Fields::from(&*headers)
        };
        *inherited = admitted.inherited.clone();
        let named = self.authority.or_else(|| fields.first(&header::HOST));
        let host = normalise_host(named.unwrap_or_default(), host).ok_or(BadArrival::Host)?;
        let path = path.normalise(self.path)?;
        if host.name.is_empty() && self.version != Version::HTTP_10 {
            return Err(BadArrival::NoHost);
        }
        Ok(Request {
            method: self.method,
            scheme: admitted.scheme,
            host: host.name,
            port: host.port,
            path,
            query: self.query,
            fields,
            client: admitted.client,
            pins_trusted: admitted.version_trusted,
            inherited: inherited.as_ref().and_then(|version| version.to_str().ok()),
            places: trust.places.as_deref(),
            tester,
            now: self.now,
            fresh_identity: self.fresh_identity,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::decide::{Overrides, text};
    use crate::vocab::canonical_net;

    fn trust() -> Trust {
        let nets = |text: &str| canonical_net(text).into_iter().collect();
        Trust {
            forwarded: nets("10.0.0.0/8"),
            version: nets("10.0.0.0/8"),
            version_header: HeaderName::from_static("x-gray-version"),
            baggage: true,
            overrides: Overrides::default(),
            places: None,
        }
    }

    fn peer(address: &str) -> Peer {
        Peer { address: address.parse().unwrap(), scheme: "http", trusted: false }
    }

    fn arrival<'a>(headers: &'a HeaderMap, address: &str) -> Arrival<'a> {
        Arrival {
            method: "GET",
            authority: None,
            path: b"/a//b",
            query: None,
            fields: headers.into(),
            peer: peer(address),
            version: Version::HTTP_11,
            now: 0,
            fresh_identity: None,
        }
    }

    #[test]
    fn only_the_oldest_protocol_may_name_no_host() {
        let mut named = HeaderMap::new();
        named.insert("host", HeaderValue::from_static("A.test:81"));
        let unnamed = HeaderMap::new();
        let refused = |reason: BadArrival| Err(reason.to_string());
        for (headers, version, authority, expected) in [
            (&named, Version::HTTP_11, None, Ok(("a.test", Some(81)))),
            (&named, Version::HTTP_10, None, Ok(("a.test", Some(81)))),
            (&named, Version::HTTP_11, Some("b.test"), Ok(("b.test", None))),
            (&unnamed, Version::HTTP_2, Some("b.test"), Ok(("b.test", None))),
            (&unnamed, Version::HTTP_10, None, Ok(("", None))),
            (&unnamed, Version::HTTP_11, None, refused(BadArrival::NoHost)),
            (&unnamed, Version::HTTP_2, None, refused(BadArrival::NoHost)),
            (&named, Version::HTTP_11, Some("a b"), refused(BadArrival::Host)),
        ] {
            let arrival =
                Arrival { version, authority: authority.map(str::as_bytes), ..arrival(headers, "1.1.1.1") };
            let mut buffers = Buffers::default();
            let trust = trust();
            let admission = arrival.admit(&trust, &mut buffers);
            let found = admission.request.map(|request| (request.host, request.port));
            assert_eq!(found.map_err(|reason| reason.to_string()), expected, "{version:?} {authority:?}");
        }
    }

    #[test]
    fn what_an_untrusted_peer_must_not_say_is_not_seen() {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("a.test"));
        headers.insert("x-gray-version", HeaderValue::from_static("gray"));
        headers.insert("baggage", HeaderValue::from_static("gray.version=gray,k=v"));
        for (address, inherited, version, baggage) in [
            ("10.0.0.1", Some("gray"), Some("gray"), "gray.version=gray,k=v"),
            ("1.1.1.1", None, None, "k=v"),
        ] {
            let mut buffers = Buffers::default();
            let trust = trust();
            let Admission { admitted, request } = arrival(&headers, address).admit(&trust, &mut buffers);
            let request = request.unwrap();
            assert_eq!(request.inherited, inherited, "{address}");
            assert_eq!(request.pins_trusted, inherited.is_some(), "{address}");
            assert_eq!(request.path.view, "/a/b", "{address}");
            let seen = |name| request.fields.first(&HeaderName::from_static(name)).and_then(text);
            assert_eq!((seen("x-gray-version"), seen("baggage")), (version, Some(baggage)), "{address}");
            // What is sent on and what was decided about are the same headers.
            let mut sent = headers.clone();
            apply(&admitted.edits, &mut sent);
            let mut seen = HeaderMap::new();
            request.fields.copy_to(&mut seen);
            assert_eq!(sent, seen, "{address}");
        }
    }

    #[test]
    fn a_refused_request_still_has_a_client() {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("a.test"));
        headers.insert("x-forwarded-for", HeaderValue::from_static("1.2.3.4"));
        let climbing = Arrival { path: b"/../x", ..arrival(&headers, "10.0.0.1") };
        let mut buffers = Buffers::default();
        let trust = trust();
        let admission = climbing.admit(&trust, &mut buffers);
        assert_eq!(admission.request.unwrap_err(), BadArrival::Path(BadPath::Climbs));
        assert_eq!(admission.admitted.client.to_string(), "1.2.3.4");
    }
}
