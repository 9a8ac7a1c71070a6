//! What a document says beside the decision: limits, mirrors, files of pages.

use super::*;
use crate::vocab::{Attribute, ByteSize, Mirror};

fn route(text: &str) -> Box<Route> {
    match parse_text("routes/r", &format!("{{service: s, {text}}}")).unwrap() {
        Document::Route(route) => route,
        other => panic!("{other:?}"),
    }
}

#[test]
fn limits_are_read_with_every_default() {
    let limit = route("limit: {rate: 100/s, burst: 200, by: ['header:x-user', ip]}").limit.unwrap();
    assert_eq!((limit.rate.to_string().as_str(), limit.burst), ("100/s", 200));
    assert_eq!(limit.by.as_deref().unwrap().last(), Some(&Attribute::Ip));
    let limit = route("limit: {rate: 600/m}").limit.unwrap();
    assert_eq!((limit.burst, limit.by), (600, None));
    assert_eq!(route("limit: {rate: 1000000000/s}").limit.unwrap().burst, 10_000_000);
    good("services/s", "limit: {rate: 1/d, burst: 1}");
    for (text, field, part) in [
        ("{}", "limit", "`rate` is missing"),
        ("{rate: 100}", "limit.rate", "expected a rate"),
        ("{rate: 100/ms}", "limit.rate", "is not a rate"),
        ("{rate: 0/s}", "limit.rate", "is not a rate"),
        ("{rate: 1/s, burst: 0}", "limit.burst", "whole number from 1"),
        ("{rate: 1/s, burst: 10000001}", "limit.burst", "whole number from 1"),
        ("{rate: 1/s, by: []}", "limit.by", "empty list"),
        ("{rate: 1/s, by: [user]}", "limit.by[0]", "is not an attribute"),
        ("{rate: 1/s, brst: 2}", "limit.brst", "did you mean `burst`?"),
    ] {
        bad("services/s", &format!("limit: {text}"), &[(field, part)]);
        bad("routes/r", &format!("service: s\nlimit: {text}"), &[(field, part)]);
    }
}

#[test]
fn mirrors_are_read_with_every_default() {
    let mirror =
        route("mirror: {service: shadow, version: gray, share: 10%, body: 32KiB, max: 8}").mirror.unwrap();
    assert_eq!((mirror.service.as_str(), mirror.version.as_str()), ("shadow", "gray"));
    assert_eq!((mirror.share.hundredths(), mirror.body, mirror.max), (1000, ByteSize(32 << 10), 8));
    let mirror = route("mirror: {service: shadow}").mirror.unwrap();
    assert_eq!((mirror.version.as_str(), mirror.share.hundredths()), ("release", 10_000));
    assert_eq!((mirror.body, mirror.max), (Mirror::BODY, 64));
    good("rules/r", "version: gray\nmirror: {service: shadow}");
    for (text, field, part) in [
        ("{version: gray}", "mirror", "`service` is missing"),
        ("{service: a b}", "mirror.service", "is not a name"),
        ("{service: s, share: 10}", "mirror.share", "expected a percentage"),
        ("{service: s, share: 101%}", "mirror.share", "is not a percentage"),
        ("{service: s, body: 2MiB}", "mirror.body", "1MiB is the most"),
        ("{service: s, max: 0}", "mirror.max", "whole number from 1"),
        ("{service: s, max: 1025}", "mirror.max", "whole number from 1"),
        ("{service: s, shares: 1%}", "mirror.shares", "did you mean `share`?"),
    ] {
        bad("rules/r", &format!("version: gray\nmirror: {text}"), &[(field, part)]);
        bad("routes/r", &format!("service: s\nmirror: {text}"), &[(field, part)]);
    }
    bad("routes/r", "redirect: {path: /a}\nmirror: {service: s}", &[("mirror", "nothing goes upstream")]);
}

#[test]
fn files_of_pages_are_read_with_every_default() {
    let read = |text: &str| match parse_text("services/s", &format!("assets: {text}")).unwrap() {
        Document::Service(service) => service.assets.unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(read("{paths: [{prefix: /assets}]}").statuses, [404, 410]);
    assert_eq!(read("{paths: [{regex: '.*[.]js'}], on: [403]}").statuses, [403]);
    for (text, field, part) in [
        ("{on: [404]}", "assets", "`paths` is missing"),
        ("{paths: []}", "assets.paths", "empty list"),
        ("{paths: [{prefix: assets}]}", "assets.paths[0].prefix", "does not begin with `/`"),
        ("{paths: [{prefix: /a}], on: []}", "assets.on", "empty list"),
        ("{paths: [{prefix: /a}], on: [200]}", "assets.on[0]", "whole number from 400"),
        ("{paths: [{prefix: /a}], or: [404]}", "assets.or", "did you mean `on`?"),
    ] {
        bad("services/s", &format!("assets: {text}"), &[(field, part)]);
    }
}
