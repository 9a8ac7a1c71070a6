//! Lists: plain text, one value a line.

use super::set::Body;

/// One part of a list. The values stay in the body they came in: a list may have ten million.
#[derive(Clone, PartialEq, Debug)]
pub struct ListPart {
    body: Body,
}

impl ListPart {
    /// Takes a body that is UTF-8; `None` otherwise.
    pub fn read(body: &Body) -> Option<ListPart> {
        std::str::from_utf8(body).ok().map(|_| ListPart { body: body.clone() })
    }

    /// The body as it came.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_default()
    }

    /// Line numbers from 1, and the values without the spaces and tabs around them.
    pub fn values(&self) -> impl Iterator<Item = (usize, &str)> {
        let text = std::str::from_utf8(&self.body).unwrap_or_default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        text.split('\n')
            .enumerate()
            .map(|(i, line)| (i + 1, line.strip_suffix('\r').unwrap_or(line).trim_matches([' ', '\t'])))
            .filter(|(_, value)| !value.is_empty() && !value.starts_with('#'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_values() {
        let check = |text: &str, expected: &[&str]| {
            let part = ListPart::read(&Body::from(text)).unwrap();
            let found: Vec<&str> = part.values().map(|(_, value)| value).collect();
            assert_eq!(found, expected, "{text:?}");
        };
        check("a\nb\n", &["a", "b"]);
        check("\u{feff}a\r\n\r\n \t# comment\n#x\n  b c\t\n", &["a", "b c"]);
        check("a#b", &["a#b"]);
        check("", &[]);
        assert!(ListPart::read(&Body::from(&b"\xff"[..])).is_none());
    }
}
