//! The versions of a service by number, and the chain of fallbacks of each.

use std::collections::BTreeSet;

use super::services::ServiceParts;
use crate::decide::{RELEASE, VersionId};
use crate::documents::{Fallback, Outcome, Rule, Service};
use crate::vocab::Name;

/// Every version of a service; `release` is the first.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct VersionTable(Vec<Name>);

impl VersionTable {
    /// The versions these rules name, those that other rules are known to name, and those of the service itself.
    pub fn collect(
        parts: &ServiceParts<'_>,
        rules: &mut dyn Iterator<Item = &Rule>,
        known: Vec<Name>,
    ) -> VersionTable {
        let service = parts.service;
        let of_rules = rules.flat_map(|rule| {
            let (one, several) = match &rule.outcome {
                Outcome::Version(version) => (Some(version), &[][..]),
                Outcome::Split(shares) => (None, shares.as_slice()),
            };
            one.into_iter().chain(several.iter().map(|(version, _)| version))
        });
        // Ten thousand rules name a handful of versions.
        let mut versions: BTreeSet<Name> = known.into_iter().collect();
        for version in of_rules {
            if !versions.contains(version) {
                versions.insert(version.clone());
            }
        }
        versions.extend(service.aliases.iter().flat_map(|(word, label)| [word.clone(), label.clone()]));
        versions.extend(service.version_headers.iter().map(|(word, _)| word.clone()));
        versions.extend(parts.instances.iter().map(|instance| instance.version.clone()));
        for (word, fallback) in &service.fallback {
            versions.insert(word.clone());
            if let Fallback::To(others) = fallback {
                versions.extend(others.iter().cloned());
            }
        }
        let release = Name::release();
        versions.remove(&release);
        VersionTable(std::iter::once(release).chain(versions).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Name> {
        self.0.iter()
    }

    pub fn get(&self, id: VersionId) -> Option<&Name> {
        self.0.get(id)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn has(&self, version: &Name) -> bool {
        self.0.contains(version)
    }

    pub fn id(&self, version: &Name) -> VersionId {
        // Every version was collected; an unknown one could only be `release`.
        self.0.iter().position(|known| known == version).unwrap_or(RELEASE)
    }

    /// The version itself, its own fallbacks, and `release` at the end.
    pub fn chain(&self, version: &Name, service: &Service) -> Vec<VersionId> {
        let own = service.fallback.iter().find(|(from, _)| from == version).map(|(_, fallback)| fallback);
        let mut chain = vec![self.id(version)];
        let others = match own {
            Some(Fallback::None) => return chain,
            Some(Fallback::To(others)) => others.as_slice(),
            None => &[],
        };
        for other in others.iter().map(|other| self.id(other)).filter(|id| *id != RELEASE).chain([RELEASE]) {
            if !chain.contains(&other) {
                chain.push(other);
            }
        }
        chain
    }
}
