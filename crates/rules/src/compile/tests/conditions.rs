//! Every attribute and every operator: true, false, absent, negated, several values, any bytes.

use super::*;

/// The condition holds for the request or does not; its negation says the opposite.
fn check(condition: &str, ask: &Ask, expected: bool) {
    let compiled = good(&[
        ("services/s", "{}"),
        ("routes/r", "service: s"),
        ("lists/texts", "a\n用户\n10.0.0.0/8"),
        ("lists/nets", "10.0.0.0/8\n2001:db8::/32\n::ffff:172.16.0.1"),
        ("rules/a", &format!("when: {condition}\nversion: yes")),
        ("rules/b", &format!("when: {{not: {condition}}}\nversion: no")),
    ]);
    let found = ask.version(&compiled);
    assert_eq!(found, if expected { "yes" } else { "no" }, "{condition} {ask:?}");
}

/// The condition on the header `x` with these values.
fn header(operator: &str, values: &[&str], expected: bool) {
    let ask = values.iter().fold(get("h/"), |ask, value| ask.header("X", value));
    check(&format!("{{attribute: header:x, {operator}}}"), &ask, expected);
}

#[test]
fn every_operator_on_one_value_several_and_none() {
    for (operator, value, expected) in [
        ("equals: a", "a", true),
        ("equals: a", "A", false),
        ("equals: a", "ab", false),
        ("equals: ''", "", true),
        ("equals: 用户", "用户", true),
        ("in: [a, b]", "b", true),
        ("in: [a, b]", "ab", false),
        ("in: []", "", false),
        ("in_list: texts", "用户", true),
        ("in_list: texts", "10.0.0.1", false),
        ("in_list: texts", "10.0.0.0/8", true),
        ("prefix: ab", "abc", true),
        ("prefix: ab", "a", false),
        ("prefix: ''", "", true),
        ("suffix: CUST", "x-CUST", true),
        ("suffix: CUST", "CUSTx", false),
        ("contains: b", "abc", true),
        ("contains: b", "ac", false),
        ("contains: ''", "", true),
        ("contains: abc", "ab", false),
        ("regex: 'a+'", "aa", true),
        ("regex: 'a+'", "aab", false),
        ("regex: 'a|ab'", "ab", true),
        ("regex: '.'", "用", true),
        ("regex: ''", "", true),
        ("regex: '(?x) a b # end'", "ab", true),
        ("regex: '(?i)AB'", "ab", true),
        ("exists: true", "", true),
        ("exists: false", "", false),
        ("semver: '>=7.0.0, <8'", "7.1.0", true),
        ("semver: '>=7.0.0, <8'", "v7", true),
        ("semver: '>=v7.0.0, < v8'", "7.0", true),
        ("semver: '>=7.0.0, <8'", "8.0.0", false),
        ("semver: '>=7.0.0, <8'", "6.9.9", false),
        ("semver: '>=7.0.0, <8'", "7.1.0-rc.1", false),
        ("semver: '>=7.1.0-rc.0, <8'", "7.1.0-rc.1", true),
        ("semver: '=7.1.0'", "7.1.0+build.7", true),
        ("semver: '7.1'", "7.2", true),
        ("semver: '~7.1'", "7.2", false),
        ("semver: '*'", "1", true),
        ("semver: '*'", "1.2.3.4", false),
        ("semver: '*'", "one", false),
        ("semver: '*'", "", false),
        ("at_least: 18", "18", true),
        ("at_least: 18", "18.0", true),
        ("at_least: 18", "+018.00", true),
        ("at_least: 18", "17.999999999999999999999", false),
        ("at_least: 18", "1e2", false),
        ("at_least: 18", "", false),
        ("above: 18", "18", false),
        ("above: 18", "18.0000000000000000000001", true),
        ("above: -1.5", "-1.49", true),
        ("above: -1.5", "-2", false),
        ("at_most: 0", "-0", true),
        ("at_most: 99999999999999999999999", "99999999999999999999999", true),
        ("at_most: 99999999999999999999999", "99999999999999999999999.1", false),
        ("below: 10", "9", true),
        ("below: 10", "010", false),
        ("below: 10", "abc", false),
    ] {
        header(operator, &[value], expected);
        // Any of several values, wherever it stands; one that cannot match changes nothing.
        if !operator.starts_with("exists: false") {
            let other = "\u{7d50}#";
            let other_matches =
                operator.ends_with("''") && !operator.starts_with("equals") && !operator.starts_with("regex")
                    || operator == "exists: true";
            header(operator, &[other, value], expected || other_matches);
            header(operator, &[value, other], expected || other_matches);
        }
        // Absent, every operator is false but `exists: false`.
        header(operator, &[], operator == "exists: false");
    }
}

#[test]
fn patterns_may_be_long_but_not_endless() {
    let uuid = r"regex: '\w{8}-\w{4}-\w{4}-\w{4}-\w{12}'";
    header(uuid, &["123e4567-e89b-12d3-a456-426614174000"], true);
    header(&format!("{uuid}, ignore_case: true"), &["123e4567-e89b-12d3-a456-42661417400"], false);
    let rule = "when: {attribute: header:x, regex: '((a{100}){100}){100}'}\nversion: gray";
    let found = compiled(&[("rules/a", rule)]).problems;
    assert_eq!(
        show(&found),
        ["rules/a: when.regex: the pattern is wrong: compiles to more than 10485760 bytes"]
    );
}

#[test]
fn ignore_case_folds_as_unicode_simple_folding_does() {
    for (operator, value, expected) in [
        ("equals: Ab", "aB", true),
        ("equals: ÄRZTIN", "ärztin", true),
        ("equals: k", "\u{212a}", true),
        ("equals: \u{212a}", "K", true),
        ("equals: s", "ſ", true),
        ("equals: ß", "ẞ", true),
        ("equals: ß", "ss", false),
        ("equals: i", "İ", false),
        ("equals: σ", "ς", true),
        ("in: [x, ÄB]", "äb", true),
        ("in: [x, ÄB]", "ab", false),
        ("prefix: /API", "/api/x", true),
        ("prefix: k", "\u{212a}elvin", true),
        ("suffix: cust", "x-CUST", true),
        ("suffix: ſ", "xS", true),
        ("contains: BC", "abcd", true),
        ("contains: Ж", "аж", true),
        ("regex: 'a[b-d]+'", "ABCD", true),
        ("regex: k", "\u{212a}", true),
        ("regex: 'ab'", "ABC", false),
    ] {
        header(&format!("{operator}, ignore_case: true"), &[value], expected);
    }
    for operator in ["equals: Ab", "in: [Ab]", "prefix: Ab", "suffix: Ab", "contains: Ab", "regex: Ab"] {
        header(operator, &["ab"], false);
        header(&format!("{operator}, ignore_case: false"), &["ab"], false);
        header(&format!("{operator}, ignore_case: false"), &["Ab"], true);
    }
}

#[test]
fn any_bytes_are_a_value() {
    let ask = get("h/").header("x", b"A\xff\xe7B");
    for (operator, expected) in [
        ("exists: true", true),
        ("prefix: A", true),
        ("suffix: b, ignore_case: true", true),
        ("contains: b, ignore_case: true", true),
        ("prefix: a", false),
        ("equals: A", false),
        ("equals: A\u{fffd}", false),
        ("regex: '.*'", false),
        ("regex: '(?s-u:.*)'", true),
        ("in_list: texts", false),
        ("semver: '*'", false),
        ("at_least: 0", false),
    ] {
        check(&format!("{{attribute: header:x, {operator}}}"), &ask, expected);
    }
}

#[test]
fn every_attribute_has_its_value() {
    let mut ask = get("Medical.Example.COM.:8080//a/./%62?q=1").header("cookie", "uid=u1");
    ask.method = "PUT";
    ask.scheme = "https";
    for (condition, expected) in [
        ("{attribute: path, equals: /a/b}", true),
        ("{attribute: path, prefix: /a/}", true),
        ("{attribute: path, contains: q=1}", false),
        ("{attribute: host, equals: medical.example.com}", true),
        ("{attribute: host, suffix: '8080'}", false),
        ("{attribute: method, in: [PUT, POST]}", true),
        ("{attribute: method, equals: put}", false),
        ("{attribute: scheme, equals: https}", true),
        ("{attribute: ip, equals: 203.0.113.7}", true),
        ("{attribute: ip, equals: '::ffff:203.0.113.7'}", true),
        ("{attribute: ip, prefix: '203.0.113.'}", true),
        ("{attribute: ip, cidr: [10.0.0.0/8]}", false),
        ("{attribute: ip, cidr: [10.0.0.0/8, 203.0.113.9/24]}", true),
        ("{attribute: ip, in_list: nets}", false),
        ("{attribute: ip, exists: true}", true),
        ("{attribute: path, exists: false}", false),
        ("{attribute: 'cookie:uid', equals: u1}", true),
        ("{attribute: 'query:q', at_least: 1}", true),
    ] {
        check(condition, &ask, expected);
    }
    for (client, expected) in [
        ("10.255.0.1", true),
        ("11.0.0.1", false),
        ("2001:db8::1", true),
        ("2001:db9::1", false),
        ("172.16.0.1", true),
    ] {
        check("{attribute: ip, in_list: nets}", &Ask { client, ..get("h/") }, expected);
    }
    // A request that names no host has none.
    check("{attribute: host, exists: true}", &get("h/"), true);
    check("{attribute: host, exists: true}", &get("/"), false);
    check("{attribute: host, equals: ''}", &get("/"), false);
    // A prefix of the text, unlike the prefix of a route.
    check("{attribute: path, prefix: /portal}", &get("h/portals"), true);
}

#[test]
fn cookies_queries_and_headers_may_come_several_times() {
    let cookies = get("h/").header("cookie", "a=1; b=\"x\"; a=2;c = d ; flag").header("cookie", "a=3; e=");
    for (name, value, expected) in [
        ("a", "1", true),
        ("a", "2", true),
        ("a", "3", true),
        ("a", "4", false),
        ("A", "1", false),
        ("b", "\\\"x\\\"", true),
        ("b", "x", false),
        ("c", "d", true),
        ("e", "", true),
    ] {
        check(&format!("{{attribute: 'cookie:{name}', equals: \"{value}\"}}"), &cookies, expected);
    }
    check("{attribute: 'cookie:flag', exists: true}", &cookies, false);
    check("{attribute: 'cookie:e', exists: true}", &cookies, true);
    let query = get("h/?a=1&a=2&b&=x&%63=%E7%94%A8+x&d=%zz%4&e=x=y&f=%00%ff&&full+name=Li%20Wei&g;h=1");
    for (name, operator, expected) in [
        ("a", "equals: '2'", true),
        ("a", "equals: '3'", false),
        ("b", "equals: ''", true),
        ("c", "equals: 用 x", true),
        ("d", "equals: '%zz%4'", true),
        ("e", "equals: x=y", true),
        ("f", "exists: true", true),
        ("f", "regex: '.*'", false),
        ("full name", "equals: Li Wei", true),
        ("full+name", "exists: true", false),
        ("g", "exists: true", false),
        ("g;h", "equals: '1'", true),
        ("B", "exists: true", false),
    ] {
        check(&format!("{{attribute: 'query:{name}', {operator}}}"), &query, expected);
    }
    check("{attribute: 'query:a', exists: true}", &get("h/"), false);
    check("{attribute: 'query:a', exists: true}", &get("h/?"), false);
    check("{attribute: header:x-empty, equals: ''}", &get("h/").header("X-Empty", ""), true);
}

#[test]
fn a_path_is_seen_in_one_spelling() {
    for (equals, target) in [
        ("/用户", "/%e7%94%a8%E6%88%B7"),
        ("/用户", "/用户"),
        ("/a b", "/a%20b"),
        ("/a%2Fb", "/a%2fb"),
        ("/a%5Cb", "/a%5cb"),
        ("/a%5Cb", "/a\\b"),
        ("/a%252fb", "/a%252fb"),
        ("/a%b", "/a%25b"),
        ("/admin", "/%61dmin"),
        ("/admin", "//x/../admin"),
        ("/admin/", "/admin//"),
        ("/admin/", "/admin/%2e"),
        ("/a+b", "/a+b"),
        ("/a;b", "/a;b"),
        ("/a?b#", "/a%3Fb%23"),
        ("/%2e", "/%252e"),
    ] {
        check(&format!("{{attribute: path, equals: '{equals}'}}"), &get(&format!("h{target}")), true);
    }
}

#[test]
fn conditions_combine() {
    let ask = get("h/").header("x", "a").header("y", "b");
    let (yes, no) = ("{attribute: header:x, equals: a}", "{attribute: header:y, equals: a}");
    for (condition, expected) in [
        (format!("{{all: [{yes}, {yes}]}}"), true),
        (format!("{{all: [{yes}, {no}]}}"), false),
        (format!("{{any: [{no}, {yes}]}}"), true),
        (format!("{{any: [{no}, {no}]}}"), false),
        (format!("{{not: {{all: [{yes}, {{not: {no}}}]}}}}"), false),
        (format!("{{any: [{{all: [{no}]}}, {{not: {{any: [{no}]}}}}]}}"), true),
    ] {
        check(&condition, &ask, expected);
    }
}

#[test]
fn a_list_may_grow_and_shrink_a_thousandfold() {
    let many: String = (0..40_000).map(|member| format!("u{member}\n")).collect();
    let rule = ("rules/r", "when: {attribute: header:u, in_list: l}\nversion: gray");
    let few =
        [("services/s", "{}"), rule, ("routes/s", "service: s"), ("lists/l/a", "x"), ("lists/l/b", "y")];
    let all = [&few[..], &[("lists/l/c", many.as_str())]].concat();
    let before = good(&few);
    let grown = then(&before, &all);
    let shrunk = then(&grown, &few);
    for (compiled, members, versions) in
        [(&before, 2, "gray release"), (&grown, 40_002, "gray gray"), (&shrunk, 2, "gray release")]
    {
        assert_eq!(compiled.counts.list_members[0].1, members);
        let [x, u] = ["x", "u39999"].map(|user| get("h/").header("u", user).version(compiled));
        assert_eq!(format!("{x} {u}"), versions);
    }
}
