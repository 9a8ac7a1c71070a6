//! Limits and mirrors, as several gateways say them.

use super::drafts::{Drafts, name_of};
use super::kubernetes::{instance, socket};
use super::yaml::Yaml;
use crate::documents::Kind;

/// Units of a rate, in seconds.
const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

/// What differs wherever another status is configured, which is so by default.
pub fn other_status(status: u64) -> Option<String> {
    (status != 429).then(|| format!("429 in place of {status}"))
}

/// A rate of so many requests in so many seconds; `None` where it is no whole number of any unit.
pub fn rate(count: u64, seconds: u64) -> Option<String> {
    let seconds = Some(seconds).filter(|seconds| *seconds > 0)?;
    UNITS.iter().find_map(|(unit, length)| {
        let scaled = count.checked_mul(*length)?;
        (scaled > 0 && scaled.is_multiple_of(seconds)).then(|| format!("{}/{unit}", scaled / seconds))
    })
}

/// `limit` of a route; `burst` requests may come at once.
pub fn limit(rate: String, burst: u64, by: Option<String>) -> Yaml {
    let limit = Yaml::of("rate", Yaml::text(rate)).with("burst", Yaml::number(burst.max(1)));
    match by {
        Some(attribute) => limit.with("by", Yaml::texts([attribute])),
        None => limit,
    }
}

/// The service that gets copies, written for a URL without a path of its own; and what is to be done for it.
pub fn shadow(url: &str, drafts: &mut Drafts) -> Option<(String, Vec<String>)> {
    let (scheme, rest) = url.trim().split_once("://")?;
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.trim_end_matches("$request_uri").trim_end_matches("$uri").trim_end_matches('/');
    if authority.is_empty() || authority.contains(['/', '$', '?', '@']) {
        return None;
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (authority, default_port),
    };
    let service = name_of(&format!("mirror-{}", host.trim_matches(['[', ']'])));
    let address = socket(host, port);
    drafts.edit(Kind::Service, &service, |document| {
        if let Some(address) = &address {
            document.append("instances", instance(address, "release", None));
        }
        if scheme == "https" {
            document.set("tls", Yaml::of("verify", Yaml::Flag(false)));
        }
    });
    let differences = match address {
        Some(_) => Vec::new(),
        None => vec![format!("write the addresses of `{host}` below `instances/{service}/`")],
    };
    Some((service, differences))
}

/// `mirror` of a route or rule; `share` in hundredths of a percent.
pub fn mirror(service: &str, version: &str, share: Option<u64>) -> Yaml {
    let mut mirror = Yaml::of("service", Yaml::text(service));
    if version != "release" {
        mirror.set("version", Yaml::text(version));
    }
    match share.filter(|share| *share < 10_000) {
        Some(share) => mirror.with("share", Yaml::text(format!("{}%", super::shares::percent(share)))),
        None => mirror,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_whole_numbers_of_the_smallest_unit() {
        for (count, seconds, expected) in [
            (10, 1, Some("10/s")),
            (100, 60, Some("100/m")),
            (120, 60, Some("2/s")),
            (5, 3600, Some("5/h")),
            (1, 120, Some("30/h")),
            (7, 100_000, None),
            (1, 0, None),
            (0, 1, None),
        ] {
            assert_eq!(rate(count, seconds).as_deref(), expected, "{count} in {seconds}");
        }
    }

    #[test]
    fn copies_go_to_urls_without_a_path() {
        for (url, expected) in [
            ("http://10.0.0.9:8080", Some("mirror-10.0.0.9")),
            ("https://test.example.com$request_uri", Some("mirror-test.example.com")),
            ("http://test/$request_uri", Some("mirror-test")),
            ("http://test/other", None),
            ("http://$backend$request_uri", None),
            ("test.example.com", None),
            ("ftp://test", None),
        ] {
            let found = shadow(url, &mut Drafts::default());
            assert_eq!(found.map(|(service, _)| service).as_deref(), expected, "{url}");
        }
    }
}
