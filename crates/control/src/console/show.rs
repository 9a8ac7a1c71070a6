//! How figures, times, differences and problems look on every page.

use maud::{Markup, html};
use serde_json::Value;

use super::visit::{Look, Visit};
use crate::error::{Error, Mistake};
use crate::people::Permission;
use crate::report::Language;

/// Longest difference that is shown line by line.
const DIFF_LINES: usize = 2_000;

/// A whole number with its thousands apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share of one, in percent.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        _ if percent == 0.0 => "0 %".to_owned(),
        _ if percent < 0.1 => format!("{percent:.3} %"),
        _ if percent < 10.0 => format!("{percent:.1} %"),
        _ => format!("{percent:.0} %"),
    }
}

/// Requests a second.
pub fn rate(per_second: f64) -> String {
    match per_second {
        _ if per_second == 0.0 => "0/s".to_owned(),
        _ if per_second < 10.0 => format!("{per_second:.1}/s"),
        _ => format!("{}/s", count(per_second.round() as u64)),
    }
}

pub fn millis(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{} ms", count(ms.round() as u64)) }
}

/// In quotes, and never the beginning of a formula: a spreadsheet would run what someone wrote as a reason.
pub fn csv_cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    format!("\"{}{}\"", if is_formula { "'" } else { "" }, text.replace('"', "\"\""))
}

/// A figure that may be unknown.
pub fn known(value: Option<String>) -> Markup {
    html! { @match value { Some(text) => (text), None => span.none { "–" } } }
}

/// A moment in UTC; the script puts the browser's own zone before it.
pub fn moment(rfc3339: &str) -> Markup {
    let shown = rfc3339.get(..19).unwrap_or(rfc3339).replace('T', " ");
    html! { time datetime=(rfc3339) { (shown) " UTC" } }
}

pub fn number(value: &Value, key: &str) -> Option<f64> {
    value.get(key).and_then(Value::as_f64)
}

pub fn word<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A difference as `diff -u` tells it; signs and colours say the same.
pub fn difference(lang: Language, diff: &str) -> Markup {
    if diff.trim().is_empty() {
        return html! { p.none { (lang.no_difference()) } };
    }
    let lines =
        diff.lines().take(DIFF_LINES).filter(|line| !line.starts_with("--- ") && !line.starts_with("+++ "));
    html! {
        div.diff role="group" aria-label=(lang.difference()) tabindex="0" {
            @for line in lines {
                @match line.chars().next() {
                    Some('+') => ins { (line) },
                    Some('-') => del { (line) },
                    Some('@') => span.place { (line) },
                    _ => span { (line) },
                }
            }
        }
    }
}

/// What is wrong, each at its place and with its remedy.
pub fn problems(look: &Look, title: &str, mistakes: &[Mistake]) -> Markup {
    html! {
        @if !mistakes.is_empty() {
            h3 { (title) " (" (mistakes.len()) ")" }
            ul.problems {
                @for mistake in mistakes {
                    li {
                        a href=(look.at(&format!("/documents/{}", mistake.document))) { code { (mistake.document) } }
                        @if !mistake.field.is_empty() { " " code.field { (mistake.field) } }
                        ": " (look.lang.tell(&mistake.message))
                        @if !mistake.help.is_empty() { span.help { (look.lang.tell(&mistake.help)) } }
                    }
                }
            }
        }
    }
}

/// A refusal in a page of its own, or above a form.
pub fn refusal(look: &Look, error: &Error) -> Markup {
    let lang = look.lang;
    html! {
        div.refusal role="alert" {
            p { strong { (lang.refusal(error)) } }
            @match error {
                Error::WrongPassword | Error::Unauthenticated => {},
                Error::Away(_) => p { (lang.tell(&error.to_string())) " " (lang.without_store()) },
                Error::TooMany { after, .. } => p { (lang.try_again_in(after.as_secs().max(1))) },
                _ => p { (lang.tell(&error.to_string())) },
            }
            @if let Error::Problems(mistakes) = error { (problems(look, lang.problems(), mistakes)) }
            p { (lang.nothing_was_changed()) }
        }
    }
}

impl Visit {
    /// One of the buttons of a form; where the role does not allow it, it is disabled beside the reason.
    pub fn choice(
        &self,
        permission: Permission,
        class: &str,
        (label, name, value): (&str, &str, &str),
    ) -> Markup {
        self.guarded(self.forbids(permission).as_deref(), class, (label, name, value))
    }

    /// A button that is disabled where something forbids it, and says what.
    pub fn guarded(
        &self,
        forbidden: Option<&str>,
        class: &str,
        (label, name, value): (&str, &str, &str),
    ) -> Markup {
        html! {
            button type="submit" class=(class) name=[(!name.is_empty()).then_some(name)]
                value=[(!name.is_empty()).then_some(value)] disabled[forbidden.is_some()] { (label) }
            @if let Some(why) = forbidden { " " span.why { (why) } }
        }
    }

    /// What every form carries.
    pub fn proof(&self) -> Markup {
        html! { input type="hidden" name="csrf" value=(self.csrf()); }
    }

    /// A time, and a link to whose it was.
    pub fn person(&self, name: &str) -> Markup {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("who", name).finish();
        html! { a href=(self.at(&format!("/audit?{query}"))) { (name) } }
    }
}

/// Why someone does what a form does.
pub fn reason(lang: Language, value: &str) -> Markup {
    html! {
        p.reason {
            label { (lang.reason()) " " input name="reason" value=(value) maxlength="1000" autocomplete="off"; }
        }
    }
}

/// A link to the next page of a list.
pub fn more(look: &Look, next: Option<&str>) -> Markup {
    html! {
        @if let Some(next) = next {
            p { a rel="next" href=(look.with("after", next)) { (look.lang.more()) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formulas() {
        for (text, cell) in [
            ("plain", "\"plain\""),
            ("a \"b\", c\nd", "\"a \"\"b\"\", c\nd\""),
            ("=1+1", "\"'=1+1\""),
            ("@x", "\"'@x\""),
        ] {
            assert_eq!(csv_cell(text), cell);
        }
    }

    #[test]
    fn figures_read_well() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        for (share, text) in
            [(0.0, "0 %"), (0.000_5, "0.050 %"), (0.05, "5.0 %"), (0.25, "25 %"), (1.0, "100 %")]
        {
            assert_eq!(percent(share), text);
        }
        assert_eq!((rate(0.25), rate(1_234.4)), ("0.2/s".to_owned(), "1,234/s".to_owned()));
    }
}
