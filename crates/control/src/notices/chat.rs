//! Bodies and signatures as chats and gateways want them.
//!
//! Owns: each format's shape, limits and way to say that it did not take a message. Never: connects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Uri, header};
use ring::hmac;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::wording::{Encoding, Letter, chat_text};
use crate::settings::{ChatFormat, Webhook};

/// What a receiver of JSON knows the sender by: `sha256=` and the HMAC of the body in hex.
const SIGNATURE: HeaderName = HeaderName::from_static("x-graygate-signature");

/// A request that is ready to go.
pub struct Parcel {
    pub to: Uri,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// The largest text, in bytes, that goes into one message; none: one notice a message.
pub fn text_limit(format: ChatFormat) -> Option<usize> {
    match format {
        ChatFormat::Json => None,
        // A text of WeCom has at most 2,048 bytes; the others take about 20,000, and no one reads that.
        ChatFormat::Wecom => Some(2_000),
        ChatFormat::Dingtalk | ChatFormat::Feishu | ChatFormat::Slack => Some(8_000),
    }
}

/// Notices as one request.
pub fn pack(
    webhook: &Webhook,
    letters: &[Letter<'_>],
    (secret, now): (Option<&str>, OffsetDateTime),
) -> Result<Parcel, String> {
    let text = || chat_text(letters, text_limit(webhook.format).unwrap_or(usize::MAX));
    let mut url = webhook.url.clone();
    let mut headers = webhook.headers.clone();
    let body = match webhook.format {
        ChatFormat::Dingtalk => {
            if let Some(secret) = secret {
                url = sign_dingtalk(&url, secret, now);
            }
            json!({"msgtype": "text", "text": {"content": text()}}).to_string()
        }
        ChatFormat::Wecom => json!({"msgtype": "text", "text": {"content": text()}}).to_string(),
        ChatFormat::Feishu => feishu(text(), secret, now).to_string(),
        ChatFormat::Slack => json!({"text": slack_text(&text()), "mrkdwn": false}).to_string(),
        ChatFormat::Json => {
            let body = gateway(webhook, letters);
            if let Some(secret) = secret {
                headers.push((SIGNATURE, sign_body(&body, secret)));
            }
            body
        }
    };
    if !headers.iter().any(|(name, _)| name == header::CONTENT_TYPE) {
        headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8")));
    }
    let to = url.parse().map_err(|_| "its address cannot be read".to_owned())?;
    Ok(Parcel { to, headers, body: Bytes::from(body) })
}

fn gateway(webhook: &Webhook, letters: &[Letter<'_>]) -> String {
    let Some(letter) = letters.first() else { return String::new() };
    let Some(template) = &webhook.body else { return letter.json().to_string() };
    let content_type = webhook.headers.iter().find(|(name, _)| name == header::CONTENT_TYPE);
    let content_type = content_type.and_then(|(_, value)| value.to_str().ok()).unwrap_or_default();
    letter.fill(template, Encoding::of(content_type))
}

fn sign_body(body: &str, secret: &str) -> HeaderValue {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body.as_bytes());
    HeaderValue::try_from(format!("sha256={}", hex::encode(tag))).unwrap_or(HeaderValue::from_static(""))
}

/// DingTalk, "custom robot security settings": the time in milliseconds and the secret, signed with the secret.
fn sign_dingtalk(url: &str, secret: &str, now: OffsetDateTime) -> String {
    let time = now.unix_timestamp_nanos() / 1_000_000;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let sign = STANDARD.encode(hmac::sign(&key, format!("{time}\n{secret}").as_bytes()));
    let sign: String = form_urlencoded::byte_serialize(sign.as_bytes()).collect();
    let join = if url.contains('?') { '&' } else { '?' };
    format!("{url}{join}timestamp={time}&sign={sign}")
}

/// Feishu, "custom bots": nothing at all, signed with the time in seconds and the secret.
fn feishu(text: String, secret: Option<&str>, now: OffsetDateTime) -> Value {
    let mut body = json!({"msg_type": "text", "content": {"text": text}});
    if let (Some(secret), Some(fields)) = (secret, body.as_object_mut()) {
        let time = now.unix_timestamp().to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, format!("{time}\n{secret}").as_bytes());
        fields.insert("sign".into(), json!(STANDARD.encode(hmac::sign(&key, b""))));
        fields.insert("timestamp".into(), json!(time));
    }
    body
}

/// Slack reads these three even where it reads no other markup.
fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Whether the other side took it: a status of 2xx, and no word of the contrary in the body.
pub fn is_taken(format: ChatFormat, status: u16, body: &[u8]) -> bool {
    let field = match format {
        ChatFormat::Dingtalk | ChatFormat::Wecom => Some("errcode"),
        ChatFormat::Feishu => Some("code"),
        ChatFormat::Slack | ChatFormat::Json => None,
    };
    let said: Option<Value> = field.and_then(|_| serde_json::from_slice(body).ok());
    let code = said.as_ref().zip(field).and_then(|(said, field)| said.get(field)?.as_i64());
    (200..300).contains(&status) && code.unwrap_or_default() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "SEC0123";

    fn at() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_764_125_000).unwrap()
    }

    /// The expected values were made with Python's `hmac` from the services' own descriptions.
    #[test]
    fn signatures_are_as_the_services_describe_them() {
        assert_eq!(
            sign_dingtalk("https://oapi.dingtalk.com/robot/send?access_token=x", SECRET, at()),
            "https://oapi.dingtalk.com/robot/send?access_token=x&timestamp=1764125000000&sign=duMNzmKPjVd0Bt3lH01E2lvqpVwdpYOiZ5iJ0F%2F5MC0%3D"
        );
        let body = feishu("x".into(), Some(SECRET), at());
        assert_eq!(body["timestamp"], "1764125000");
        assert_eq!(body["sign"], "N6yQKZO71vORNLfKtRnYWaNeCs4eDGuRzuCvFKeMAa0=");
        assert_eq!(
            sign_body("{}", SECRET),
            "sha256=b21f7c75aebb29dd8c4ae5a988f2dcaf579e7c0e5180ace069594df73377a7ee"
        );
    }

    #[test]
    fn a_refusal_behind_a_good_status_is_one() {
        for (format, status, body, expected) in [
            (ChatFormat::Dingtalk, 200, r#"{"errcode":0,"errmsg":"ok"}"#, true),
            (ChatFormat::Dingtalk, 200, r#"{"errcode":130101,"errmsg":"send too fast"}"#, false),
            (ChatFormat::Wecom, 200, r#"{"errcode":45009}"#, false),
            (ChatFormat::Feishu, 200, r#"{"code":19021}"#, false),
            (ChatFormat::Feishu, 200, r#"{"StatusCode":0,"code":0}"#, true),
            (ChatFormat::Slack, 200, "ok", true),
            (ChatFormat::Slack, 302, "", false),
            (ChatFormat::Json, 204, "", true),
            (ChatFormat::Json, 200, r#"{"code":1}"#, true),
            (ChatFormat::Json, 500, "", false),
            (ChatFormat::Dingtalk, 200, "", true),
        ] {
            assert_eq!(is_taken(format, status, body.as_bytes()), expected, "{format:?} {status} {body}");
        }
    }

    #[test]
    fn no_text_is_markup_for_slack() {
        assert_eq!(slack_text("<!channel> & <http://x|y>"), "&lt;!channel&gt; &amp; &lt;http://x|y&gt;");
    }
}
