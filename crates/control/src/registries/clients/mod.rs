//! One client a kind of registry, each behind [`Client`].

mod dns;
mod eureka;
mod nacos;
mod zookeeper;

use std::sync::Arc;

use super::link::Client;
use super::settings::RegistrySettings;

/// The client for these settings.
pub fn client(settings: &RegistrySettings) -> Arc<dyn Client> {
    match settings {
        RegistrySettings::Nacos(settings) => Arc::new(nacos::Nacos::new(settings.clone())),
        RegistrySettings::Eureka(settings) => Arc::new(eureka::Eureka::new(settings.clone())),
        RegistrySettings::ZooKeeper(settings) => Arc::new(zookeeper::ZooKeeper::new(settings.clone())),
        RegistrySettings::Dns(settings) => Arc::new(dns::Dns::new(settings.clone())),
    }
}
