//! What the decision looks at: a request whose target is already normal, and the values of its attributes.

use std::io::Write as _;
use std::net::IpAddr;

use http::{HeaderName, header};

use super::fields::Fields;
use super::path::Path;
use super::places::Places;
use super::tester::Tester;
use crate::vocab::Attribute;

/// A request as the decision sees it. Everything untrusted was taken out of `fields` before.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    pub scheme: &'a str,
    /// Normalised, without port.
    pub host: &'a str,
    /// As the client named it beside the host.
    pub port: Option<u16>,
    pub path: Path<'a>,
    /// As it came, without the question mark.
    pub query: Option<&'a [u8]>,
    pub fields: Fields<'a>,
    /// The client's address, canonical.
    pub client: IpAddr,
    /// Whether the peer may set pins.
    pub pins_trusted: bool,
    /// The version a trusted peer has decided before.
    pub inherited: Option<&'a str>,
    /// Where addresses are; `None`: not known.
    pub places: Option<&'a Places>,
    /// A word that puts its bearer into a version.
    pub tester: Option<Tester<'a>>,
    /// Nanoseconds since 1970, for rules with a window.
    pub now: i128,
    /// The identity a client without one would be given.
    pub fresh_identity: Option<&'a str>,
}

/// Buffers for values of attributes, so that looking at them allocates nothing once they have grown.
#[derive(Default, Debug)]
pub struct Values {
    /// A decoded or printed value.
    value: Vec<u8>,
    name: Vec<u8>,
    /// A value with its case folded.
    folded: Vec<u8>,
}

/// A request as the conditions of one service see it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'r> {
    pub request: &'r Request<'r>,
    /// The attribute the request is not trusted to have: the service's pin.
    pub hidden: Option<&'r Attribute>,
}

impl Seen<'_> {
    pub(super) fn hides(&self, attribute: &Attribute) -> bool {
        self.hidden == Some(attribute)
    }

    /// Calls `test` with each value of the attribute until it returns true, and returns whether it did. A hidden
    /// attribute has no value.
    pub(super) fn any_value(
        &self,
        attribute: &Attribute,
        values: &mut Values,
        test: &mut dyn FnMut(&[u8], &mut Vec<u8>) -> bool,
    ) -> bool {
        !self.hides(attribute) && any_value(attribute, self.request, values, test)
    }
}

fn any_value(
    attribute: &Attribute,
    request: &Request<'_>,
    values: &mut Values,
    test: &mut dyn FnMut(&[u8], &mut Vec<u8>) -> bool,
) -> bool {
    let folded = &mut values.folded;
    match attribute {
        Attribute::Header(name) => request.fields.values(name).any(|value| test(value, folded)),
        Attribute::Cookie(name) => {
            cookies(request.fields).any(|(found, value)| found == name.as_bytes() && test(value, folded))
        }
        Attribute::Query(name) => parameters(request.query).any(|(found, value)| {
            decode_parameter(found, &mut values.name);
            if values.name != name.as_bytes() {
                return false;
            }
            decode_parameter(value, &mut values.value);
            test(&values.value, folded)
        }),
        Attribute::Path => test(request.path.view.as_bytes(), folded),
        // A request that names no host has none.
        Attribute::Host => !request.host.is_empty() && test(request.host.as_bytes(), folded),
        Attribute::Method => test(request.method.as_bytes(), folded),
        Attribute::Scheme => test(request.scheme.as_bytes(), folded),
        Attribute::Ip => {
            values.value.clear();
            // Writing to a vector cannot fail.
            let _ = write!(values.value, "{}", request.client);
            test(&values.value, folded)
        }
        Attribute::Geo(field) => request.places.is_some_and(|places| {
            places.write(request.client, *field, &mut values.value) && test(&values.value, folded)
        }),
    }
}

/// The cookies of all `Cookie` headers; HTTP/2 clients send one header a cookie.
pub fn cookies<'r>(fields: Fields<'r>) -> impl Iterator<Item = (&'r [u8], &'r [u8])> {
    static COOKIE: HeaderName = header::COOKIE;
    fields.values(&COOKIE).flat_map(|line| line.split(|b| *b == b';')).filter_map(|pair| {
        let pair = pair.trim_ascii();
        let equals = pair.iter().position(|b| *b == b'=')?;
        let (name, value) = pair.split_at_checked(equals)?;
        Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
    })
}

/// Names and values of a query, still encoded; a parameter without `=` has empty text.
pub fn parameters(query: Option<&[u8]>) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.unwrap_or_default().split(|b| *b == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        match pair.iter().position(|b| *b == b'=').and_then(|equals| pair.split_at_checked(equals)) {
            Some((name, value)) => (name, value.get(1..).unwrap_or_default()),
            None => (pair, &b""[..]),
        }
    })
}

/// Decodes a name or value of a query: `+` is a space, a broken escape stands for itself.
pub fn decode_parameter(text: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let digit = |b: u8| char::from(b).to_digit(16);
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return,
            [b'+', after @ ..] => {
                out.push(b' ');
                after
            }
            [b'%', high, low, after @ ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    out.push((high * 16 + low) as u8);
                    after
                }
                _ => {
                    out.push(b'%');
                    rest.get(1..).unwrap_or_default()
                }
            },
            [byte, after @ ..] => {
                out.push(*byte);
                after
            }
        };
    }
}

/// The query without a parameter; `None` when it stays as it is.
pub fn without_parameter(query: &str, name: &str) -> Option<String> {
    let mut decoded = Vec::new();
    let mut is_named = |pair: &str| {
        decode_parameter(pair.split('=').next().unwrap_or_default().as_bytes(), &mut decoded);
        decoded == name.as_bytes()
    };
    let pairs: Vec<&str> = query.split('&').collect();
    let kept: Vec<&str> = pairs.iter().copied().filter(|pair| !is_named(pair)).collect();
    (kept.len() < pairs.len()).then(|| kept.join("&"))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn parameters_are_decoded() {
        for (query, expected) in [
            ("a=1&b=2", vec![("a", "1"), ("b", "2")]),
            ("a", vec![("a", "")]),
            ("a=&&b=x=y", vec![("a", ""), ("b", "x=y")]),
            ("%61=a+b%20c", vec![("a", "a b c")]),
            ("a=%zz%4&b=%", vec![("a", "%zz%4"), ("b", "%")]),
            ("=x", vec![("", "x")]),
            ("", vec![]),
        ] {
            let found: Vec<(String, String)> = parameters(Some(query.as_bytes()))
                .map(|(name, value)| {
                    let read = |text| {
                        let mut out = Vec::new();
                        decode_parameter(text, &mut out);
                        String::from_utf8(out).unwrap()
                    };
                    (read(name), read(value))
                })
                .collect();
            let found: Vec<_> = found.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(found, expected, "{query}");
        }
    }

    #[test]
    fn cookies_come_from_every_line() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", "a=1; b=\"x\";c = d ;flag".parse().unwrap());
        headers.append("cookie", "a=2".parse().unwrap());
        let found: Vec<_> = cookies((&headers).into())
            .map(|(n, v)| format!("{}={}", String::from_utf8_lossy(n), String::from_utf8_lossy(v)))
            .collect();
        assert_eq!(found, ["a=1", "b=\"x\"", "c=d", "a=2"]);
    }
}
