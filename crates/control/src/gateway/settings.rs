//! `hospital:` in control.yaml.

use graygate_rules::documents::fields::{Emptiness, Field};
use graygate_rules::import::hospital::Filter;
use graygate_rules::vocab::Name;

/// The version of the audience where the file names none.
const GRAY: &str = "gray";

/// Which services the gateway API is for, and its words for the two versions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hospital {
    /// At least one; questions are asked of the first.
    pub services: Vec<Name>,
    pub gray: Name,
    pub release: Name,
}

impl Hospital {
    pub fn filter(&self) -> Filter {
        Filter {
            services: Some(self.services.clone()),
            gray: self.gray.clone(),
            release: self.release.clone(),
        }
    }

    pub fn first(&self) -> Option<&Name> {
        self.services.first()
    }
}

pub fn read(field: &Field<'_>) -> Option<Hospital> {
    let mut map = field.map()?;
    let services =
        map.required("services").and_then(|field| field.list_of(Emptiness::Refused, |item| item.name()));
    let gray = map.get("gray").map_or_else(|| Name::parse(GRAY), |field| field.name());
    let release = map.get("release").map_or_else(|| Some(Name::release()), |field| field.name());
    if gray.is_some() && gray == release {
        map.wrong::<()>("`gray` and `release` are the same version", "name another one for `gray`");
    }
    map.note_unknown();
    Some(Hospital { services: services?, gray: gray?, release: release? })
}
