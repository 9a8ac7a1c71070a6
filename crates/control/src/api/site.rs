//! What all handlers share: what the control plane can do, and how its address is reached.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::control::Control;

/// Below this everything of the API stands.
pub const BASE: &str = "/api/v1";
/// Largest body of a call, lists excepted.
pub const BODY_LIMIT: usize = 10 << 20;

/// How the address is reached from outside.
#[derive(Clone, Debug)]
pub struct Front {
    /// Names it is called by, beside those of loopback.
    pub hosts: Vec<String>,
    /// Its own address, which is a good name too.
    pub address: IpAddr,
    /// Whether people come over TLS, here or before an ingress.
    pub secure: bool,
    /// Plain text behind an ingress that ends TLS: only from `trust`.
    pub behind_tls: bool,
    /// Whose X-Forwarded-For is believed.
    pub trust: Vec<IpNet>,
    /// The prefix it all stands under, without a slash at its end; empty for none.
    pub path: String,
}

impl Front {
    pub fn loopback() -> Front {
        Front {
            hosts: Vec::new(),
            address: IpAddr::from([127, 0, 0, 1]),
            secure: false,
            behind_tls: false,
            trust: Vec::new(),
            path: String::new(),
        }
    }

    /// How people reach it, for links in notices; without a slash at its end.
    pub fn url(&self, listening: SocketAddr) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        let usual = if self.secure { 443 } else { 80 };
        let place = match self.hosts.first() {
            // The ingress has its own port, the usual one.
            Some(host) if self.behind_tls || listening.port() == usual => host.clone(),
            Some(host) => format!("{host}:{}", listening.port()),
            None => listening.to_string(),
        };
        format!("{scheme}://{place}{}", self.path)
    }
}

/// What handlers share.
#[derive(Clone)]
pub struct Site {
    pub control: Arc<Control>,
    pub front: Arc<Front>,
}

impl axum::extract::FromRef<Site> for Arc<Control> {
    fn from_ref(site: &Site) -> Arc<Control> {
        site.control.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_where_people_reach_it() {
        let own = Front::loopback();
        let secure = Front { hosts: vec!["g.example".into()], secure: true, ..Front::loopback() };
        let behind = Front { behind_tls: true, path: "/gray".into(), ..secure.clone() };
        for (front, port, expected) in [
            (&own, 9180, "http://127.0.0.1:9180"),
            (&secure, 443, "https://g.example"),
            (&secure, 9180, "https://g.example:9180"),
            (&behind, 9180, "https://g.example/gray"),
        ] {
            assert_eq!(front.url(SocketAddr::new(own.address, port)), expected);
        }
    }
}
