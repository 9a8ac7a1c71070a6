//! The gateway in front of RocketMQ.

use std::net::SocketAddr;

use super::listen::{read_address, read_tls};
use graygate_proxy::edge::Tls;
use graygate_rules::documents::fields::{Emptiness, Field};
use graygate_rules::vocab::Name;

/// What `messages` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Messages {
    pub listen: Vec<MessageListener>,
    /// RocketMQ's proxies, as `host:port`.
    pub proxies: Vec<String>,
}

/// Where clients of RocketMQ connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageListener {
    pub address: SocketAddr,
    /// The version of all its clients; `None`: by their addresses.
    pub version: Option<Name>,
    pub tls: Option<Tls>,
}

pub fn read(field: &Field<'_>) -> Option<Messages> {
    let mut map = field.map()?;
    let listen = map.required("listen").and_then(|f| read_listeners(&f));
    let proxies = map.required("proxies").and_then(|f| f.list_of(Emptiness::Refused, read_proxy));
    map.note_unknown();
    Some(Messages { listen: listen?, proxies: proxies? })
}

fn read_listeners(field: &Field<'_>) -> Option<Vec<MessageListener>> {
    let listeners = field.list_of(Emptiness::Refused, read_listener)?;
    for (i, listener) in listeners.iter().enumerate() {
        let address = listener.address;
        if listeners.iter().take(i).any(|earlier| earlier.address == address) {
            field.wrong::<()>(format!("`{address}` is there twice"), "");
        }
    }
    Some(listeners)
}

fn read_listener(field: &Field<'_>) -> Option<MessageListener> {
    let mut map = field.map()?;
    let address = map.required("address").and_then(|f| read_address(&f));
    let version = map.get("version").and_then(|f| f.name());
    let tls = map.get("tls").and_then(|f| read_tls(&f));
    map.note_unknown();
    Some(MessageListener { address: address?, version, tls })
}

fn read_proxy(field: &Field<'_>) -> Option<String> {
    field.parsed("an address with a port like `127.0.0.1:18081`", |text| {
        let (host, port) = text.rsplit_once(':')?;
        let is_good = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
        let is_authority = text.parse::<http::uri::Authority>().is_ok();
        (is_good && is_authority).then(|| text.to_owned())
    })
}
