//! Any bytes as a document of any kind: they are read or refused, and what was read compiles and decides.
#![no_main]

#[path = "shared.rs"]
mod shared;

use graygate_rules::documents::{Body, DocumentId, Format, Raw, parse};
use libfuzzer_sys::fuzz_target;
use shared::{agree, ask, compiled, set};

const PLACES: [&str; 5] = ["routes/r", "services/s", "rules/x", "instances/s/i", "lists/l"];

fuzz_target!(|data: &[u8]| {
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
});
