//! A notice in words, for each kind of reader.
//!
//! Owns: what stands around its text, in English or Chinese, what is cut off, and the body of a gateway. What operators and
//! strangers wrote is text here and stays so: no markup, no control characters, no line in a header of a mail.

use serde_json::{Value, json};

use super::notice::{Event, Notice};
use crate::report::Language;
use crate::settings::Tongue;

/// Longest text of one notice, in characters: some gateways refuse more.
const TEXT_LIMIT: usize = 2_000;

/// A notice on its way, with what is only known then.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    pub notice: &'a Notice,
    /// The control plane's address from outside, without a slash at its end.
    pub base: &'a str,
    /// The end of the audit's chain, `N:HASH`.
    pub audit: &'a str,
    pub tongue: Tongue,
}

impl Letter<'_> {
    pub fn text(&self) -> String {
        let text = plain(&self.notice.text);
        match self.tongue {
            Tongue::English => text,
            // What people wrote stays as it is.
            Tongue::Chinese => {
                let told = Language::Chinese.retold(&text);
                told.unwrap_or_else(|| format!("{}｜{text}", chinese(self.notice.event)))
            }
        }
    }

    pub fn link(&self) -> String {
        format!("{}{}", self.base, self.notice.link)
    }

    /// For a line of a heading.
    pub fn subject(&self) -> String {
        let notice = self.notice;
        let words = match self.tongue {
            Tongue::English => notice.event.words(),
            Tongue::Chinese => chinese(notice.event),
        };
        let of =
            notice.version.as_deref().map(|version| format!("{} {version}: ", notice.services.join(", ")));
        let plan = notice.plan.as_deref().map(|plan| format!(" ({plan})"));
        plain(&format!("[graygate] {}{words}{}", of.unwrap_or_default(), plan.unwrap_or_default()))
    }

    /// Text, link and id, as a chat shows one notice.
    pub fn lines(&self) -> String {
        format!("{}\n{}\nid {}", self.text(), self.link(), self.notice.id)
    }

    pub fn mail(&self) -> String {
        format!("{}\n\naudit {}\n", self.lines(), self.audit)
    }

    /// As section "notices" of the documentation describes it.
    pub fn json(&self) -> Value {
        let notice = self.notice;
        json!({
            "id": notice.id,
            "services": notice.services,
            "version": notice.version,
            "plan": notice.plan,
            "run": notice.run,
            "step": notice.step,
            "event": notice.event.as_str(),
            "state": notice.state,
            "text": format!("{} (audit {})", self.text(), self.audit),
            "link": self.link(),
        })
    }

    fn field(&self, name: &str) -> Option<String> {
        let notice = self.notice;
        Some(match name {
            "id" => notice.id.clone(),
            "services" => notice.services.join(", "),
            "version" => notice.version.clone().unwrap_or_default(),
            "plan" => notice.plan.clone().unwrap_or_default(),
            "run" => notice.run.map(|run| run.to_string()).unwrap_or_default(),
            "step" => notice.step.map(|step| step.to_string()).unwrap_or_default(),
            "event" => notice.event.as_str().to_owned(),
            "state" => notice.state.clone().unwrap_or_default(),
            "text" => self.text(),
            "link" => self.link(),
            "audit" => self.audit.to_owned(),
            _ => return None,
        })
    }

    /// A body of one's own, with its words in braces replaced.
    pub fn fill(&self, template: &str, encoding: Encoding) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some(start) = rest.find('{') {
            let (before, behind) = rest.split_at(start);
            out.push_str(before);
            let behind = behind.get(1..).unwrap_or_default();
            let found = behind.split_once('}').and_then(|(name, rest)| Some((self.field(name)?, rest)));
            match found {
                Some((value, after)) => {
                    out.push_str(&encoding.encode(&value));
                    rest = after;
                }
                // A brace of the text itself.
                None => {
                    out.push('{');
                    rest = behind;
                }
            }
        }
        out + rest
    }
}

/// How values stand in a body, so that none of them ends what it stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    Json,
    Form,
    Plain,
}

impl Encoding {
    /// Of a body with this content type.
    pub fn of(content_type: &str) -> Encoding {
        let content_type = content_type.to_ascii_lowercase();
        match content_type {
            _ if content_type.contains("x-www-form-urlencoded") => Encoding::Form,
            _ if content_type.starts_with("text/") => Encoding::Plain,
            _ => Encoding::Json,
        }
    }

    fn encode(self, value: &str) -> String {
        match self {
            Encoding::Plain => value.to_owned(),
            Encoding::Form => form_urlencoded::byte_serialize(value.as_bytes()).collect(),
            Encoding::Json => {
                let quoted = Value::from(value).to_string();
                quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned()
            }
        }
    }
}

/// Several notices as the text of one message, cut to so many bytes; the first line is the same for all, because some
/// chats only let messages in that have a known word.
pub fn chat_text(letters: &[Letter<'_>], limit: usize) -> String {
    let mut parts = vec!["[graygate]".to_owned()];
    parts.extend(letters.iter().map(Letter::lines));
    parts.extend(letters.last().map(|letter| format!("audit {}", letter.audit)));
    let text = parts.join(if letters.len() == 1 { "\n" } else { "\n\n" });
    cut(&text, limit).to_owned()
}

fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

/// One line without control characters, not too long.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_LIMIT).collect()
}

fn chinese(event: Event) -> &'static str {
    match event {
        Event::Started => "已启动",
        Event::Step => "进入新的步骤",
        Event::Paused => "已暂停",
        Event::Resumed => "已恢复",
        Event::Completed => "已全量",
        Event::RolledBack => "已回滚",
        Event::Promoted => "已转正",
        Event::Waiting => "等待人工处理",
        Event::Held => "停留超过十分钟",
        Event::Foreign => "绕过双人复核的修改",
        Event::Quota => "存储即将写满",
        Event::Test => "渠道测试",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::OffsetDateTime;

    fn notice(text: &str) -> Notice {
        let mut notice =
            Notice::of_plane(Event::Quota, text.to_owned(), "/fleet", OffsetDateTime::UNIX_EPOCH);
        notice.id = "7".into();
        notice
    }

    fn letter(notice: &Notice) -> Letter<'_> {
        Letter { notice, base: "https://g", audit: "3:ab", tongue: Tongue::English }
    }

    #[test]
    fn a_value_never_ends_what_it_stands_in() {
        let notice = notice("a \"b\"\n& {id}");
        for (encoding, template, expected) in [
            (
                Encoding::Json,
                r#"{"to": {"x": 1}, "text": "{text}"}"#,
                r#"{"to": {"x": 1}, "text": "a \"b\" & {id}"}"#,
            ),
            (
                Encoding::Form,
                "mobile=138&text={text}&l={link}",
                "mobile=138&text=a+%22b%22+%26+%7Bid%7D&l=https%3A%2F%2Fg%2Ffleet",
            ),
            (Encoding::Plain, "{event} {text} {x} {", "quota a \"b\" & {id} {x} {"),
        ] {
            assert_eq!(letter(&notice).fill(template, encoding), expected);
        }
        assert_eq!(Encoding::of("application/x-www-form-urlencoded; charset=utf-8"), Encoding::Form);
        assert_eq!(Encoding::of("Text/plain"), Encoding::Plain);
        assert_eq!(Encoding::of("application/json"), Encoding::Json);
    }

    #[test]
    fn headings_are_one_line() {
        let mut notice = notice("x");
        notice.version = Some("gray\r\nBcc: all@example.com".into());
        assert!(!letter(&notice).subject().contains(['\r', '\n']));
    }

    #[test]
    fn several_are_one_text_within_the_limit() {
        let (one, two) = (notice("一二三"), notice("two"));
        let text = chat_text(&[letter(&one), letter(&two)], 4_000);
        assert_eq!(
            text,
            "[graygate]\n\n一二三\nhttps://g/fleet\nid 7\n\ntwo\nhttps://g/fleet\nid 7\n\naudit 3:ab"
        );
        assert_eq!(chat_text(&[letter(&one)], 15), "[graygate]\n一");
    }

    #[test]
    fn a_notice_is_told_in_the_language_of_its_channel() {
        let notice = notice("71 %");
        let letter = Letter { tongue: Tongue::Chinese, ..letter(&notice) };
        assert_eq!(letter.text(), "存储即将写满｜71 %");
        assert_eq!(letter.subject(), "[graygate] 存储即将写满");
        let known = self::notice("changed past the second person, by way of etcd: `rules/x`");
        let letter = Letter { tongue: Tongue::Chinese, ..self::letter(&known) };
        assert_eq!(letter.text(), "绕过双人复核的修改，途径为 etcd：`rules/x`");
    }
}
