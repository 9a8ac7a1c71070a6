//! Where notices go.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use graygate_rules::documents::fields::{Emptiness, Field, Map};
use http::{HeaderName, HeaderValue, Uri};
use lettre::message::Mailbox;

use super::places::read_url;

/// One place notices go to.
#[derive(Clone, PartialEq, Debug)]
pub struct Channel {
    pub kind: ChannelKind,
    /// Authorities that are believed instead of the system's.
    pub ca: Option<PathBuf>,
    pub tongue: Tongue,
}

#[derive(Clone, PartialEq, Debug)]
pub enum ChannelKind {
    Mail(Mail),
    Webhook(Webhook),
}

#[derive(Clone, PartialEq, Debug)]
pub struct Mail {
    pub server: MailServer,
    pub from: Mailbox,
    pub to: Vec<Mailbox>,
    pub login: Option<MailLogin>,
}

/// A server of mail, as `smtp://host:port` or `smtps://host:port` say it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MailServer {
    pub host: String,
    pub port: u16,
    pub security: MailSecurity,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MailSecurity {
    /// `smtp://`
    Plain,
    /// `smtp://...?tls=required`
    StartTls,
    /// `smtps://`
    Tls,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MailLogin {
    pub username: String,
    pub password_file: PathBuf,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Webhook {
    pub url: String,
    pub format: ChatFormat,
    pub secret_file: Option<PathBuf>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// A text of one's own, such as an SMS gateway takes.
    pub body: Option<String>,
}

/// What the other side reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChatFormat {
    Json,
    Dingtalk,
    Wecom,
    Feishu,
    Slack,
}

/// The language of a notice; what people wrote in it stays as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tongue {
    English,
    Chinese,
}

/// What a body of one's own may name, in braces.
pub const PLACEHOLDERS: [&str; 11] =
    ["id", "services", "version", "plan", "run", "step", "event", "state", "text", "link", "audit"];
/// Headers that belong to the connection.
const FIXED: [&str; 4] = ["host", "content-length", "transfer-encoding", "connection"];

impl Channel {
    /// The files it reads, each with the field that names it.
    pub fn files(&self) -> Vec<(&'static str, &Path)> {
        let ca = self.ca.as_deref().map(|path| ("ca", path));
        let secret = match &self.kind {
            ChannelKind::Mail(mail) => {
                mail.login.as_ref().map(|login| ("password_file", login.password_file.as_path()))
            }
            ChannelKind::Webhook(webhook) => webhook.secret_file.as_deref().map(|path| ("secret_file", path)),
        };
        ca.into_iter().chain(secret).collect()
    }

    /// What is wrong with its files now: the field, and the message.
    pub fn check_files(&self) -> Vec<(&'static str, String)> {
        let wrong = |(field, path): (&'static str, &Path)| match std::fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => Some((field, format!("`{}` is empty", path.display()))),
            Ok(_) => None,
            Err(error) => Some((field, format!("`{}` cannot be read: {error}", path.display()))),
        };
        self.files().into_iter().filter_map(wrong).collect()
    }
}

pub fn read(field: &Field<'_>) -> Option<BTreeMap<String, Channel>> {
    let read = |(name, field): (&str, Field<'_>)| {
        let mut map = field.map()?;
        let kind = match map.one_of(&["smtp", "webhook"]) {
            Some(("smtp", smtp)) => read_mail(&smtp, &mut map).map(ChannelKind::Mail),
            Some((_, url)) => read_webhook(&url, &mut map).map(ChannelKind::Webhook),
            None => None,
        };
        let ca = map.get("ca").and_then(|field| field.text().map(PathBuf::from));
        let tongue = map.or("language", Tongue::English, |field| {
            field.word(&[("en", Tongue::English), ("zh", Tongue::Chinese)])
        });
        map.note_unknown();
        Some((name.to_owned(), Channel { kind: kind?, ca, tongue }))
    };
    let channels: Vec<Option<_>> = field.entries()?.into_iter().map(read).collect();
    channels.into_iter().collect()
}

fn read_mail(smtp: &Field<'_>, map: &mut Map<'_>) -> Option<Mail> {
    let help =
        "an address like `smtp://127.0.0.1:25`, `smtp://mail.example.com:587?tls=required` or `smtps://...`";
    let server = smtp.parsed(help, read_server);
    let mailbox = |field: &Field<'_>| field.parsed("a mail address", |text| text.parse::<Mailbox>().ok());
    let from = map.required("from").and_then(|field| mailbox(&field));
    let to = map.required("to").and_then(|field| field.list_of(Emptiness::Refused, mailbox));
    let username = map.get("username").and_then(|field| field.text().map(str::to_owned));
    let password_file = map.get("password_file").and_then(|field| field.text().map(PathBuf::from));
    let login = match (username, password_file) {
        (Some(username), Some(password_file)) => Some(MailLogin { username, password_file }),
        (None, None) => None,
        _ => map.wrong("`username` and `password_file` go together", "write both, or none"),
    };
    let server = server?;
    if login.is_some() && server.security == MailSecurity::Plain && !is_loopback(&server.host) {
        map.wrong::<()>(
            "a password goes over TLS or loopback alone",
            "write `smtps://...` or `smtp://...?tls=required`",
        );
    }
    Some(Mail { server, from: from?, to: to?, login })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn read_server(text: &str) -> Option<MailServer> {
    let (address, is_required) = match text.strip_suffix("?tls=required") {
        Some(address) => (address, true),
        None => (text, false),
    };
    let uri: Uri = address.parse().ok()?;
    let security = match (uri.scheme_str()?, is_required) {
        ("smtp", false) => MailSecurity::Plain,
        ("smtp", true) => MailSecurity::StartTls,
        ("smtps", false) => MailSecurity::Tls,
        _ => return None,
    };
    let port = match security {
        MailSecurity::Plain => 25,
        MailSecurity::StartTls => 587,
        MailSecurity::Tls => 465,
    };
    let authority = uri.authority()?.as_str();
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let is_good = !host.is_empty()
        && !authority.contains('@')
        && matches!(uri.path(), "" | "/")
        && uri.query().is_none();
    is_good.then(|| MailServer { host, port: uri.port_u16().unwrap_or(port), security })
}

fn read_webhook(url: &Field<'_>, map: &mut Map<'_>) -> Option<Webhook> {
    let url = read_url(url);
    let format = map.or("format", ChatFormat::Json, |field| {
        field.word(&[
            ("json", ChatFormat::Json),
            ("dingtalk", ChatFormat::Dingtalk),
            ("wecom", ChatFormat::Wecom),
            ("feishu", ChatFormat::Feishu),
            ("slack", ChatFormat::Slack),
        ])
    });
    let secret_file = map.get("secret_file").and_then(|field| field.text().map(PathBuf::from));
    if secret_file.is_some() && matches!(format, ChatFormat::Wecom | ChatFormat::Slack) {
        map.wrong::<()>(
            "this format is not signed",
            "its secret is a part of the address; leave `secret_file` out",
        );
    }
    let headers = map.or("headers", Vec::new(), |field| {
        field.entries()?.into_iter().map(|(name, field)| read_header(name, &field)).collect()
    });
    let body = map.get("body").and_then(|field| read_body(&field));
    if body.is_some() && format != ChatFormat::Json {
        map.wrong::<()>("a `body` of one's own goes with the format `json`", "leave `format` out");
    }
    Some(Webhook { url: url?, format, secret_file, headers, body })
}

fn read_header(name: &str, field: &Field<'_>) -> Option<(HeaderName, HeaderValue)> {
    let known = HeaderName::try_from(name).ok().filter(|name| !FIXED.contains(&name.as_str()));
    let Some(known) = known else {
        return field.wrong(format!("`{name}` is no header that can be set"), "");
    };
    field.parsed("a header's value", |text| Some((known, HeaderValue::try_from(text).ok()?)))
}

fn read_body(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    match unknown_placeholder(text) {
        None => Some(text.to_owned()),
        Some(name) => {
            let known = PLACEHOLDERS.map(|name| format!("`{{{name}}}`")).join(", ");
            field.wrong(format!("`{{{name}}}` is nothing a notice has"), format!("it has {known}"))
        }
    }
}

/// The first word in braces that names nothing; other braces are text, as JSON has many.
fn unknown_placeholder(text: &str) -> Option<&str> {
    let words = text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    words.filter(is_word).find(|word| !PLACEHOLDERS.contains(word))
}
