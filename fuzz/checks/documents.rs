//! Any bytes as a document of any kind: they are read or refused, and what was read compiles and decides.

use super::shared::{agree, ask, compiled, set};
use graygate_rules::documents::{Body, DocumentId, Format, Raw, parse};

const PLACES: [&str; 5] = ["routes/r", "services/s", "rules/x", "instances/s/i", "lists/l"];

pub fn check(data: &[u8]) {
    for place in PLACES {
        for format in [Format::Yaml, Format::Json] {
            let id = DocumentId::parse(place).unwrap();
            let raw = Raw { body: Body::from(data), format };
            match parse(&id, &raw) {
                Err(problems) => assert!(!problems.is_empty()),
                Ok(_) => {
                    let mut set = set(&[]);
                    set.documents.insert(id, raw.into());
                    agree(&compiled(&set), &ask());
                }
            }
        }
    }
}
