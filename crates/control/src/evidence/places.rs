//! Which proxies are there, and which of them may be asked?
//!
//! Owns: the admin addresses of the file, or of the fleet's keys as far as `allow` names them. While the keys cannot be
//! read, those that were read last count. Never: asks a proxy.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use graygate_store::etcd::EtcdSettings;
use graygate_store::fleet;
use parking_lot::Mutex;

use crate::settings::ProxiesFrom;

/// Between two looks at the fleet's keys; a proxy that comes is heard so much later, which its cursor makes good.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a look may take.
const PATIENCE: Duration = Duration::from_millis(800);

/// A living proxy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// As its key calls it; none where the file names an address alone.
    pub id: Option<String>,
    /// Its admin address, as a URL; none where it has not said one, or may not be asked there.
    pub url: Option<String>,
}

/// Where they are found.
#[derive(Default)]
pub struct Places {
    from: ProxiesFrom,
    etcd: Option<EtcdSettings>,
    seen: Mutex<(Option<Instant>, Vec<Place>)>,
}

impl Places {
    pub fn new(from: ProxiesFrom, etcd: Option<EtcdSettings>) -> Places {
        Places { from, etcd, seen: Mutex::default() }
    }

    /// These, with the ids of their keys.
    #[cfg(test)]
    pub fn keyed(places: Vec<Place>) -> Places {
        Places { seen: Mutex::new((None, places)), ..Places::default() }
    }

    /// Every living proxy.
    pub async fn living(&self, now: Instant) -> Vec<Place> {
        if let ProxiesFrom::Named(urls) = &self.from {
            return urls.iter().map(|url| Place { id: None, url: Some(url.clone()) }).collect();
        }
        let Some(etcd) = &self.etcd else { return self.seen.lock().1.clone() };
        let is_due = {
            let (looked, _) = &mut *self.seen.lock();
            let is_due = looked.is_none_or(|at| now.saturating_duration_since(at) >= LOOK_EVERY);
            if is_due {
                *looked = Some(now);
            }
            is_due
        };
        if is_due && let Ok(Ok(members)) = tokio::time::timeout(PATIENCE, fleet::members(etcd)).await {
            let place = |(id, admin): (String, Option<String>)| {
                let url = admin.filter(|address| self.allows(address)).map(|address| as_url(&address));
                Place { id: Some(id), url }
            };
            self.seen.lock().1 = members.into_iter().map(place).collect();
        }
        self.seen.lock().1.clone()
    }

    /// Whether an address of the fleet's keys may be asked.
    fn allows(&self, address: &str) -> bool {
        let ProxiesFrom::Fleet(allowed) = &self.from else { return false };
        let plain = address.strip_prefix("http://").or(address.strip_prefix("https://")).unwrap_or(address);
        let Ok(address) = plain.trim_end_matches('/').parse::<SocketAddr>() else { return false };
        // An address of IPv4 in the clothes of IPv6 is what it is.
        let ip = address.ip().to_canonical();
        let holds = |(net, port): &(ipnet::IpNet, Option<u16>)| {
            net.contains(&ip) && port.is_none_or(|port| port == address.port())
        };
        allowed.iter().any(holds)
    }
}

fn as_url(address: &str) -> String {
    if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_file_allows_is_asked() {
        let from = ProxiesFrom::Fleet(vec![("10.0.0.0/8".parse().unwrap(), Some(9090))]);
        let places = Places::new(from, None);
        for (address, allowed) in [
            ("10.1.2.3:9090", true),
            ("http://10.1.2.3:9090/", true),
            ("https://10.1.2.3:9090", true),
            ("10.1.2.3:22", false),
            ("169.254.169.254:9090", false),
            ("[::ffff:169.254.169.254]:9090", false),
            ("[::ffff:10.1.2.3]:9090", true),
            ("localhost:9090", false),
            ("evil.example:9090", false),
            ("10.1.2.3:9090@evil.example", false),
            ("http://http://10.1.2.3:9090", false),
            ("http://10.1.2.3:9090/path", false),
        ] {
            assert_eq!(places.allows(address), allowed, "{address}");
        }
    }

    #[test]
    fn a_network_of_ipv6_does_not_allow_addresses_of_ipv4() {
        let places = Places::new(ProxiesFrom::Fleet(vec![("::/0".parse().unwrap(), None)]), None);
        assert!(places.allows("[2001:db8::1]:9090"));
        assert!(!places.allows("[::ffff:169.254.169.254]:9090"));
    }

    #[tokio::test]
    async fn addresses_of_the_file_are_living_proxies() {
        let places = Places::new(ProxiesFrom::Named(vec!["http://127.0.0.1:9090".into()]), None);
        let expected = Place { id: None, url: Some("http://127.0.0.1:9090".into()) };
        assert_eq!(places.living(Instant::now()).await, [expected]);
    }
}
