//! One line of the access log.
//!
//! Answers: what is written about a request, under which keys, in which order? Owns: the line's shape (contract,
//! section 10); `line` writes its values. Never: where the line goes.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::line::Line;
use graygate_rules::vocab::{Bucket, FallbackReason, Reason};

/// What is written about a request: the keys of the contract, in its order. What is absent is `null`.
#[derive(Debug)]
pub struct Entry<'a> {
    /// When the request began; written in UTC with milliseconds.
    pub time: SystemTime,
    pub client: Option<IpAddr>,
    pub method: ClientText<'a>,
    pub host: Option<ClientText<'a>>,
    pub path: ClientText<'a>,
    /// Absent where the client left before there was one.
    pub status: Option<u16>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// The whole request; `duration_ms`, with up to three decimals.
    pub duration: Duration,
    /// Until the upstream's response header, in the last try; `upstream_ms`.
    pub upstream: Option<Duration>,
    pub route: Option<&'a str>,
    pub service: Option<&'a str>,
    /// The decided version.
    pub version: Option<&'a str>,
    pub reason: Option<Reason>,
    pub rule: Option<&'a str>,
    pub bucket: Option<Bucket>,
    pub served_by: Option<ServedBy<'a>>,
    pub fallback: Option<FallbackReason>,
    /// Tries at an upstream; 0 where none was asked.
    pub tries: u32,
    /// A word of the program's own, never a text from outside.
    pub error: Option<&'a str>,
    pub request_id: Option<ClientText<'a>>,
    pub user_agent: Option<ClientText<'a>>,
}

/// The instance that answered.
#[derive(Clone, Copy, Debug)]
pub struct ServedBy<'a> {
    pub version: &'a str,
    pub address: &'a str,
}

/// Bytes a client sent: what is not UTF-8 in them is written as the replacement character.
#[derive(Clone, Copy, Debug)]
pub struct ClientText<'a>(pub &'a [u8]);

impl<'a> From<&'a str> for ClientText<'a> {
    fn from(text: &'a str) -> Self {
        ClientText(text.as_bytes())
    }
}

impl<'a> From<&'a [u8]> for ClientText<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        ClientText(bytes)
    }
}

impl AsRef<[u8]> for ClientText<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

impl Entry<'_> {
    /// Writes the line, but for its end.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut line = Line(out);
        line.raw(r#"{"time":"#).time(self.time);
        line.raw(r#","client":"#).some(self.client, Line::address);
        line.raw(r#","method":"#).text(self.method);
        line.raw(r#","host":"#).some(self.host, Line::text);
        line.raw(r#","path":"#).text(self.path);
        line.raw(r#","status":"#).some(self.status, Line::number);
        line.raw(r#","bytes_in":"#).number(self.bytes_in);
        line.raw(r#","bytes_out":"#).number(self.bytes_out);
        line.raw(r#","duration_ms":"#).millis(self.duration);
        line.raw(r#","upstream_ms":"#).some(self.upstream, Line::millis);
        line.raw(r#","route":"#).some(self.route, Line::text);
        line.raw(r#","service":"#).some(self.service, Line::text);
        line.raw(r#","version":"#).some(self.version, Line::text);
        line.raw(r#","reason":"#).some(self.reason.map(Reason::as_str), Line::text);
        line.raw(r#","rule":"#).some(self.rule, Line::text);
        line.raw(r#","bucket":"#).some(self.bucket.map(Bucket::number), Line::number);
        line.raw(r#","served_by":"#).some(self.served_by, |line, by| by.write(line));
        line.raw(r#","fallback":"#).some(self.fallback.map(FallbackReason::as_str), Line::text);
        line.raw(r#","tries":"#).number(self.tries);
        line.raw(r#","error":"#).some(self.error, Line::text);
        line.raw(r#","request_id":"#).some(self.request_id, Line::text);
        line.raw(r#","user_agent":"#).some(self.user_agent, Line::text);
        line.raw("}");
    }
}

impl ServedBy<'_> {
    fn write(self, line: &mut Line<'_>) {
        line.raw(r#"{"version":"#).text(self.version);
        line.raw(r#","address":"#).text(self.address);
        line.raw("}");
    }
}

#[cfg(test)]
pub(super) fn bare(path: &str) -> Entry<'_> {
    Entry {
        time: SystemTime::UNIX_EPOCH,
        client: None,
        method: "GET".into(),
        host: None,
        path: path.into(),
        status: None,
        bytes_in: 0,
        bytes_out: 0,
        duration: Duration::ZERO,
        upstream: None,
        route: None,
        service: None,
        version: None,
        reason: None,
        rule: None,
        bucket: None,
        served_by: None,
        fallback: None,
        tries: 0,
        error: None,
        request_id: None,
        user_agent: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entry: &Entry<'_>, expected: &str) {
        let mut line = Vec::new();
        entry.write(&mut line);
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    #[test]
    fn a_full_line_has_every_key_in_order() {
        let entry = Entry {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_741_503_901_042),
            client: Some("203.0.113.7".parse().unwrap()),
            host: Some("medical.example.com".into()),
            status: Some(200),
            bytes_in: 12,
            bytes_out: 3_456,
            duration: Duration::from_nanos(12_345_678),
            upstream: Some(Duration::from_millis(11)),
            route: Some("portal"),
            service: Some("patient"),
            version: Some("gray"),
            reason: Some(Reason::Rule),
            rule: Some("20-pilot"),
            bucket: Some(Bucket::from_hash(u32::MAX)),
            served_by: Some(ServedBy { version: "release", address: "10.0.0.9:8080" }),
            fallback: Some(FallbackReason::NoInstances),
            tries: 2,
            request_id: Some("abc".into()),
            user_agent: Some("curl/8".into()),
            ..bare("/list")
        };
        check(
            &entry,
            concat!(
                r#"{"time":"2025-03-09T07:05:01.042Z","client":"203.0.113.7","method":"GET","#,
                r#""host":"medical.example.com","path":"/list","status":200,"bytes_in":12,"#,
                r#""bytes_out":3456,"duration_ms":12.345,"upstream_ms":11.0,"route":"portal","#,
                r#""service":"patient","version":"gray","reason":"rule","rule":"20-pilot","#,
                r#""bucket":9999,"served_by":{"version":"release","address":"10.0.0.9:8080"},"#,
                r#""fallback":"no_instances","tries":2,"error":null,"request_id":"abc","#,
                r#""user_agent":"curl/8"}"#,
            ),
        );
    }

    #[test]
    fn what_is_absent_is_null() {
        check(
            &bare("/"),
            concat!(
                r#"{"time":"1970-01-01T00:00:00.000Z","client":null,"method":"GET","host":null,"#,
                r#""path":"/","status":null,"bytes_in":0,"bytes_out":0,"duration_ms":0.0,"#,
                r#""upstream_ms":null,"route":null,"service":null,"version":null,"reason":null,"#,
                r#""rule":null,"bucket":null,"served_by":null,"fallback":null,"tries":0,"#,
                r#""error":null,"request_id":null,"user_agent":null}"#,
            ),
        );
    }
}
