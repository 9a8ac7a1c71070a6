//! Who writes a document, where that is the program itself.

use graygate_rules::documents::{DocumentId, Kind};

/// Who writes a document, where that is the program itself.
pub fn owner(id: &DocumentId, text: Option<&[u8]>) -> Option<String> {
    let name = id.name.as_ref();
    match id.kind {
        Kind::Rule => {
            let plan = name.strip_prefix("plan.")?;
            let plan = plan
                .rsplit_once(".who-")
                .or_else(|| plan.rsplit_once(".share"))
                .map_or(plan, |(plan, _)| plan);
            Some(format!("the plan `{plan}`"))
        }
        Kind::Instance => field(text?, "by").map(|registry| format!("the registry `{registry}`")),
        // A plan that rolled back says so in what it closes.
        _ if id.kind.folder() == "closures" => {
            let because = field(text?, "because")?;
            let plan = because
                .strip_prefix("plan ")?
                .split_whitespace()
                .next()?
                .trim_matches(['`', ':', ','])
                .to_owned();
            Some(format!("the plan `{plan}`"))
        }
        _ => None,
    }
}

/// The text behind a key of a document's first level.
pub fn field(text: &[u8], key: &str) -> Option<String> {
    use graygate_rules::documents::text::{Syntax, Value, parse};
    let node = parse(std::str::from_utf8(text).ok()?, Syntax::Yaml).ok()?;
    let Value::Map(entries) = node.value else { return None };
    let (_, found) = entries.into_iter().find(|(name, _)| name == key)?;
    match found.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}
