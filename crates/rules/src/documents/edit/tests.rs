//! Edits of texts as people write them: what was meant changes, and nothing else.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn edited(body: &str, path: &[&str], value: &str) -> Result<String, CannotEdit> {
    let value = (value != "-").then(|| text::parse(value, Syntax::Yaml).unwrap().value);
    set(body, path, value.as_ref())
}

#[test]
fn one_field_changes_and_everything_else_stays() {
    for (body, path, value, expected) in [
        (
            "# top\nenabled: true # why\nversion: gray\n",
            &["enabled"][..],
            "false",
            "# top\nenabled: false # why\nversion: gray\n",
        ),
        ("version: gray\n# end\n", &["enabled"], "false", "version: gray\nenabled: false\n# end\n"),
        ("version: gray", &["enabled"], "false", "version: gray\nenabled: false\n"),
        (
            "split: {gray: 10, b: 5} # shares\nby: [ip]\n",
            &["split", "gray"],
            "25.5",
            "split: {gray: 25.5, b: 5} # shares\nby: [ip]\n",
        ),
        (
            "split:\n  gray: 10 # first\n  b: 5\nby: [ip]\n",
            &["split", "b"],
            "7",
            "split:\n  gray: 10 # first\n  b: 7\nby: [ip]\n",
        ),
        (
            "split:\n  gray: 10\n\nby: [ip]\n",
            &["split", "b"],
            "7",
            "split:\n  gray: 10\n  b: 7\n\nby: [ip]\n",
        ),
        ("split: {gray: 10}\n", &["split", "b"], "7", "split: {gray: 10, b: 7}\n"),
        ("split: {gray: 10, b: 7}\n", &["split", "gray"], "-", "split: {b: 7}\n"),
        ("split: {gray: 10, b: 7}\n", &["split", "b"], "-", "split: {gray: 10}\n"),
        ("a: 1\nb: 2 # two\nc: 3\n", &["b"], "-", "a: 1\nc: 3\n"),
        ("{}", &["retries"], "2", "{\"retries\": 2}"),
        ("# none\n{}\n", &["aliases", "gray"], "v2", "# none\n{aliases: {gray: v2}}\n"),
        ("{\"a\": 1}\n", &["b"], "[x, {c: 'd\"'}]", "{\"a\": 1, \"b\": [\"x\", {\"c\": \"d\\\"\"}]}\n"),
        ("by: [ip] # c\n", &["by"], "[host]", "by: [host] # c\n"),
        ("split: {a: 1} # c\n", &["split", "a"], "-", "split: {} # c\n"),
        ("a: # c\n# d\nb: 2\n", &["a"], "1", "a: 1 # c\n# d\nb: 2\n"),
        ("a: # c\n  # d\n  b: 2 # e\nf: 1\n", &["a"], "1", "a: 1 # c # e\nf: 1\n"),
        ("a: # c\n  # d:\n  b: 2 # e\n", &["a", "b"], "-", "a: # c\n  # d:\n  {} # e\n"),
        ("a:\n  b: | # c\n    x\n\n  d: 1\n", &["a", "b"], "1", "a:\n  b: 1 # c\n\n  d: 1\n"),
        ("\u{feff}a: 1\n", &["a"], "2", "\u{feff}a: 2\n"),
        ("retries: 1\n", &["aliases", "gray"], "v2", "retries: 1\naliases: {gray: v2}\n"),
        (
            "aliases:\n  gray: v1 # the old\nretries: 1\n",
            &["aliases", "gray"],
            "v2",
            "aliases:\n  gray: v2 # the old\nretries: 1\n",
        ),
        ("a: 'it''s' # c\n", &["a"], "\"x: y\"", "a: \"x: y\" # c\n"),
        ("{\"a\": 1, \"b\": [2]}", &["a"], "3", "{\"a\": 3, \"b\": [2]}"),
        ("version: gray\n", &["enabled"], "-", "version: gray\n"),
        ("用户: 1 # 二\nb: 2\n", &["b"], "3", "用户: 1 # 二\nb: 3\n"),
    ] {
        assert_eq!(edited(body, path, value).as_deref(), Ok(expected), "{body:?} {path:?} {value}");
    }
}

#[test]
fn larger_values_are_replaced_as_a_whole() {
    for (body, path, value) in [
        (
            "when:\n  all:\n    - attribute: path # p\n      equals: /a\n# next\nversion: gray\n",
            &["when"][..],
            "{attribute: ip, exists: true}",
        ),
        ("a: |\n  text\n  more\nb: 2\n", &["a"], "1"),
        ("a: |\n  text\n  more\nb: 2\n", &["a"], "-"),
        ("a:\nb: 2\n", &["a"], "1"),
        ("aliases:\n  gray: v1\nretries: 1\n", &["aliases", "gray"], "-"),
        ("- a\n", &["a"], "1"),
        ("a: &x 1\nb: *x\n", &["b"], "2"),
        (
            "a: [1,\n  2]\nb: 2\n",
            &["a"],
            "{long: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, longer: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}",
        ),
    ] {
        // An edit says what it was to say, or is refused.
        if let Ok(after) = edited(body, path, value) {
            let kept = |line: &&str| {
                line.starts_with('#') || line.starts_with("version") || line.starts_with("retries")
            };
            let (before, after): (Vec<&str>, Vec<&str>) =
                (body.lines().filter(kept).collect(), after.lines().filter(kept).collect());
            assert_eq!(before, after, "{body:?} {path:?}");
        }
    }
}

#[test]
fn a_refusal_says_what_is_wrong() {
    for (body, path, expected) in [
        ("- a\n", &["a"][..], "the document is not a map"),
        ("a: {b: 1}\n", &["a", "b", "c"], "`a.b` is not a map"),
        ("a: 1\n", &[], "there is no field without a name"),
        (": :\n  - {", &["a"], "the text cannot be read: "),
        (
            "a: &x 2\nb: *x\n",
            &["b"],
            "the text is written in a way that `b` cannot be changed in place; edit it by hand",
        ),
    ] {
        let said = edited(body, path, "1").unwrap_err().to_string();
        assert!(
            said == expected || (expected.ends_with(' ') && said.starts_with(expected)),
            "{body:?}: {said}"
        );
    }
}

/// A value as a person may have written it.
#[derive(Clone, Debug)]
enum Drawn {
    /// In the key's line.
    Line(&'static str),
    /// Lines below it, without their indentation; the first stands behind the key.
    Block(&'static [&'static str]),
    Map(Vec<DrawnEntry>),
}

#[derive(Clone, Debug)]
struct DrawnEntry {
    has_comment_above: bool,
    has_comment_behind: bool,
    value: Drawn,
}

const KEYS: [(&str, &str); 5] =
    [("a", "a"), ("c d", "\"c d\""), ("用户", "用户"), ("it's", "'it''s'"), ("e-1", "e-1")];

fn drawn_map() -> impl Strategy<Value = Vec<DrawnEntry>> {
    let line = select(vec![
        "1",
        "-2.50",
        "true",
        "~",
        "",
        "gray",
        "a b",
        "'it''s # no: comment'",
        "\"\\\" # no\"",
        "''",
        "[]",
        "{}",
        "[a, 'b', {c: 1}]",
        "{a: 1, \"c d\": {a: 'x'}}",
        "{a: [1], 用户: }",
        "用户",
    ]);
    let block = select(vec![
        &["|", "text # no comment", "", "more"][..],
        &[">-", "folded", "text"],
        &["", "- a", "- 'b'", "- c: 1", "  d: 2"],
        &["'over", "two lines'"],
    ]);
    let leaf = prop_oneof![line.prop_map(Drawn::Line), block.prop_map(Drawn::Block)];
    let value = leaf.prop_recursive(3, 20, 4, |inner| entries_of(inner.boxed()).prop_map(Drawn::Map));
    entries_of(value.boxed())
}

fn entries_of(value: BoxedStrategy<Drawn>) -> impl Strategy<Value = Vec<DrawnEntry>> {
    let entry = (any::<bool>(), any::<bool>(), value).prop_map(|(above, behind, value)| DrawnEntry {
        has_comment_above: above,
        has_comment_behind: behind,
        value,
    });
    prop::collection::vec(entry, 1..4)
}

/// The text, with comments that say which field they belong to.
fn draw(entries: &[DrawnEntry], indent: usize, path: &str, out: &mut String) {
    for (entry, (_, key)) in entries.iter().zip(KEYS) {
        let (at, pad) = (format!("{path}/{key}").replace(' ', "_"), " ".repeat(indent));
        if entry.has_comment_above {
            out.push_str(&format!("{pad}# above {at}\n"));
        }
        let comment = if entry.has_comment_behind { format!(" # behind {at}") } else { String::new() };
        match &entry.value {
            Drawn::Line(text) => out.push_str(&format!("{pad}{key}: {text}{comment}\n")),
            Drawn::Block([first, lines @ ..]) => {
                let comment = if first.starts_with('\'') { "" } else { &comment };
                out.push_str(&format!("{pad}{key}: {first}{comment}\n"));
                lines.iter().for_each(|line| out.push_str(&format!("{pad}  {line}\n")));
            }
            Drawn::Block([]) => {}
            Drawn::Map(inner) => {
                out.push_str(&format!("{pad}{key}:{comment}\n"));
                draw(inner, indent + 2, &at, out);
            }
        }
    }
}

/// The comments that have to be there after a change of the field that is called `changed` in comments.
fn comments_to_keep(text: &str, changed: &str, stays: bool) -> Vec<String> {
    let inside = format!("{changed}/");
    let found = text.split("# ").skip(1).filter_map(|piece| {
        let (word, at) = piece.split_once(' ')?;
        let at = at.split_whitespace().next()?;
        matches!(word, "above" | "behind").then(|| (word, at))
    });
    found
        .filter(|(word, at)| !at.starts_with(&inside) && (stays || *word == "above" || *at != changed))
        .map(|(word, at)| format!("{word} {at}"))
        .collect()
}

fn get<'n>(node: &'n Node, path: &[&str]) -> Option<&'n Node> {
    let [key, rest @ ..] = path else { return Some(node) };
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(known, _)| known == key).and_then(|(_, inner)| get(inner, rest))
}

fn without(node: &Node, path: &[&str]) -> Node {
    let mut node = node.clone();
    if let (Value::Map(entries), [key, rest @ ..]) = (&mut node.value, path) {
        if rest.is_empty() {
            entries.retain(|(known, _)| known != key);
        }
        for (known, inner) in entries {
            if known == key {
                *inner = without(inner, rest);
            }
        }
    }
    node
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_edit_says_what_was_meant_and_keeps_the_comments(
        entries in drawn_map(),
        keys in prop::collection::vec(0..4_usize, 1..4),
        value in prop::option::weighted(0.7, select(vec![
            "1", "~", "gray", "'it''s: # x'", "\"a\\nb\"", "[]", "{}", "[a, {b: 1}]", "{a: {b: [1]}}",
            "[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, {b: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb}]",
            "{a: {b: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}, b: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb}",
        ])),
    ) {
        let mut body = String::new();
        draw(&entries, 0, "", &mut body);
        let path: Vec<&str> = keys.iter().map(|at| KEYS[*at].0).collect();
        let changed: String = keys.iter().map(|at| format!("/{}", KEYS[*at].1.replace(' ', "_"))).collect();
        let value = value.map(|text| text::parse(text, Syntax::Yaml).unwrap());
        let before = text::parse(&body, Syntax::Yaml).unwrap();
        let after = match set(&body, &path, value.as_ref().map(|node| &node.value)) {
            Ok(after) => after,
            Err(CannotEdit::NotMap(at)) => {
                let followed: Vec<&str> = at.split('.').collect();
                let found = get(&before, &followed);
                prop_assert!(found.is_some_and(|node| !matches!(node.value, Value::Map(_))), "{at}\n{body}");
                return Ok(());
            }
            Err(other) => return Err(TestCaseError::fail(format!("{other}\n{body}"))),
        };
        let read = text::parse(&after, Syntax::Yaml).unwrap();
        match (get(&read, &path), &value) {
            (Some(found), Some(value)) => prop_assert!(same(found, value), "{body}\n{after}"),
            (found, value) => prop_assert!(found.is_none() && value.is_none(), "{body}\n{after}"),
        }
        // Maps on the way that were made are new as a whole.
        let made = (1..path.len()).find(|length| get(&before, &path[..*length]).is_none());
        let new = &path[..made.unwrap_or(path.len())];
        prop_assert!(same(&without(&before, new), &without(&read, new)), "{body}\n{after}");
        let kept = |text: &str| comments_to_keep(text, &changed, value.is_some());
        prop_assert_eq!(kept(&after), kept(&body), "{}\n{}", body, after);
    }
}
