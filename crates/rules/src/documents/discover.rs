//! `discover` of services: which registry's instances are its own, and what their entries mean.
//!
//! Never: whether the registry exists. Who and where it is stands in the control plane's settings, which the proxies
//! that read this document do not have.

use super::fields::{Emptiness, Field};
use crate::vocab::{Label, Name};

/// Most registries of one service: each is watched, and a service has one or is being moved to another.
const REGISTRY_LIMIT: usize = 8;
/// Most tags that are taken over from an entry.
const TAG_LIMIT: usize = 64;

/// Instances of one registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Discover {
    pub registry: Name,
    /// What the service is called there.
    pub name: Label,
    /// The metadata key whose value is the version.
    pub version_from: Label,
    pub weight: Weighing,
    /// Metadata keys that become tags.
    pub tags: Vec<Label>,
    /// Where the registry's answers have none: addresses of DNS.
    pub port: Option<u16>,
}

/// Where an instance's weight comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weighing {
    Registry,
    /// All weigh 1.
    Equal,
}

impl Discover {
    /// One, or a list of them.
    pub fn read_all(field: &Field<'_>) -> Option<Vec<Discover>> {
        if !field.is_list() {
            return Discover::read(field).map(|one| vec![one]);
        }
        let several = field.list_of(Emptiness::Refused, Discover::read)?;
        if several.len() > REGISTRY_LIMIT {
            return field.wrong(format!("more than {REGISTRY_LIMIT} registries"), "");
        }
        match several
            .iter()
            .enumerate()
            .find(|(i, one)| several.iter().take(*i).any(|e| e.registry == one.registry))
        {
            // Whose instances are which would be lost: they carry the registry's name alone.
            Some((_, twice)) => {
                field.wrong(format!("`{}` is there twice", twice.registry), "name a registry once")
            }
            None => Some(several),
        }
    }

    fn read(field: &Field<'_>) -> Option<Discover> {
        let mut map = field.map()?;
        let registry = map.required("registry").and_then(|f| f.name());
        let name = map.required("name").and_then(|f| read_name(&f));
        let version_from = map.or("version_from", Label::from("version"), read_key);
        let weight = map.or("weight", Weighing::Registry, |f| {
            f.boolean().map(|taken| if taken { Weighing::Registry } else { Weighing::Equal })
        });
        let tags = map.or("tags", Vec::new(), |f| {
            let tags = f.list_of(Emptiness::Allowed, read_key)?;
            if tags.len() > TAG_LIMIT {
                return f.wrong(format!("more than {TAG_LIMIT} tags"), "");
            }
            Some(tags)
        });
        let port =
            map.get("port").and_then(|f| f.integer(1, 65_535)).and_then(|port| u16::try_from(port).ok());
        map.note_unknown();
        Some(Discover { registry: registry?, name: name?, version_from, weight, tags, port })
    }
}

/// Longest name of a service in a registry; that of DNS is the longest there is.
const NAME_BYTES: usize = 255;

fn read_name(field: &Field<'_>) -> Option<Label> {
    // A slash or a control character would be a path, or a part of another request, to some registries.
    let is_plain = |text: &str| {
        (1..=NAME_BYTES).contains(&text.len())
            && text
                .chars()
                .all(|c| !c.is_control() && !c.is_whitespace() && !matches!(c, '/' | '\\' | '?' | '#'))
            && !matches!(text, "." | "..")
    };
    field.parsed("a service's name in a registry", |text| is_plain(text).then(|| Label::from(text)))
}

fn read_key(field: &Field<'_>) -> Option<Label> {
    field.parsed("a metadata key", |text| (!text.is_empty()).then(|| Label::from(text)))
}
