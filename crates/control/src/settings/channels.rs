//! Where notices go.

use std::collections::BTreeMap;
use std::path::PathBuf;

use graygate_rules::documents::fields::{Emptiness, Field, Map};

use super::places::read_url;

/// One place notices go to.
#[derive(Clone, PartialEq, Debug)]
pub struct Channel {
    pub kind: ChannelKind,
}

#[derive(Clone, PartialEq, Debug)]
pub enum ChannelKind {
    Mail {
        smtp: String,
        from: String,
        to: Vec<String>,
        username: Option<String>,
        password_file: Option<PathBuf>,
    },
    Webhook {
        url: String,
        format: ChatFormat,
        secret_file: Option<PathBuf>,
        headers: BTreeMap<String, String>,
        /// A text of one's own, such as an SMS gateway takes.
        body: Option<String>,
    },
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

pub fn read(field: &Field<'_>) -> Option<BTreeMap<String, Channel>> {
    let read = |(name, field): (&str, Field<'_>)| {
        let mut map = field.map()?;
        let kind = match map.one_of(&["smtp", "webhook"]) {
            Some(("smtp", smtp)) => read_mail(&smtp, &mut map),
            Some((_, url)) => read_webhook(&url, &mut map),
            None => None,
        };
        map.note_unknown();
        Some((name.to_owned(), Channel { kind: kind? }))
    };
    let channels: Vec<Option<_>> = field.entries()?.into_iter().map(read).collect();
    channels.into_iter().collect()
}

fn read_mail(smtp: &Field<'_>, map: &mut Map<'_>) -> Option<ChannelKind> {
    let smtp = smtp.parsed("an address like `smtp://127.0.0.1:25`", |text| {
        let is_mail = text.starts_with("smtp://") || text.starts_with("smtps://");
        is_mail.then(|| text.to_owned())
    });
    let from = map.required("from").and_then(|field| field.text().map(str::to_owned));
    let to = map
        .required("to")
        .and_then(|field| field.list_of(Emptiness::Refused, |item| item.text().map(str::to_owned)));
    let username = map.get("username").and_then(|field| field.text().map(str::to_owned));
    let password_file = map.get("password_file").and_then(|field| field.text().map(PathBuf::from));
    Some(ChannelKind::Mail { smtp: smtp?, from: from?, to: to?, username, password_file })
}

fn read_webhook(url: &Field<'_>, map: &mut Map<'_>) -> Option<ChannelKind> {
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
    let headers = map.or("headers", BTreeMap::new(), |field| {
        let read = |(name, field): (&str, Field<'_>)| Some((name.to_owned(), field.text()?.to_owned()));
        let headers: Vec<Option<_>> = field.entries()?.into_iter().map(read).collect();
        headers.into_iter().collect()
    });
    let body = map.get("body").and_then(|field| field.text().map(str::to_owned));
    if body.is_some() && format != ChatFormat::Json {
        map.wrong::<()>("a `body` of one's own goes with the format `json`", "leave `format` out");
    }
    Some(ChannelKind::Webhook { url: url?, format, secret_file, headers, body })
}
