//! Regular expressions of theirs: searched anywhere in a value, with numbered groups; ours match the whole value.

use crate::documents::Pattern;

/// A pattern that matches a whole value where theirs is found anywhere in it. The error says what we cannot read.
pub fn found_anywhere(pattern: &str) -> Result<String, String> {
    whole(&match (pattern.strip_prefix('^'), pattern.strip_suffix('$')) {
        // Without a choice at the top the anchors stand for the whole pattern.
        (Some(_), Some(_)) if is_anchored_as_a_whole(pattern) => inside_anchors(pattern).into(),
        _ => format!("(?s:.*)(?:{pattern})(?s:.*)"),
    })
}

/// A pattern that matches a whole value as theirs does, if we can read it.
pub fn whole(pattern: &str) -> Result<String, String> {
    match Pattern::parse(pattern, false) {
        Ok(_) => Ok(pattern.into()),
        Err(why) => Err(format!("the pattern `{pattern}` cannot be read here ({why})")),
    }
}

fn is_anchored_as_a_whole(pattern: &str) -> bool {
    !pattern.contains('|') && !pattern.ends_with("\\$") && !inside_anchors(pattern).contains(['^', '$'])
}

fn inside_anchors(pattern: &str) -> &str {
    let inside = pattern.strip_prefix('^').unwrap_or(pattern);
    inside.strip_suffix('$').unwrap_or(inside)
}

/// Gives every unnamed group the name `g` and its number, so that a text can refer to it.
pub fn named_groups(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut number = 0;
    let mut in_class = false;
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        match c {
            '\\' => out.extend(chars.next()),
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class && chars.peek() != Some(&'?') => {
                number += 1;
                out.push_str(&format!("?<g{number}>"));
            }
            // A group that has a name is counted as well, and keeps it.
            '(' if !in_class => number += u32::from(opens_a_named_group(chars.clone())),
            _ => {}
        }
    }
    out
}

fn opens_a_named_group(mut behind: impl Iterator<Item = char>) -> bool {
    let start: String = behind.by_ref().take(3).collect();
    start.starts_with("?P<") || (start.starts_with("?<") && !start.ends_with(['=', '!']))
}

/// A text with `$1` in it, as ours says it; `$0` and other variables are an error.
pub fn replacement(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        match digits.as_str() {
            "" | "0" => return Err(format!("`{text}` has a variable in it")),
            number => out.push_str(&format!("${{g{number}}}")),
        }
        rest = after.get(digits.len()..).unwrap_or_default();
    }
    out.push_str(rest);
    Ok(out)
}
