//! Who and where the registries are, as types.
//!
//! Never: reading the operator's text (`config`), connecting.

use std::path::PathBuf;
use std::time::Duration;

/// How long a registry that came (back) has to say that an instance is gone before it is believed.
const PATIENCE: Duration = Duration::from_secs(60);
/// A restarted Eureka server hears of an instance at its next heartbeat, after 30 s, and shows it up to 30 s later.
const EUREKA_PATIENCE: Duration = Duration::from_secs(90);

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RegistrySettings {
    Nacos(NacosSettings),
    Eureka(EurekaSettings),
    ZooKeeper(ZooKeeperSettings),
    Dns(DnsSettings),
}

impl RegistrySettings {
    pub fn kind(&self) -> &'static str {
        match self {
            RegistrySettings::Nacos(_) => "nacos",
            RegistrySettings::Eureka(_) => "eureka",
            RegistrySettings::ZooKeeper(_) => "zookeeper",
            RegistrySettings::Dns(_) => "dns",
        }
    }

    /// How long fewer instances than before are not believed after a start or a (re)connect.
    pub fn patience(&self) -> Duration {
        match self {
            RegistrySettings::Eureka(_) => EUREKA_PATIENCE,
            _ => PATIENCE,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NacosSettings {
    /// `host:port` of HTTP; gRPC is 1,000 above it.
    pub addresses: Vec<String>,
    pub namespace: String,
    pub group: String,
    /// Empty: all of them.
    pub clusters: Vec<String>,
    pub login: Option<Login>,
    pub tls: Option<Tls>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EurekaSettings {
    /// `http://host:port/eureka`.
    pub addresses: Vec<String>,
    pub login: Option<Login>,
    pub tls: Option<Tls>,
    pub every: Duration,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ZooKeeperSettings {
    /// `host:port`.
    pub addresses: Vec<String>,
    /// Services are its children.
    pub path: String,
    pub layout: Layout,
    /// Scheme and what it takes: `digest:user:password`.
    pub auth: Option<Auth>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Auth {
    pub scheme: String,
    pub secret: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Auth({}, ..)", self.scheme)
    }
}

/// What an entry looks like in ZooKeeper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// JSON as Curator's service discovery, and with it Spring, writes it.
    Curator,
    /// The address is the node's name, `host_port`; its content is a JSON map of metadata.
    HostPort,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DnsSettings {
    /// `address:port`.
    pub servers: Vec<std::net::SocketAddr>,
}

/// The password is read from its file at every login, so it can be changed while the program runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Login {
    pub username: String,
    pub password_file: PathBuf,
}

/// TLS towards a registry; files are PEM and are read at every connection.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Tls {
    /// Who signed the server's certificate; `None`: the system's authorities.
    pub ca: Option<PathBuf>,
    /// The client's own certificate and key, where the server asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the server's certificate, where it is not the host of the address.
    pub domain: Option<String>,
}
