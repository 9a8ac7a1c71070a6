//! Looking into a tree of theirs: fields by name, scalars as text, whatever type they were written with.

use crate::documents::text::{Node, Value};

/// A foreign tree, read leniently: what is missing is `None`, what is there is taken as it reads.
pub trait Tree {
    fn at(&self, key: &str) -> Option<&Node>;
    /// Down several fields.
    fn down(&self, keys: &[&str]) -> Option<&Node>;
    fn items(&self) -> &[Node];
    fn entries(&self) -> &[(String, Node)];
    /// A text, a number or a flag as it was written.
    fn scalar(&self) -> Option<String>;
    fn text_at(&self, key: &str) -> Option<String>;
    /// The field's list of scalars, or the one scalar it is.
    fn texts_at(&self, key: &str) -> Vec<String>;
    fn number_at(&self, key: &str) -> Option<i64>;
}

impl Tree for Node {
    fn at(&self, key: &str) -> Option<&Node> {
        let (_, node) = self.entries().iter().find(|(found, _)| found == key)?;
        (!matches!(node.value, Value::Null)).then_some(node)
    }

    fn down(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(self, |node, key| node.at(key))
    }

    fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    fn entries(&self) -> &[(String, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) | Value::Number(text) => Some(text.clone()),
            Value::Boolean(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    fn text_at(&self, key: &str) -> Option<String> {
        self.at(key)?.scalar()
    }

    fn texts_at(&self, key: &str) -> Vec<String> {
        let Some(node) = self.at(key) else { return Vec::new() };
        match node.scalar() {
            Some(text) => vec![text],
            None => node.items().iter().filter_map(Tree::scalar).collect(),
        }
    }

    fn number_at(&self, key: &str) -> Option<i64> {
        self.text_at(key)?.trim().parse().ok()
    }
}
