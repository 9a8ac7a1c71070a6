//! Expressions of lua-resty-expr: `[variable, operator, operand]`, negated with `!`, joined by the first word of a list.
//!
//! An absent variable makes `==`, comparisons, patterns and `in` false, as it does here; `~=` and `!` turn that around.

use super::super::condition::Condition;
use super::super::pattern::found_anywhere;
use super::super::tree::Tree;
use super::super::yaml::Yaml;
use crate::documents::text::{Node, Value};

/// Reads a list of expressions, or one.
pub fn read(node: &Node) -> Result<Condition, String> {
    let items = node.items();
    let first = items.first().and_then(Tree::scalar);
    match first.as_deref() {
        None => Ok(Condition::all(items.iter().map(read).collect::<Result<Vec<_>, _>>()?)),
        Some(word @ ("AND" | "OR" | "!AND" | "!OR")) => {
            let rest = items.iter().skip(1).map(read).collect::<Result<Vec<_>, _>>()?;
            let joined = if word.ends_with("OR") { Condition::any(rest) } else { Condition::all(rest) };
            Ok(if word.starts_with('!') { joined.negated() } else { joined })
        }
        Some(variable) => one(variable, items.get(1..).unwrap_or_default()),
    }
}

fn one(variable: &str, rest: &[Node]) -> Result<Condition, String> {
    let words: Vec<Option<String>> = rest.iter().map(Tree::scalar).collect();
    let (negated, operator, operand) = match (words.first(), rest) {
        (Some(Some(mark)), [_, _, operand]) if mark == "!" => {
            (true, words.get(1).cloned().flatten(), operand)
        }
        (Some(Some(operator)), [_, operand]) => match operator.strip_prefix('!') {
            Some(operator) => (true, Some(operator.to_string()), operand),
            None => (false, Some(operator.clone()), operand),
        },
        _ => return Err(format!("an expression about `{variable}` has not two or three parts behind it")),
    };
    let operator = operator.ok_or(format!("an expression about `{variable}` has no operator"))?;
    let attribute = attribute_of(variable)?;
    let found = test(&attribute, &operator, operand)?;
    Ok(if negated { found.negated() } else { found })
}

fn test(attribute: &str, operator: &str, operand: &Node) -> Result<Condition, String> {
    let text = || operand.scalar().ok_or(format!("`{operator}` of `{attribute}` has no plain operand"));
    let is_number = matches!(operand.value, Value::Number(_));
    let number = |word: &str| -> Result<Condition, String> {
        match is_number {
            true => Ok(Condition::test(attribute, word, Yaml::number(text()?))),
            false => Err(format!("`{operator}` of `{attribute}` compares texts by their bytes")),
        }
    };
    Ok(match operator {
        "==" if is_number => Condition::all([number("at_least")?, number("at_most")?]),
        "==" => Condition::equals(attribute, &text()?),
        "~=" if is_number => Condition::all([number("at_least")?, number("at_most")?]).negated(),
        "~=" | "!=" => Condition::equals(attribute, &text()?).negated(),
        ">" => number("above")?,
        ">=" => number("at_least")?,
        "<" => number("below")?,
        "<=" => number("at_most")?,
        "~~" => Condition::test(attribute, "regex", Yaml::text(found_anywhere(&text()?)?)),
        "~*" => Condition::test(attribute, "regex", Yaml::text(found_anywhere(&text()?)?)).ignoring_case(),
        "in" => {
            Condition::test(attribute, "in", Yaml::texts(operand.items().iter().filter_map(Tree::scalar)))
        }
        "ipmatch" if attribute == "ip" => {
            let nets = match operand.scalar() {
                Some(net) => vec![net],
                None => operand.items().iter().filter_map(Tree::scalar).collect(),
            };
            Condition::test("ip", "cidr", Yaml::texts(nets))
        }
        _ => return Err(format!("the operator `{operator}` of `{attribute}` has no meaning here")),
    })
}

/// The attribute that a variable names.
fn attribute_of(variable: &str) -> Result<String, String> {
    let named = |kind: &str, name: &str| format!("{kind}:{name}");
    Ok(match variable {
        "uri" => "path".into(),
        "host" => "host".into(),
        "scheme" => "scheme".into(),
        "request_method" => "method".into(),
        "remote_addr" | "realip_remote_addr" => "ip".into(),
        _ => match variable.split_once('_') {
            Some(("http", name)) if !name.is_empty() => {
                named("header", &name.to_ascii_lowercase().replace('_', "-"))
            }
            Some(("cookie", name)) if !name.is_empty() => named("cookie", name),
            Some(("arg", name)) if !name.is_empty() => named("query", name),
            _ => return Err(format!("the variable `{variable}` is no attribute of a request here")),
        },
    })
}
