//! The fields of a request, as they are read.
//!
//! Answers: what does a request say under a name? Out of a map, or out of its lines as they came: most requests are asked
//! for a handful of names, and making a map of their fields costs more than to look through them. Never: an edit.

use std::slice;

use http::header::ValueIter;
use http::{HeaderMap, HeaderName, HeaderValue};

/// One field, as it came.
#[derive(Clone, Copy, Debug)]
pub struct Field<'r> {
    /// In any case.
    pub name: &'r [u8],
    pub value: &'r [u8],
}

/// What a request says.
#[derive(Clone, Copy, Debug)]
pub enum Fields<'r> {
    Map(&'r HeaderMap),
    /// In their order; each is well-formed.
    Lines(&'r [Field<'r>]),
}

impl<'r> From<&'r HeaderMap> for Fields<'r> {
    fn from(map: &'r HeaderMap) -> Fields<'r> {
        Fields::Map(map)
    }
}

impl<'r> Fields<'r> {
    /// The values of a field, in their order.
    pub fn values<'n>(self, name: &'n HeaderName) -> Values<'r, 'n> {
        match self {
            Fields::Map(map) => Values::Map(map.get_all(name).iter()),
            Fields::Lines(lines) => Values::Lines(lines.iter(), name.as_str()),
        }
    }

    /// The first of a field's values.
    pub fn first(self, name: &HeaderName) -> Option<&'r [u8]> {
        match self {
            Fields::Map(map) => map.get(name).map(HeaderValue::as_bytes),
            Fields::Lines(lines) => value(&mut lines.iter(), name.as_str()),
        }
    }

    pub fn contains(self, name: &HeaderName) -> bool {
        self.first(name).is_some()
    }

    /// Every name, in any case, and maybe more than once.
    pub fn names(self) -> impl Iterator<Item = &'r [u8]> {
        let (map, lines) = match self {
            Fields::Map(map) => (Some(map.keys()), &[][..]),
            Fields::Lines(lines) => (None, lines),
        };
        let of_map = map.into_iter().flatten().map(|name| name.as_str().as_bytes());
        of_map.chain(lines.iter().map(|field| field.name))
    }

    /// Makes a map of them in place of what was in it.
    pub fn copy_to(self, map: &mut HeaderMap) {
        match self {
            Fields::Map(fields) => map.clone_from(fields),
            Fields::Lines(lines) => {
                map.clear();
                for Field { name, value } in lines {
                    if let (Ok(name), Ok(value)) =
                        (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
                    {
                        map.append(name, value);
                    }
                }
            }
        }
    }
}

/// A field's value as text; `None` where it is more than visible ASCII.
pub fn text(value: &[u8]) -> Option<&str> {
    let is_visible = value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    std::str::from_utf8(value).ok().filter(|_| is_visible)
}

/// The values of one field.
pub enum Values<'r, 'n> {
    Map(ValueIter<'r, HeaderValue>),
    Lines(slice::Iter<'r, Field<'r>>, &'n str),
}

impl<'r> Iterator for Values<'r, '_> {
    type Item = &'r [u8];

    fn next(&mut self) -> Option<&'r [u8]> {
        match self {
            Values::Map(values) => values.next().map(HeaderValue::as_bytes),
            Values::Lines(lines, name) => value(lines, name),
        }
    }
}

/// The next value under a name in lower case.
fn value<'r>(lines: &mut slice::Iter<'r, Field<'r>>, name: &str) -> Option<&'r [u8]> {
    let found = lines.find(|field| {
        // Told apart by their lengths first.
        field.name.len() == name.len() && field.name.eq_ignore_ascii_case(name.as_bytes())
    });
    found.map(|field| field.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_a_map_of_them_say_the_same() {
        let lines: Vec<Field<'_>> = [("Host", "h"), ("X-A", "1"), ("x-b", "ä\t"), ("x-a", ""), ("X-AB", "~")]
            .map(|(name, value)| Field { name: name.as_bytes(), value: value.as_bytes() })
            .into();
        let mut map = HeaderMap::new();
        map.insert("x-before", HeaderValue::from_static("gone"));
        Fields::Lines(&lines).copy_to(&mut map);
        let (of_lines, of_map) = (Fields::Lines(&lines), Fields::from(&map));
        for name in ["host", "x-a", "x-b", "x-ab", "x-c", "x-before"].map(HeaderName::from_static) {
            assert!(of_lines.values(&name).eq(of_map.values(&name)), "{name}");
            assert_eq!(of_lines.first(&name), of_map.first(&name), "{name}");
            assert_eq!(of_lines.contains(&name), of_map.contains(&name), "{name}");
            for value in of_lines.values(&name) {
                let known = HeaderValue::from_bytes(value).unwrap();
                assert_eq!(text(value), known.to_str().ok());
            }
        }
        assert_eq!(of_lines.values(&HeaderName::from_static("x-a")).count(), 2);
        let mut names: Vec<_> = of_lines.names().map(<[u8]>::to_ascii_lowercase).collect();
        names.sort();
        names.dedup();
        let mut mapped: Vec<_> = of_map.names().map(<[u8]>::to_vec).collect();
        mapped.sort();
        assert_eq!(names, mapped);
    }
}
