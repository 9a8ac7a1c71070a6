//! The Prometheus text format 0.0.4, as far as it is needed.
//!
//! Answers: how is a sample written? Owns: escaping, `# HELP` and `# TYPE`, the lines of a histogram.
//! Never: which metrics there are, or their values.

use std::fmt::{Display, Write};

use super::instrument::{BOUNDS, Distribution};

/// What kind of number a family has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Labels as they stand between the braces: `service="patient",version="gray"`.
pub(super) fn label_text(labels: &[(&str, &str)]) -> String {
    let size = labels.iter().map(|(n, v)| n.len() + v.len() + 4).sum();
    let mut text = String::with_capacity(size);
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        push_escaped(&mut text, value);
        text.push('"');
    }
    text
}

/// Escapes what the format gives a meaning to inside a label's quotes.
fn push_escaped(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// A page of metrics in the making.
#[derive(Default)]
pub struct Page(String);

impl Page {
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = kind.as_str();
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    pub fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        match labels.is_empty() {
            true => self.line(format_args!("{name} {value}")),
            false => self.line(format_args!("{name}{{{labels}}} {value}")),
        }
    }

    pub fn histogram(&mut self, name: &str, labels: &str, seen: &Distribution) {
        let comma = if labels.is_empty() { "" } else { "," };
        let bounds = BOUNDS.iter().map(|(_, text)| *text).chain(["+Inf"]);
        let mut count = 0;
        for (bound, own) in bounds.zip(seen.buckets) {
            count += own;
            self.line(format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}"));
        }
        self.sample(&format!("{name}_sum"), labels, seen.sum_seconds());
        self.sample(&format!("{name}_count"), labels, count);
    }

    /// Text that is a page already.
    pub fn append(&mut self, page: &str) {
        self.0.push_str(page);
    }

    pub fn into_text(self) -> String {
        self.0
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing into a `String` cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        for (value, expected) in [
            ("plain", r#"v="plain""#),
            (r#"a"b"#, r#"v="a\"b""#),
            (r"a\b", r#"v="a\\b""#),
            ("a\nb", r#"v="a\nb""#),
            ("用户", r#"v="用户""#),
            ("", r#"v="""#),
        ] {
            assert_eq!(label_text(&[("v", value)]), expected);
        }
        // The classic attempt to write oneself a second label.
        assert_eq!(label_text(&[("a", r#"x",b="y"#), ("b", "z")]), r#"a="x\",b=\"y",b="z""#);
    }
}
