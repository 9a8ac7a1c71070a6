//! The order in which versions are asked for a file that the decided one does not have.

use std::cmp::Reverse;

use super::route::path_match;
use super::versions::VersionTable;
use crate::decide::{AssetsPlan, Version, VersionId};
use crate::documents::{Assets, Service};
use crate::vocab::Name;

pub fn plan(assets: &Assets, service: &Service, versions: &VersionTable) -> AssetsPlan {
    let order = order(service, versions);
    let label_of = |id: VersionId| versions.get(id).map(|word| label(service, word));
    let same = |word| order.iter().copied().find(|id| label_of(*id) == Some(label(service, word)));
    AssetsPlan {
        paths: assets.paths.iter().map(path_match).collect(),
        statuses: assets.statuses.clone().into(),
        same: versions.iter().map(|word| same(word).unwrap_or_else(|| versions.id(word))).collect(),
        order: order.into(),
    }
}

/// Aliases by their labels, the newest version first and of equal ones the last that was written; then every other
/// version. Two words with one label are one version.
fn order(service: &Service, versions: &VersionTable) -> Vec<VersionId> {
    let mut aliases: Vec<&(Name, Name)> = service.aliases.iter().rev().collect();
    aliases.sort_by_key(|(_, label)| Reverse(Version::read(label.as_str().as_bytes()).map(|v| v.age())));
    let mut labels = Vec::new();
    let words = aliases.into_iter().map(|(word, _)| word).chain(versions.iter());
    let once = words.filter(|word| {
        let label = label(service, word);
        let is_new = !labels.contains(&label);
        labels.push(label);
        is_new
    });
    once.map(|word| versions.id(word)).collect()
}

/// The labels of the instances of a version.
fn label<'s>(service: &'s Service, word: &'s Name) -> &'s Name {
    let alias = service.aliases.iter().find(|(from, _)| from == word);
    alias.map_or(word, |(_, label)| label)
}
