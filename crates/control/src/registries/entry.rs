//! What the registries show, in one form: entries as they stand there, before anything is made of them.
//!
//! Owns: the form and its bounds. Never: which version an entry has, or whether it is believed.

use std::collections::BTreeMap;

/// Longest metadata of one entry in bytes, keys and values together; what is beyond is no version and no tag.
const METADATA_LIMIT: usize = 64 << 10;

/// One entry of a registry.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Entry {
    /// An IP address, or a name to look up.
    pub host: String,
    pub port: u16,
    pub metadata: BTreeMap<String, String>,
    /// As instance documents count; `None`: the registry has no weights of its own.
    pub weight: Option<u32>,
    pub state: EntryState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EntryState {
    #[default]
    Serving,
    /// Listed, and said to be ill.
    Unhealthy,
    /// Taken out by a person: disabled, offline, out of service, weight 0.
    Offline,
}

/// What one answer says about one service.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Answer {
    pub entries: Vec<Entry>,
    pub unreadable: Vec<Unreadable>,
}

/// An entry without so much as an address; its neighbours are not affected.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Unreadable {
    /// What the registry calls the entry.
    pub entry: String,
    pub why: String,
}

impl Answer {
    /// Takes what was read of one entry.
    pub fn take(&mut self, name: &str, read: Result<Entry, String>) {
        match read {
            Ok(entry) => self.entries.push(entry),
            Err(why) => self.unreadable.push(Unreadable { entry: name.to_owned(), why }),
        }
    }
}

/// The plain values of a JSON object as metadata; objects and lists in it are no version and no tag.
pub fn metadata(value: Option<&serde_json::Value>) -> BTreeMap<String, String> {
    let mut room = METADATA_LIMIT;
    let entries = value.and_then(serde_json::Value::as_object).into_iter().flatten();
    let texts = entries.filter_map(|(key, value)| Some((key.clone(), plain_text(value)?)));
    let fits = |(key, value): &(String, String)| {
        let size = key.len() + value.len();
        let fits = size <= room;
        room -= if fits { size } else { 0 };
        fits
    };
    texts.filter(fits).collect()
}

/// A text, number or truth value as text.
pub fn plain_text(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A port, as a number or as text.
pub fn port(value: Option<&serde_json::Value>) -> Result<u16, String> {
    let text = value.and_then(plain_text).ok_or("there is no port")?;
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("`{text}` is not a port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metadata_is_plain_text_within_bounds() {
        let long = "x".repeat(METADATA_LIMIT);
        let value = json!({"a": "1", "b": 2, "c": true, "d": {"e": 1}, "f": null, "g": long, "h": "after"});
        let read = metadata(Some(&value));
        let read: Vec<(&str, &str)> = read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(read, [("a", "1"), ("b", "2"), ("c", "true"), ("h", "after")]);
        assert!(metadata(Some(&json!([1]))).is_empty());
    }

    #[test]
    fn ports_are_numbers_or_texts() {
        for (value, expected) in [
            (json!(8080), Some(8080)),
            (json!("8080"), Some(8080)),
            (json!(0), None),
            (json!(-1), None),
            (json!(70000), None),
            (json!("http"), None),
            (json!({}), None),
        ] {
            assert_eq!(port(Some(&value)).ok(), expected, "{value}");
        }
        assert!(port(None).is_err());
    }
}
