//! Edits of headers, in the order they run.

use http::HeaderName;

use super::template::Template;

/// What is done to the headers of a request or a response: remove, set, set_if_absent, add.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct HeaderEdits {
    pub remove: Vec<HeaderName>,
    pub set: Vec<(HeaderName, Template)>,
    pub set_if_absent: Vec<(HeaderName, Template)>,
    pub add: Vec<(HeaderName, Template)>,
}

impl HeaderEdits {
    /// Every text with groups in it.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        [&self.set, &self.set_if_absent, &self.add].into_iter().flatten().map(|(_, template)| template)
    }

    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.templates().next().is_none()
    }
}
