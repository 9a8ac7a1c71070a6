//! Instances: one address of a service, with its version label and its tags.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::fields::Field;
use crate::vocab::{Label, Name};

/// Heaviest instance; keeps every sum of weights far from overflow.
const WEIGHT_LIMIT: i64 = 1_000_000;

#[derive(Clone, PartialEq, Debug)]
pub struct Instance {
    pub address: SocketAddr,
    pub version: Name,
    /// 0: no requests.
    pub weight: u32,
    pub tags: BTreeMap<Label, Label>,
    /// No new requests; running ones finish.
    pub draining: bool,
    /// The registry this instance was found in; `None`: it was written, or registered itself.
    pub by: Option<Name>,
}

impl Instance {
    pub fn read(field: &Field<'_>) -> Option<Instance> {
        let mut map = field.map()?;
        let address = map.required("address").and_then(|f| {
            f.parsed("an address with a port like `10.0.0.1:8080` or `[::1]:8080`", |text| {
                text.parse().ok().filter(|address: &SocketAddr| address.port() > 0)
            })
        });
        let version = map.required("version").and_then(|f| f.name());
        let weight = map.or("weight", 1, |f| f.integer(0, WEIGHT_LIMIT).and_then(|w| u32::try_from(w).ok()));
        let tags = map.or("tags", BTreeMap::new(), read_tags);
        let draining = map.or("draining", false, Field::boolean);
        let by = map.get("by").and_then(|f| f.name());
        map.note_unknown();
        Some(Instance { address: address?, version: version?, weight, tags, draining, by })
    }
}

fn read_tags(field: &Field<'_>) -> Option<BTreeMap<Label, Label>> {
    let read = |(key, value): (&str, Field<'_>)| Some((key.into(), value.text()?.into()));
    let tags: Vec<Option<(Label, Label)>> = field.entries()?.into_iter().map(read).collect();
    tags.into_iter().collect()
}
