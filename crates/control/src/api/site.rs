//! What all handlers share: what the control plane can do, and how its address is reached.

use std::net::IpAddr;
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
