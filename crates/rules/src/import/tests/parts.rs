//! What the four readers share.

use super::super::condition::Condition;
use super::super::pattern::{found_anywhere, named_groups, replacement};
use super::super::shares::{percent, percentages};
use super::super::yaml::Yaml;
use crate::documents::Pattern;
use crate::documents::text::{Syntax, parse};

#[test]
fn weights_become_a_hundred_percent() {
    for (weights, expected, exact) in [
        (vec![1, 1], vec!["50", "50"], true),
        (vec![1, 1, 1], vec!["33.34", "33.33", "33.33"], false),
        (vec![90, 10], vec!["90", "10"], true),
        (vec![999, 1], vec!["99.9", "0.1"], true),
        (vec![0, 5], vec!["0", "100"], true),
        (vec![1, 19_999], vec!["0.01", "99.99"], false),
    ] {
        let (shares, found_exact) = percentages(&weights).unwrap();
        let shown: Vec<String> = shares.iter().map(|share| percent(*share).to_string()).collect();
        assert_eq!(
            (shown, found_exact),
            (expected.iter().map(|s| s.to_string()).collect(), exact),
            "{weights:?}"
        );
        assert_eq!(shares.iter().sum::<u64>(), 10_000);
    }
    assert_eq!(percentages(&[0, 0]), None);
    assert_eq!(percentages(&[]), None);
}

#[test]
fn patterns_are_found_anywhere_as_theirs_are() {
    for (pattern, value, expected) in [
        ("gray", "a gray cat", true),
        ("^gray", "a gray cat", false),
        ("cat$", "a gray cat", true),
        ("^a$|^b$", "b", true),
        ("^a$|^b$", "ab", false),
        ("^v[0-9]+$", "v12", true),
        ("^v[0-9]+$", "xv12", false),
        ("a\\$", "a$b", true),
        ("(iphone|ipad)", "an ipad\n2", true),
    ] {
        let whole = Pattern::parse(&found_anywhere(pattern).unwrap(), false).unwrap();
        assert_eq!(whole.regex.is_match(value.as_bytes()), expected, "{pattern} in {value}");
    }
    assert!(found_anywhere("(?!beta)").is_err());
}

#[test]
fn groups_get_names_that_texts_can_use() {
    for (pattern, expected) in [
        ("/a(/|$)(.*)", "/a(?<g1>/|$)(?<g2>.*)"),
        ("/(?:x)(y)", "/(?:x)(?<g1>y)"),
        ("/[(](z)", "/[(](?<g1>z)"),
        ("/\\((z)", "/\\((?<g1>z)"),
        ("/(?<name>x)(y)", "/(?<name>x)(?<g2>y)"),
    ] {
        assert_eq!(named_groups(pattern), expected);
    }
    assert_eq!(replacement("/$2/x$1").unwrap(), "/${g2}/x${g1}");
    assert!(replacement("/$host").is_err());
}

#[test]
fn conditions_fold() {
    let a = || Condition::equals("path", "/a");
    let is = |condition: Condition| match condition {
        Condition::Is(yaml) => yaml.to_string(),
        other => format!("{other:?}"),
    };
    assert_eq!(is(Condition::all([Condition::Always, a()])), "{attribute: path, equals: /a}");
    assert_eq!(is(Condition::all([Condition::Never, a()])), "Never");
    assert_eq!(is(Condition::any([Condition::Always, a()])), "Always");
    assert_eq!(
        is(Condition::any([a(), Condition::any([a(), a()])])),
        format!("{{any: [{0}, {0}, {0}]}}", is(a()))
    );
    assert_eq!(is(a().negated().negated()), is(a()));
}

#[test]
fn texts_read_back_as_they_are() {
    for text in [
        "plain", "true", "7.0.1", "", "a: b", "12", "#x", "*.x.y", "${g1}", "a\"b\\c", "x\ny", "用户",
        "header:x", "~",
    ] {
        let document = Yaml::of("key", Yaml::texts([text])).document();
        let node = parse(&document, Syntax::Yaml).unwrap();
        let shown = format!("{node:?}");
        assert!(shown.contains(&format!("Text({text:?})")), "{document} {shown}");
    }
}
