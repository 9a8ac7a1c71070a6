//! One line of the access log.
//!
//! Answers: what is written about a request, under which keys, in which order? Owns: the line's shape (contract,
//! section 10) and how times and texts are written in it. Never: where the line goes.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use graygate_rules::vocab::{Bucket, FallbackReason, Reason};

/// What is written about a request: the keys of the contract, in its order. What is absent is `null`.
#[derive(Serialize, Debug)]
pub struct Entry<'a> {
    /// When the request began; written in UTC with milliseconds.
    #[serde(serialize_with = "timestamp")]
    pub time: SystemTime,
    pub client: Option<IpAddr>,
    pub method: ClientText<'a>,
    pub host: Option<ClientText<'a>>,
    pub path: ClientText<'a>,
    /// Absent where the client left before there was one.
    pub status: Option<u16>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// The whole request; in milliseconds with up to three decimals.
    #[serde(rename = "duration_ms", serialize_with = "millis")]
    pub duration: Duration,
    /// Until the upstream's response header, in the last try.
    #[serde(rename = "upstream_ms", serialize_with = "some_millis")]
    pub upstream: Option<Duration>,
    pub route: Option<&'a str>,
    pub service: Option<&'a str>,
    /// The decided version.
    pub version: Option<&'a str>,
    #[serde(serialize_with = "some_reason")]
    pub reason: Option<Reason>,
    pub rule: Option<&'a str>,
    #[serde(serialize_with = "some_bucket")]
    pub bucket: Option<Bucket>,
    pub served_by: Option<ServedBy<'a>>,
    #[serde(serialize_with = "some_fallback")]
    pub fallback: Option<FallbackReason>,
    /// Tries at an upstream; 0 where none was asked.
    pub tries: u32,
    /// A word of the program's own, never a text from outside.
    pub error: Option<&'a str>,
    pub request_id: Option<ClientText<'a>>,
    pub user_agent: Option<ClientText<'a>>,
}

/// The instance that answered.
#[derive(Serialize, Clone, Copy, Debug)]
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

impl Serialize for ClientText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(self.0))
    }
}

/// `2025-03-09T07:05:01.042Z`.
///
/// Written digit by digit: a format description read for every line costs more than the rest of the line.
fn timestamp<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let time = OffsetDateTime::from(*time);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let parts = [
        (0..4, time.year().unsigned_abs()),
        (5..7, u32::from(u8::from(time.month()))),
        (8..10, u32::from(time.day())),
        (11..13, u32::from(time.hour())),
        (14..16, u32::from(time.minute())),
        (17..19, u32::from(time.second())),
        (20..23, u32::from(time.millisecond())),
    ];
    for (place, mut number) in parts {
        for digit in text.get_mut(place).into_iter().flatten().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
    serializer.serialize_str(str::from_utf8(&text).unwrap_or_default())
}

fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // Whole microseconds first, so that the shortest text of the number has three decimals at most.
    serializer.serialize_f64(duration.as_micros() as f64 / 1e3)
}

fn some_millis<S: Serializer>(value: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(duration) => millis(duration, s),
        None => s.serialize_none(),
    }
}

fn some_reason<S: Serializer>(value: &Option<Reason>, s: S) -> Result<S::Ok, S::Error> {
    value.map(Reason::as_str).serialize(s)
}

fn some_fallback<S: Serializer>(value: &Option<FallbackReason>, s: S) -> Result<S::Ok, S::Error> {
    value.map(FallbackReason::as_str).serialize(s)
}

fn some_bucket<S: Serializer>(value: &Option<Bucket>, s: S) -> Result<S::Ok, S::Error> {
    value.map(Bucket::number).serialize(s)
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
        assert_eq!(serde_json::to_string(entry).unwrap(), expected);
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

    #[test]
    fn texts_from_clients_stay_one_text() {
        for (bytes, expected) in [
            (&b"a\"},{\"status\":200"[..], r#""a\"},{\"status\":200""#),
            (b"two\nlines\r\x00", r#""two\nlines\r\u0000""#),
            ("用户".as_bytes(), "\"用户\""),
            (b"\xff/x", "\"\u{fffd}/x\""),
        ] {
            let text = serde_json::to_string(&ClientText(bytes)).unwrap();
            assert_eq!(text, expected);
        }
    }
}
