//! What is to be seen of registries: links, instances, what is held back and why.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::belief::Why;

/// One registry.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct RegistryShown {
    pub name: String,
    pub kind: String,
    /// Whether there is a link now.
    pub up: bool,
    /// Since when that is so.
    pub since: String,
    /// Which server is linked, or was last.
    pub server: Option<String>,
    /// Why there is no link.
    pub why: Option<String>,
    /// By the services' names here.
    pub services: BTreeMap<String, DiscoveredShown>,
    /// What is wrong: a registry that is away, services it does not answer for, entries that cannot be understood.
    pub problems: Vec<RegistryProblem>,
}

/// A service in one registry.
#[derive(Clone, PartialEq, Debug, Default, Serialize, ToSchema)]
pub struct DiscoveredShown {
    /// What it is called there.
    pub name: String,
    /// Whether the registry has answered for it on the present link.
    pub answered: bool,
    pub instances: Vec<InstanceShown>,
    /// Those of `instances` that the registry does not show, and is not believed yet.
    pub held_back: Vec<HeldBack>,
}

#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct InstanceShown {
    pub address: String,
    pub version: String,
    pub weight: u32,
    pub draining: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct HeldBack {
    pub address: String,
    pub why: String,
    /// For how long it has been missing.
    pub seconds: u64,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, ToSchema)]
pub struct RegistryProblem {
    /// Always `registry`.
    pub kind: String,
    pub registry: String,
    pub service: Option<String>,
    /// What the registry calls the entry.
    pub entry: Option<String>,
    pub message: String,
}

impl Why {
    /// For a person.
    pub fn sentence(self) -> &'static str {
        match self {
            Why::Reconnected => {
                "missing since the registry came (back); believed once it has said so for long enough"
            }
            Why::Emptied => {
                "the registry shows no instance at all; it is asked again before that is believed"
            }
        }
    }
}

/// Everything that is known of registries, those included that services name and the settings do not.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Status {
    pub registries: Vec<RegistryShown>,
}

impl Status {
    /// Every problem there is.
    pub fn problems(&self) -> impl Iterator<Item = &RegistryProblem> {
        self.registries.iter().flat_map(|registry| &registry.problems)
    }

    /// In Prometheus' text format.
    pub fn metrics(&self) -> String {
        let mut out = String::from("# TYPE graygate_registry_up gauge\n");
        for registry in &self.registries {
            out += &format!(
                "graygate_registry_up{{registry=\"{}\"}} {}\n",
                registry.name,
                u8::from(registry.up)
            );
        }
        out += "# TYPE graygate_registry_instances gauge\n";
        for registry in &self.registries {
            for (service, shown) in &registry.services {
                let (name, count) = (&registry.name, shown.instances.len());
                out += &format!(
                    "graygate_registry_instances{{registry=\"{name}\",service=\"{service}\"}} {count}\n"
                );
            }
        }
        out += "# TYPE graygate_problems gauge\n";
        out += &format!("graygate_problems{{kind=\"registry\"}} {}\n", self.problems().count());
        out
    }
}
