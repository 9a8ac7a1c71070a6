//! Texts with `${group}` in them, filled from what a path matched.

use std::fmt;

/// A text with named groups; `$$` stands for a dollar sign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template(Vec<Part>);

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    Literal(String),
    Group(String),
}

impl Template {
    /// Reads a template; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                literal.push('$');
                rest = after;
                continue;
            }
            let group = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let Some((name, after)) = group else {
                return Err("a `$` stands alone; write `$$` for a dollar sign, `${name}` for a group".into());
            };
            if name.is_empty() {
                return Err("`${}` names no group".into());
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Group(name.into()));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Template(parts))
    }

    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The names of the groups it needs.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Group(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// The text itself, where no group is in it.
    pub fn as_literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Template {
    /// Prints what is read as the same template.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Literal(text) => f.write_str(&text.replace('$', "$$")),
            Part::Group(name) => write!(f, "${{{name}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_dollars() {
        let show = |text: &str| match Template::parse(text) {
            Err(_) => "error".to_string(),
            Ok(template) => template
                .parts()
                .iter()
                .map(|part| match part {
                    Part::Literal(text) => format!("'{text}'"),
                    Part::Group(name) => format!("<{name}>"),
                })
                .collect(),
        };
        for (text, expected) in [
            ("plain", "'plain'"),
            ("", ""),
            ("${org}", "<org>"),
            ("/x/${a}-${b}/", "'/x/'<a>'-'<b>'/'"),
            ("5$$ ${a}", "'5$ '<a>"),
            ("$${a}", "'${a}'"),
            ("$5", "error"),
            ("${a", "error"),
            ("${}", "error"),
        ] {
            assert_eq!(show(text), expected, "{text}");
        }
    }
}
