//! The logs and the limits on clients.

use std::path::PathBuf;

use graygate_proxy::edge::{HEADERS_LIMIT, Limits};
use graygate_rules::documents::fields::{Field, Map};
use graygate_rules::vocab::{ByteSize, Share};
use graygate_telemetry::{AccessLogSettings, LogFormat, LogPath, LogSettings};

/// Written to standard output, every request, unless the file says otherwise.
pub fn read_log(map: &mut Map<'_>) -> Option<AccessLogSettings> {
    let default = AccessLogSettings { path: LogPath::Stdout, sample: Share::ALL };
    map.or("access_log", Some(default), |f| {
        if f.is_text("off") {
            return Some(None);
        }
        let mut inner = f.map()?;
        let path = inner.or("path", LogPath::Stdout, |f| {
            f.text().map(|text| match text {
                "stdout" => LogPath::Stdout,
                file => LogPath::File(PathBuf::from(file)),
            })
        });
        let sample = inner.or("sample", Share::ALL, Field::percent);
        inner.note_unknown();
        Some(Some(AccessLogSettings { path, sample }))
    })
}

pub fn read_process_log(field: &Field<'_>) -> Option<LogSettings> {
    let mut map = field.map()?;
    let format = map
        .or("format", LogFormat::Text, |f| f.word(&[("text", LogFormat::Text), ("json", LogFormat::Json)]));
    let filter = map.get("level").and_then(|f| {
        f.parsed("a level like `info`, or levels of rooms like `info,sources=debug`", LogSettings::filter)
    });
    map.note_unknown();
    Some(LogSettings { format, filter })
}

pub fn read_limits(field: &Field<'_>) -> Option<Limits> {
    let mut map = field.map()?;
    let default = Limits::default();
    let count =
        |f: &Field<'_>, low: i64, high: i64| f.integer(low, high).and_then(|n| usize::try_from(n).ok());
    let many = i64::from(u32::MAX);
    let most_headers = i64::try_from(HEADERS_LIMIT).unwrap_or(i64::MAX);
    let limits = Limits {
        header_bytes: map.or("header_bytes", default.header_bytes, Field::size),
        headers: map.or("headers", default.headers, |f| count(f, 1, most_headers)),
        header_timeout: map.or("header_timeout", default.header_timeout, Field::duration),
        body: map.or("body", default.body, Field::size),
        body_rate: map.or("body_rate", default.body_rate, |f| {
            f.parsed("a rate like `1KiB/s`", |text| ByteSize::parse(text.strip_suffix("/s")?))
        }),
        keepalive: map.or("keepalive", default.keepalive, Field::duration),
        connections: map.or("connections", default.connections, |f| count(f, 1, many)),
        connections_per_ip: map.or("connections_per_ip", default.connections_per_ip, |f| count(f, 0, many)),
    };
    map.note_unknown();
    Some(limits)
}
