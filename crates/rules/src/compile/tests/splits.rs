//! Splits and identities: who falls into which bucket, and what that means.

use super::*;
use crate::decide::bucket;
use crate::vocab::Share;
use proptest::prelude::*;

/// A service and one rule.
fn split(service: &str, rule: &str) -> Compiled {
    good(&[("services/s", service), ("routes/r", "service: s"), ("rules/plan-1", rule)])
}

/// A value of the header `u` whose bucket under `salt` lies in the range.
fn user_in(salt: &str, range: std::ops::Range<u16>) -> String {
    let mut users = (0..).map(|i| format!("u{i}"));
    users.find(|user| range.contains(&bucket(salt.as_bytes(), user.as_bytes()).number())).unwrap()
}

#[test]
fn versions_take_consecutive_ranges_in_the_order_written() {
    let compiled = split("identity: [header:u]", "split: {gray: 10, feat1: 2.5, alpha: 0.01}");
    for (range, expected) in [
        (0..1, "gray"),
        (999..1000, "gray"),
        (1000..1001, "feat1"),
        (1249..1250, "feat1"),
        (1250..1251, "alpha"),
        (1251..1252, "release"),
        (9999..10_000, "release"),
    ] {
        let user = user_in("plan-1", range.clone());
        let verdict = get("h/").header("u", &user).verdict(&compiled);
        assert_eq!(verdict, format!("r s {expected} rule:plan-1@{}", range.start), "{range:?}");
    }
}

#[test]
fn the_published_vectors_decide() {
    let rule = "split: {gray: 2.47, feat1: 0.01, beta: 33.04, alpha: 0.01}";
    let one = split("identity: [header:u]", rule);
    assert_eq!(get("h/").header("u", "user1").verdict(&one), "r s feat1 rule:plan-1@247");
    assert_eq!(get("h/").header("u", "用户一").verdict(&one), "r s release rule:plan-1@8997");
    let two = split("identity: [header:u]", &format!("{rule}\nsalt: plan-2"));
    assert_eq!(get("h/").header("u", "user1").verdict(&two), "r s alpha rule:plan-1@3552");
    let last = split("identity: [header:u]", "split: {gray: 89.97, feat1: 0.01}");
    assert_eq!(get("h/").header("u", "用户一").version(&last), "feat1");
}

#[test]
fn the_whole_of_a_split_takes_everyone() {
    for (rule, without, with) in [
        ("split: {gray: 100}", "gray", "gray"),
        ("split: {gray: 0, feat1: 100.00}", "feat1", "feat1"),
        ("split: {gray: 50, feat1: 50}", "release", "gray"),
        ("split: {release: 100}", "release", "release"),
        ("split: {gray: 0}", "release", "release"),
        ("split: {gray: 99.99}", "release", "gray"),
    ] {
        let compiled = split("identity: [header:u]", rule);
        assert_eq!(get("h/").verdict(&compiled), format!("r s {without} rule:plan-1"), "{rule}");
        assert_eq!(get("h/").header("u", "").version(&compiled), without, "{rule}");
        let user = user_in("plan-1", 0..1);
        assert_eq!(get("h/").header("u", user).version(&compiled), with, "{rule}");
    }
}

#[test]
fn what_is_hashed() {
    let bucket_of = |service: &str, rule: &str, ask: &Ask| ask.choice(&split(service, rule)).bucket;
    let of = |salt: &str, value: &str| Some(bucket(salt.as_bytes(), value.as_bytes()));
    let rule = "split: {gray: 10}";
    let ask =
        get("h/?q=b&q=c").header("u", "one").header("u", "two").header("v", "").header("cookie", "w=three");
    for (service, rule, expected) in [
        ("{}", rule, of("plan-1", "203.0.113.7")),
        ("identity: [header:u]", rule, of("plan-1", "one")),
        ("identity: [header:v, header:u]", rule, of("plan-1", "one")),
        ("identity: [header:none, 'cookie:w', header:u]", rule, of("plan-1", "three")),
        ("identity: ['query:q']", rule, of("plan-1", "b")),
        ("identity: [header:v]", rule, None),
        ("identity: [header:u]", "split: {gray: 10}\nby: ['cookie:w', header:u]", of("plan-1", "three")),
        ("identity: [header:u]", "split: {gray: 10}\nby: [header:none]", None),
        ("identity: [header:u]", "split: {gray: 10}\nby: [header:none, ip]", of("plan-1", "203.0.113.7")),
        ("identity: [header:u]", "split: {gray: 10}\nsalt: 用户", of("用户", "one")),
        ("identity: [header:u]", "split: {gray: 10}\nsalt: ''", of("", "one")),
        ("identity: [path, host]", rule, of("plan-1", "/")),
    ] {
        assert_eq!(bucket_of(service, rule, &ask), expected, "{service} {rule}");
    }
    // Of an attribute that comes several times the first value counts; where it is empty, the next attribute is asked.
    let empty_first = get("h/").header("u", "").header("u", "two").header("v", "three");
    assert_eq!(bucket_of("identity: [header:u, header:v]", rule, &empty_first), of("plan-1", "three"));
    // Bytes are hashed as they came.
    let bytes = get("h/").header("u", b"\xff\xfe");
    let expected = Some(bucket(b"plan-1", b"\xff\xfe"));
    assert_eq!(bucket_of("identity: [header:u]", rule, &bytes), expected);
}

#[test]
fn a_client_without_identity_is_given_one() {
    let fresh = |ask: Ask| Ask { fresh: Some("id-1"), ..ask };
    let of = |value: &str| Some(bucket(b"plan-1", value.as_bytes()));
    let rule = "split: {gray: 10}";
    let cookie = "issue_cookie: {name: gg, max_age: 30d}";
    let both = format!("identity: [header:u]\n{cookie}");
    for (service, rule, ask, bucket, issued) in [
        (cookie, rule, fresh(get("h/")), of("id-1"), true),
        (cookie, rule, fresh(get("h/").header("cookie", "gg=mine")), of("mine"), false),
        (cookie, rule, fresh(get("h/").header("cookie", "gg=")), of("id-1"), true),
        (&both, rule, fresh(get("h/")), of("id-1"), true),
        (&both, rule, fresh(get("h/").header("u", "one")), of("one"), false),
        (&both, rule, fresh(get("h/").header("u", "")), of("id-1"), true),
        // From the next request on the cookie is the identity; one that is there already counts before.
        (&both, rule, fresh(get("h/").header("cookie", "gg=mine")), of("mine"), false),
        (&both, rule, fresh(get("h/").header("cookie", "gg=mine").header("u", "one")), of("one"), false),
        // Another attribute is hashed, which the client still does not have.
        (cookie, "split: {gray: 10}\nby: [header:u]", fresh(get("h/")), None, true),
        ("identity: [header:u]", rule, fresh(get("h/")), None, false),
    ] {
        let choice = ask.choice(&split(service, rule));
        assert_eq!((choice.bucket, choice.issue_cookie), (bucket, issued), "{service} {rule} {ask:?}");
    }
    // The issued cookie named by a rule is the same identity, on the first request as on the second.
    let named = split(&both, "split: {gray: 10}\nby: ['cookie:gg']");
    assert_eq!(fresh(get("h/")).choice(&named).bucket, of("id-1"));
    assert_eq!(fresh(get("h/").header("cookie", "gg=id-1")).choice(&named).bucket, of("id-1"));
    assert_eq!(fresh(get("h/").header("u", "one")).choice(&named).bucket, None);
}

#[test]
fn pins_are_hidden_from_untrusted_requests() {
    let service = "identity: [header:dev, header:u]\npin: {attribute: header:dev, tag: dev}";
    let compiled = good(&[
        ("services/s", service),
        ("routes/r", "service: s"),
        ("rules/a", "when: {attribute: header:dev, exists: true}\nversion: gray"),
        ("rules/b", "when: {attribute: header:x, exists: true}\nsplit: {beta: 100}"),
        ("rules/c", "when: {attribute: header:y, exists: true}\nsplit: {beta: 100}\nby: [header:dev]"),
        ("rules/d", "when: {not: {attribute: header:dev, equals: li}}\nversion: feat1"),
    ]);
    let ask = get("h/").header("Dev", "li");
    assert_eq!(ask.verdict(&compiled), "r s feat1 rule:d");
    assert_eq!(ask.clone().trusted().verdict(&compiled), "r s gray rule:a");
    // Neither does it count as an identity.
    assert_eq!(ask.clone().header("x", "").choice(&compiled).bucket, None);
    let other = ask.clone().header("x", "").header("u", "one").choice(&compiled);
    assert_eq!(other.bucket, Some(bucket(b"b", b"one")));
    assert_eq!(ask.clone().header("y", "").choice(&compiled).bucket, None);
    // The pin itself is read from trusted requests only.
    let plan = &compiled.snapshot.services[0];
    let pinned = |ask: &Ask| {
        ask.with(&compiled, |request, _| {
            plan.pinned(request, &mut Scratch::default(), |value| String::from_utf8_lossy(value).into_owned())
        })
    };
    assert_eq!(pinned(&ask), None);
    assert_eq!(pinned(&ask.trusted()), Some("li".into()));
}

#[test]
fn an_absent_pin_exists_for_no_untrusted_request() {
    let compiled = good(&[
        ("services/s", "pin: {attribute: 'cookie:dev', tag: dev}"),
        ("routes/r", "service: s"),
        ("rules/a", "when: {attribute: 'cookie:dev', exists: false}\nversion: gray"),
    ]);
    let ask = get("h/").header("cookie", "dev=li");
    assert_eq!(ask.version(&compiled), "gray");
    assert_eq!(ask.trusted().version(&compiled), "release");
}

fn share(hundredths: u16) -> String {
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    assert!(Share::parse(&text).is_some());
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Raising the first share takes no user out of it, whatever stands behind.
    #[test]
    fn raising_the_first_share_never_takes_a_user_out(
        low in 0u16..=10_000, high in 0u16..=10_000, second in 0u16..=10_000, first_user in 0u32..1_000_000,
    ) {
        let (low, high) = (low.min(high), low.max(high));
        let rule = |first: u16| {
            let second = second.min(10_000 - first);
            split("identity: [header:u]", &format!("split: {{gray: {}, feat1: {}}}", share(first), share(second)))
        };
        let (before, after) = (rule(low), rule(high));
        for user in first_user..first_user + 50 {
            let ask = get("h/").header("u", user.to_string());
            if ask.version(&before) == "gray" {
                prop_assert_eq!(ask.version(&after), "gray");
            }
        }
    }
}
