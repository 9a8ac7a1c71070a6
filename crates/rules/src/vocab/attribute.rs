//! What of a request is looked at: the one selector syntax.

use std::fmt;

use http::HeaderName;

use super::name::Label;

/// `header:<name>`, `cookie:<name>`, `query:<name>`, `path`, `host`, `method`, `scheme`, `ip` or `geo:<field>`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Attribute {
    /// Header names compare without case, which `HeaderName` takes care of.
    Header(HeaderName),
    Cookie(Label),
    /// The parameter's name as it reads decoded.
    Query(Label),
    Path,
    Host,
    Method,
    Scheme,
    Ip,
    /// Where the client's address is.
    Geo(GeoField),
}

/// What a database of places says of an address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GeoField {
    /// ISO 3166-1, two letters.
    Country,
    /// The largest subdivision, as ISO 3166-2 says it behind the country.
    Region,
    /// In English.
    City,
    /// The number of the autonomous system, in digits.
    Asn,
}

impl GeoField {
    pub const ALL: [GeoField; 4] = [GeoField::Country, GeoField::Region, GeoField::City, GeoField::Asn];

    pub fn as_str(self) -> &'static str {
        match self {
            GeoField::Country => "country",
            GeoField::Region => "region",
            GeoField::City => "city",
            GeoField::Asn => "asn",
        }
    }
}

impl Attribute {
    /// The selectors without a name, and the prefixes of those with one: for suggestions.
    pub const WORDS: [&'static str; 9] =
        ["header", "cookie", "query", "path", "host", "method", "scheme", "ip", "geo"];

    pub fn parse(text: &str) -> Option<Attribute> {
        if let Some((kind, name)) = text.split_once(':') {
            if name.is_empty() {
                return None;
            }
            return match kind {
                "header" => HeaderName::from_bytes(name.as_bytes()).ok().map(Attribute::Header),
                "cookie" if !name.contains([';', '=', ' ', ',']) => Some(Attribute::Cookie(name.into())),
                "query" => Some(Attribute::Query(name.into())),
                "geo" => GeoField::ALL.into_iter().find(|field| field.as_str() == name).map(Attribute::Geo),
                _ => None,
            };
        }
        Some(match text {
            "path" => Attribute::Path,
            "host" => Attribute::Host,
            "method" => Attribute::Method,
            "scheme" => Attribute::Scheme,
            "ip" => Attribute::Ip,
            _ => return None,
        })
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attribute::Header(name) => write!(f, "header:{name}"),
            Attribute::Cookie(name) => write!(f, "cookie:{name}"),
            Attribute::Query(name) => write!(f, "query:{name}"),
            Attribute::Path => f.write_str("path"),
            Attribute::Host => f.write_str("host"),
            Attribute::Method => f.write_str("method"),
            Attribute::Scheme => f.write_str("scheme"),
            Attribute::Ip => f.write_str("ip"),
            Attribute::Geo(field) => write!(f, "geo:{}", field.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_read_and_print() {
        for (text, printed) in [
            ("header:X-Tenant", Some("header:x-tenant")),
            ("cookie:uid", Some("cookie:uid")),
            ("query:a:b", Some("query:a:b")),
            ("path", Some("path")),
            ("ip", Some("ip")),
            ("geo:country", Some("geo:country")),
            ("geo:asn", Some("geo:asn")),
            ("geo:continent", None),
            ("geo", None),
            ("header:", None),
            ("header", None),
            ("header:a b", None),
            ("cookie:a=b", None),
            ("body", None),
            ("path:x", None),
        ] {
            assert_eq!(Attribute::parse(text).map(|a| a.to_string()).as_deref(), printed, "{text}");
        }
    }
}
