//! Closures: a version that takes no requests of a service, as if it had no instance.

use super::fields::Field;
use crate::vocab::{DocumentId, Name};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Closure {
    pub service: Name,
    /// As rules say it.
    pub version: Name,
    /// For people; empty where it is not written.
    pub because: String,
}

impl Closure {
    /// Its name says the same as its text, so that no closure stands under the name of another.
    pub fn read(id: &DocumentId, field: &Field<'_>) -> Option<Closure> {
        let mut map = field.map()?;
        let service = map.required("service").and_then(|f| f.name());
        let version = map.required("version").and_then(|f| {
            let version = f.name()?;
            if version.as_str() == Name::RELEASE {
                return f.wrong("`release` cannot be closed", "everything else falls back to it");
            }
            Some(version)
        });
        let because = map.or("because", String::new(), |f| f.text().map(str::to_owned));
        map.note_unknown();
        let (service, version) = (service?, version?);
        let name = format!("{service}.{version}");
        if *id.name != *name {
            return map.wrong(
                format!("`{}` is not the name of a closure of `{version}` of `{service}`", id.name),
                format!("it is `closures/{name}`"),
            );
        }
        Some(Closure { service, version, because })
    }
}
