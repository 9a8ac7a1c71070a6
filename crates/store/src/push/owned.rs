//! Documents that the program writes, and that no push or pull may touch.
//!
//! Answers: is this document a hand's? A plan's rules are named after it, what a plan has closed says so, and an instance
//! that a registry found names the registry. Written back from a directory, they would say what was true once.

use graygate_rules::documents::{Document, DocumentId, Kind, Raw, parse};

/// What the names of a plan's rules begin with.
const PLAN_RULES: &str = "plan.";
/// What a plan's reason begins with.
const PLAN_REASON: &str = "plan ";

/// Whether the program wrote a document with this text; one that cannot be read is a hand's.
pub(super) fn is_owned(id: &DocumentId, body: &[u8]) -> bool {
    let document = || parse(id, &Raw::yaml(body.to_vec())).ok();
    match id.kind {
        Kind::Rule => id.name.starts_with(PLAN_RULES),
        Kind::Closure => {
            matches!(document(), Some(Document::Closure(closure)) if closure.because.starts_with(PLAN_REASON))
        }
        Kind::Instance => matches!(document(), Some(Document::Instance(instance)) if instance.by.is_some()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_writes_is_told_from_what_hands_write() {
        for (name, body, owned) in [
            ("rules/plan.spring.share", "split: {gray: 10}", true),
            ("rules/plan.spring.who-1", "not even YAML: [", true),
            ("rules/planned", "version: gray", false),
            ("closures/s.gray", "{service: s, version: gray, because: 'plan `spring`: errors'}", true),
            ("closures/s.gray", "{service: s, version: gray, because: by hand}", false),
            ("closures/s.gray", "{service: s, version: gray}", false),
            ("instances/s/1", "{address: '10.0.0.1:80', version: v1, by: nacos}", true),
            ("instances/s/1", "{\"address\": \"10.0.0.1:80\", \"version\": \"v1\", \"by\": \"nacos\"}", true),
            ("instances/s/1", "{address: '10.0.0.1:80', version: v1}", false),
            ("instances/s/1", "by: nacos, [", false),
            ("plans/spring", "by: nacos", false),
            ("lists/plan.x", "a", false),
        ] {
            let id = DocumentId::parse(name).unwrap();
            assert_eq!(is_owned(&id, body.as_bytes()), owned, "{name}: {body}");
        }
    }
}
