//! What a route of a VirtualService asks of a request.

use super::super::condition::Condition;
use super::super::pattern::whole;
use super::super::tree::Tree;
use super::super::yaml::Yaml;
use crate::documents::text::Node;

/// All of it: no `match` is every request, several are a choice.
pub fn read(route: &Node) -> Result<Condition, String> {
    let matches = route.at("match").map(Tree::items).unwrap_or_default();
    if matches.is_empty() {
        return Ok(Condition::Always);
    }
    Ok(Condition::any(matches.iter().map(one).collect::<Result<Vec<_>, _>>()?))
}

/// The prefixes that the route matches by, where every `match` of it has one: what `rewrite.uri` replaces.
pub fn prefixes(route: &Node) -> Option<Vec<String>> {
    let matches = route.at("match").map(Tree::items).unwrap_or_default();
    let found: Option<Vec<String>> =
        matches.iter().map(|found| found.down(&["uri", "prefix"])?.scalar()).collect();
    found.filter(|found| !found.is_empty())
}

fn one(found: &Node) -> Result<Condition, String> {
    let mut parts = Vec::new();
    for (key, node) in found.entries() {
        let part = match key.as_str() {
            "uri" => {
                let ignoring = found.text_at("ignoreUriCase").as_deref() == Some("true");
                text("path", node, ignoring)?
            }
            "ignoreUriCase" | "name" => Condition::Always,
            "method" => text("method", node, false)?,
            "scheme" => text("scheme", node, false)?,
            "authority" => text("host", node, false)?,
            "headers" => named("header", node, text)?,
            "withoutHeaders" => {
                let each = node.entries().iter().map(|(name, value)| {
                    Ok(text(&format!("header:{}", name.to_ascii_lowercase()), value, false)?.negated())
                });
                Condition::all(each.collect::<Result<Vec<_>, String>>()?)
            }
            "queryParams" => named("query", node, text)?,
            "gateways" => return Err("it asks through which gateway a request came".into()),
            other => return Err(format!("`{other}` is nothing a request tells here")),
        };
        parts.push(part);
    }
    Ok(Condition::all(parts))
}

type Read = fn(&str, &Node, bool) -> Result<Condition, String>;

fn named(kind: &str, node: &Node, read: Read) -> Result<Condition, String> {
    let each = node.entries().iter().map(|(name, value)| {
        let name = if kind == "header" { name.to_ascii_lowercase() } else { name.clone() };
        read(&format!("{kind}:{name}"), value, false)
    });
    Ok(Condition::all(each.collect::<Result<Vec<_>, _>>()?))
}

/// `{exact}`, `{prefix}` or `{regex}`; an empty map asks only whether it is there. Patterns match whole values in both.
fn text(attribute: &str, node: &Node, ignoring_case: bool) -> Result<Condition, String> {
    let fold = |condition: Condition| if ignoring_case { condition.ignoring_case() } else { condition };
    let Some((operator, value)) = node.entries().first() else { return Ok(Condition::exists(attribute)) };
    let value = value.scalar().ok_or(format!("`{operator}` of `{attribute}` has no text"))?;
    Ok(match operator.as_str() {
        "exact" => fold(Condition::equals(attribute, &value)),
        "prefix" if value.is_empty() || (attribute == "path" && value == "/") => Condition::Always,
        "prefix" => fold(Condition::test(attribute, "prefix", Yaml::text(value))),
        "regex" if value == ".*" && attribute == "path" => Condition::Always,
        "regex" => Condition::test(attribute, "regex", Yaml::text(whole(&value)?)),
        other => return Err(format!("`{other}` of `{attribute}` has no meaning here")),
    })
}
